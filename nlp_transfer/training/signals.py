"""Stop signals: the first one asks, the second one ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nlp_transfer.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


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
