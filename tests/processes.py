"""Commands in processes of their own that can be killed: a fork server imports torch once for all of them."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

FRESH = "import gc; gc.disable()\n"
"""How the code of a short process of its own begins: a third of its time would go into looking for garbage."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])


def start(words: Sequence[str], printed: Path, slow: str | None = None) -> BaseProcess:
    """Start `nlp-transfer WORDS`; what it prints goes to a file. `slow` names a part of the run that takes its time."""
    process = CONTEXT.Process(target=_command, args=(list(words), printed, slow))
    process.start()
    return process


def start_together(
    commands: Sequence[Sequence[str]],
    printed: Path,
    count: int,
    slow: str | None = None,
    seconds: int = 120,
    own: Sequence[Mapping[str, object]] = (),
) -> list[BaseProcess]:
    """Start so many processes that run each of some commands together, as a launcher would; each prints into its own file.

    `seconds`: how long they wait for one that does not answer; `own`: further variables of each, with the network namespace
    that it stands in as NAMESPACE.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = []
    for rank in range(count):
        told = {"RANK": rank, "LOCAL_RANK": rank, "ACCELERATE_USE_CPU": 1, "NLP_TRANSFER_TIMEOUT": seconds}
        further = own[rank] if own else {}
        variables = {name: str(value) for name, value in {**common, **told, **further}.items()}
        file = printed.with_suffix(f".{rank}")
        process = CONTEXT.Process(target=_commands, args=([list(words) for words in commands], file, slow, variables))
        process.start()
        started.append(process)
    return started


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
    _commands([words], printed, slow, {})


def _commands(commands: list[list[str]], printed: Path, slow: str | None, variables: dict[str, str]) -> None:
    import torch

    from nlp_transfer import cli

    # Accelerate gives a process that is alone on its host all cores, and sums come out otherwise
    os.environ |= {"OMP_NUM_THREADS": "1", **variables}
    if "NAMESPACE" in variables:
        _enter(variables["NAMESPACE"])
    torch.set_num_threads(1)
    if slow:
        _slow_down(slow, printed.with_suffix(".reached"))
    with (
        printed.open("a", encoding="utf-8") as file,
        contextlib.redirect_stderr(file),
        contextlib.redirect_stdout(file),
    ):
        status = next((status for words in commands if (status := cli.main(words))), 0)
        file.flush()
    sys.stdout.flush()
    os._exit(status)


def _enter(namespace: str) -> None:
    """Stand in a network namespace from now on."""
    with open(f"/var/run/netns/{namespace}", "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")


def _slow_down(part: str, reached: Path) -> None:
    """Make evaluation or the writing of checkpoints slow, or all processes but the first late; leave a mark when it begins."""
    from nlp_transfer.evaluation import outputs
    from nlp_transfer.folder import RunFolder
    from nlp_transfer.training import manifest

    def slowly(function: Callable[..., object], seconds: float = 0.05) -> Callable[..., object]:
        def slow(*arguments: object, **named: object) -> object:
            reached.touch()
            time.sleep(seconds)
            return function(*arguments, **named)

        return slow

    if part == "evaluation":
        outputs.Features.fetch = slowly(outputs.Features.fetch)  # type: ignore[method-assign]
    elif part == "folder":
        RunFolder.open = slowly(RunFolder.open, 3.0 * int(os.environ["RANK"]))  # type: ignore[method-assign]
    else:
        manifest._sha256 = slowly(manifest._sha256)  # type: ignore[assignment]
