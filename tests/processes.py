"""Commands in processes of their own that can be killed: a fork server imports torch once for all of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["nlp_transfer.cli", "nlp_transfer.experiment", "tests.processes"])


def start(words: Sequence[str], printed: Path, slow: str | None = None) -> BaseProcess:
    """Start `nlp-transfer WORDS`; what it prints goes to a file. `slow` names a part of the run that takes its time."""
    process = CONTEXT.Process(target=_command, args=(list(words), printed, slow))
    process.start()
    return process


def wait_for(condition: Callable[[], bool], process: BaseProcess, seconds: float = 120) -> bool:
    """Wait until something is so; false if the process ends before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        if not process.is_alive():
            return condition()
        time.sleep(0.001)
    raise TimeoutError("nothing happened")


def _command(words: list[str], printed: Path, slow: str | None) -> None:
    import torch

    from nlp_transfer import cli

    torch.set_num_threads(1)
    if slow:
        _slow_down(slow, printed.with_suffix(".reached"))
    with (
        printed.open("a", encoding="utf-8") as file,
        contextlib.redirect_stderr(file),
        contextlib.redirect_stdout(file),
    ):
        status = cli.main(words)
        file.flush()
    sys.stdout.flush()
    os._exit(status)


def _slow_down(part: str, reached: Path) -> None:
    """Make the evaluation or the writing of checkpoints slow, and leave a mark when it begins."""
    from nlp_transfer.evaluation import outputs
    from nlp_transfer.training import checkpoints

    def slowly(function: Callable[..., object]) -> Callable[..., object]:
        def slow(*arguments: object, **named: object) -> object:
            reached.touch()
            time.sleep(0.05)
            return function(*arguments, **named)

        return slow

    if part == "evaluation":
        outputs.Features.fetch = slowly(outputs.Features.fetch)  # type: ignore[method-assign]
    else:
        checkpoints._sha256 = slowly(checkpoints._sha256)  # type: ignore[assignment]
