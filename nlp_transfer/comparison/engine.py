"""Engines: how jobs are done, here or each in a fresh process, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from nlp_transfer.comparison.jobs import Job, Line, do
from nlp_transfer.comparison.measuring import OF_PROCESS
from nlp_transfer.errors import RequestError, did_you_mean

Check = Callable[[], None]
"""Raises `Interrupted` once a stop was asked for."""

Done = Iterator[tuple[Job, Line]]
"""Jobs with what came out, in the order in which they end."""

VISIBLE = "CUDA_VISIBLE_DEVICES"

LAST_LINES = 5
"""Of the log of a process that died, in its message."""

PATIENCE = 0.2
"""Seconds between two looks whether a stop was asked for."""

GRACE = 5.0
"""Seconds that a process has to end by itself once it is asked to."""


def here(jobs: Sequence[Job], workers: int, check: Check) -> Done:  # noqa: ARG001
    """One after the other in this process: quick to begin; nobody knows then how much memory each of them held."""
    for job in jobs:
        check()
        line = do(job)
        if "costs" in line:
            line = {**line, "costs": {name: cost for name, cost in line["costs"].items() if name not in OF_PROCESS}}
        yield job, line


def processes(jobs: Sequence[Job], workers: int, check: Check) -> Done:
    """Each in a fresh process, so many at once; a process that dies costs its own job.

    Of several GPUs each process sees one: the first has the first, and with more processes than GPUs they share.
    """
    running, threads = Children(), _threads(workers)
    free: SimpleQueue[str | None] = SimpleQueue()
    for _, device in zip(range(workers), itertools.cycle(devices() or [None]), strict=False):
        free.put(device)

    def seated(job: Job) -> Line:
        device = free.get()
        try:
            return fresh(job, threads, running, device=device)
        finally:
            free.put(device)

    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(seated, job): job for job in jobs}
        try:
            while waiting:
                check()
                ended, _ = wait(waiting, timeout=PATIENCE, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield waiting.pop(future), future.result()
        finally:
            # a stop, or whoever reads this has enough
            pool.shutdown(wait=False, cancel_futures=True)
            running.end()


class Children:
    """Processes that run, so that they can be ended from another thread than theirs."""

    def __init__(self) -> None:
        self.alive: set[subprocess.Popen[str]] = set()
        self.ended = False

    def add(self, process: subprocess.Popen[str]) -> None:
        """One that was started; it is ended at once if the others have been."""
        self.alive.add(process)
        if self.ended:
            _end(process)

    def discard(self, process: subprocess.Popen[str]) -> None:
        """One that has come to its end."""
        self.alive.discard(process)

    def end(self) -> None:
        """End them all, those too that are being started at this moment."""
        self.ended = True
        for process in list(self.alive):
            _end(process)


def ray(jobs: Sequence[Job], workers: int, check: Check) -> Done:
    """Each in a fresh process on a Ray cluster: the one that RAY_ADDRESS names, or a local one of so many workers.

    All machines must see the comparison's folder and the backbones under the same paths.
    """
    if importlib.util.find_spec("ray") is None:
        raise RequestError("--engine ray needs Ray: pip install 'nlp-transfer[ray]'.")
    import ray as cluster
    import torch

    # nobody asked for reports to Ray's makers
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
    cluster.init(ignore_reinit_error=True, log_to_driver=False, **local)
    devices = 1 if torch.cuda.is_available() else 0
    remote: Any = cluster.remote(num_cpus=1, num_gpus=devices, max_retries=0)(fresh)
    waiting = {remote.remote(job, _threads(workers), at=Path.cwd()): job for job in jobs}
    try:
        while waiting:
            check()
            ended, _ = cluster.wait(list(waiting), timeout=PATIENCE)
            for reference in ended:
                job = waiting.pop(reference)
                try:
                    yield job, cluster.get(reference)
                except cluster.exceptions.RayError as error:
                    yield job, {"status": "failed", "message": f"Ray: {str(error).splitlines()[0]}"}
    finally:
        for reference in waiting:
            cluster.cancel(reference, force=True)
        if local:
            cluster.shutdown()


ENGINES: dict[str, Callable[[Sequence[Job], int, Check], Done]] = {"processes": processes, "here": here, "ray": ray}


def find(name: str) -> Callable[[Sequence[Job], int, Check], Done]:
    """An engine.

    Raises:
        RequestError: for an unknown name.
    """
    if name not in ENGINES:
        raise RequestError(f'there is no engine "{name}". {did_you_mean(name, ENGINES)}')
    return ENGINES[name]


def devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none where there is no choice."""
    import torch

    count, named = torch.cuda.device_count(), os.environ.get(VISIBLE)
    if count < 2:
        return []
    return [name.strip() for name in named.split(",")][:count] if named else [str(i) for i in range(count)]


def fresh(
    job: Job,
    threads: int | None,
    running: Children | None = None,
    at: Path | None = None,
    device: str | None = None,
) -> Line:
    """Do a job in a fresh process; what it prints goes into a log beside the run's folder, which goes if it is empty.

    Args:
        job: to be done.
        threads: of the process; None: as it likes.
        running: knows the process while it runs.
        at: the folder from which relative paths go; unset: where this process is.
        device: the GPU that it sees, as CUDA_VISIBLE_DEVICES names it; unset: all.
    """
    log = (at or Path()) / job.root / f"{job.folder}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # the same modules as here, and none of the folder that this was started in
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    if device is not None:
        environment[VISIBLE] = device
    if threads:
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "nlp_transfer.comparison.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=at,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end what we started
        ) as process,
    ):
        if running is not None:
            running.add(process)
        assert process.stdin
        assert process.stdout
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(job.to_json() + "\n")
            process.stdin.flush()
        # its input stays open until here: by its end the process knows that we are gone
        answered = process.stdout.read().strip().splitlines()
        status = process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        if running is not None:
            running.discard(process)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if status == 0 and answered:
        if not said:
            log.unlink()
        outcome: Line = json.loads(answered[-1])
        return outcome
    ended = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return {"status": "failed", "message": "\n".join([f"its process ended {ended}; {log}:", *said[-LAST_LINES:]])}


def _threads(workers: int) -> int | None:
    """Threads for each of several workers, so that they share the cores; None where one has them all."""
    return max(1, (os.cpu_count() or 1) // workers) if workers > 1 else None


def _end(process: subprocess.Popen[str]) -> None:
    """End a process that we started."""
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
