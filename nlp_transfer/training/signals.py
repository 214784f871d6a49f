"""Stop signals: the first one asks, the second one ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from nlp_transfer.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


class StopSignals:
    """Whether somebody asked for a stop, and by which signal."""

    def __init__(self) -> None:
        self.asked: str | None = None

    def check(self) -> None:
        """Between two batches of an evaluation: end it, if a stop was asked for.

        Raises:
            Interrupted: then.
        """
        if self.asked:
            raise Interrupted

    def receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal is remembered; a second one ends the process at once."""
        if self.asked:
            os._exit(128 + number)
        self.asked = signal.Signals(number).name


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Listen for SIGTERM, SIGINT and SIGUSR1; as it was afterwards. Outside the main thread nothing is heard."""
    stop = StopSignals()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def raised_signals() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP raise `Interrupted`, so that what is half done is cleared away; a second one ends at once.

    For work that cannot be resumed. Outside the main thread, and where another handler was set, nothing changes.
    """
    ours = [number for number in ENDING if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ours}

    def receive(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(f"ended by {signal.Signals(number).name}")

    for number in ours:
        signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
