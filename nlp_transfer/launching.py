"""A training in several processes on this machine: started by torch's launcher, shown and ended as one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from nlp_transfer import flags
from nlp_transfer.errors import Lost, RequestError, Stopped, readable

MODULE = "nlp_transfer.cli"

PASSED_ON = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name))

LAST_LINES = 5
"""Of what a process printed that ended by itself while the first one did not say why."""


def apart(words: Sequence[str]) -> tuple[list[str], int]:
    """The words of a command without `--processes N`, and N: 1 where it is not said.

    Raises:
        RequestError: where N is no whole number above 0, or this is one of several processes already.
    """
    ours, rest = flags.apart(words, {"processes": str})
    if "processes" not in ours:
        return list(words), 1
    number = ours["processes"]
    if not number.isdecimal() or int(number) < 1:
        raise RequestError(f"--processes is {number}: expected a whole number above 0.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RequestError(
            "--processes starts processes, and torchrun or accelerate launch has done so: leave one of both."
        )
    return rest, int(number)


def launch(command: Sequence[str], count: int) -> int:
    """Run `nlp-transfer COMMAND` in so many processes on this machine; gives the status with which the run ended.

    The first process prints. Signals are passed on to all. torch's launcher watches them: when one dies, it ends the others.

    Raises:
        RequestError: where there are fewer devices than processes.
    """
    import torch
    from accelerate.utils import parse_flag_from_env
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    on_devices = torch.accelerator.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    if on_devices and (devices := torch.accelerator.device_count()) < count:
        raise RequestError(
            f"--processes is {count}, and this machine has {devices} devices: a process needs one for itself."
        )
    if not on_devices:
        # they share the cores
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with tempfile.TemporaryDirectory(prefix="nlp-transfer-") as logs, _signals_passed_on():
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=0.1,
            # the others are passed on by us: the launcher would end with a status of its own
            signals_to_handle="SIGQUIT",
            logs_specs=DefaultLogsSpecs(log_dir=logs, redirects=dict.fromkeys(range(1, count), Std.ALL)),
        )
        logging.disable(logging.CRITICAL)  # the launcher's own words about what is told below
        try:
            elastic_launch(config, sys.executable)("-P", "-m", MODULE, *command)
        except ChildFailedError as failed:
            return _status(failed.failures, Path(logs))
        finally:
            logging.disable(logging.NOTSET)
    return 0


def tell(error: Exception) -> int:
    """Print what is wrong, and give the exit status: once for all processes of a machine, and a stop once for all of them.

    That another process is gone is said by each, since it may be the first one that is.
    """
    status = 3 if isinstance(error, Stopped) else 2 if isinstance(error, RequestError) else 1
    here, rank = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "RANK"))
    if (rank if isinstance(error, Stopped) else here) and not isinstance(error, Lost):
        return status
    who = f" (process {rank})" if rank else ""
    print(f"nlp-transfer{who}: {readable(error)}", file=sys.stderr)
    return status


def _status(failures: dict[int, Any], logs: Path) -> int:
    """The status of a run some of whose processes failed; says what the first process could not say."""
    first = failures.get(0)
    if first is not None and first.exitcode in (2, 3):
        return int(first.exitcode)
    stopped = [failure for failure in failures.values() if failure.exitcode == 3]
    if stopped:
        return 3
    killed = [failure for failure in failures.values() if failure.exitcode < 0 and -failure.exitcode != signal.SIGTERM]
    for failure in killed:
        name = signal.Signals(-failure.exitcode).name
        print(
            f"nlp-transfer: process {failure.local_rank} was ended by {name}; the others were ended too.",
            file=sys.stderr,
        )
    if first is None or first.exitcode < 0:
        for failure in failures.values():
            if failure.local_rank and failure.exitcode > 0:
                print(_last_lines(logs, failure.local_rank), end="", file=sys.stderr)
                break
    return 1


def _last_lines(logs: Path, rank: int) -> str:
    """The last lines that a process printed."""
    written = "".join(path.read_text(encoding="utf-8") for path in sorted(logs.rglob(f"{rank}/stderr.log")))
    return "".join(line + "\n" for line in written.splitlines()[-LAST_LINES:])


@contextlib.contextmanager
def _signals_passed_on() -> Any:
    """Pass stop signals on to the processes that the launcher has started; without any, they end this process."""
    import psutil

    before: dict[int, Any] = {}

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        ours = [child for child in psutil.Process().children() if MODULE in _words(child)]
        for child in ours:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)
        if not ours:
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)

    def _words(process: psutil.Process) -> list[str]:
        try:
            return list(process.cmdline())
        except psutil.Error:
            return []

    before |= {number: signal.signal(number, pass_on) for number in PASSED_ON}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
