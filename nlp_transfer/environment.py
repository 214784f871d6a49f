"""What a run ran on: versions, device, threads, memory."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from nlp_transfer.errors import RequestError

PACKAGES = ("nlp-transfer", "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "safetensors")


TIMEOUT = "NLP_TRANSFER_TIMEOUT"
"""The variable that says how many seconds processes wait for one that does not answer."""

LAUNCHED = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
)
"""The variables by which a launcher tells a process of the others."""

SECONDS = 600
"""Where it is unset: longer than one process may take to write what the others wait for."""


def homely(path: object) -> str:
    """A path for messages and reports: the home folder is `~`, since its name is whose it is. Every reader of ours expands it."""
    text, home = str(path), os.path.expanduser("~")
    inside = len(home) > 1 and (text == home or text.startswith(home.rstrip("/") + "/"))
    return f"~{text[len(home.rstrip('/')) :]}" if inside else text


def expanded(path: str | Path) -> Path:
    """A path in which `~` is the home folder, as `homely` wrote it or a person does where no shell expands it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the home of nobody
        return Path(path)


def processes() -> PartialState:
    """Accelerate's view of the processes that run together, joined if they were not yet.

    Raises:
        RequestError: where NLP_TRANSFER_TIMEOUT is no number of seconds.
    """
    # Accelerate joins processes on CPUs only when it is told that there is nothing else
    nothing_else = not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=nothing_else, timeout=timedelta(seconds=timeout()))


def lead() -> int:
    """Leave the group of processes that a launcher started, as its first; gives how many it started on this machine.

    For work that several processes do side by side, not together.

    Raises:
        SystemExit: with status 0, in every process but the first.
        RequestError: where the processes have been joined already.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 1
    if torch.distributed.is_initialized():
        raise RequestError("compare starts its own processes: call it before anything joins those of the launcher.")
    if int(os.environ["RANK"]):
        raise SystemExit(0)
    started = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    for name in list(os.environ):
        if name in LAUNCHED or name.startswith("TORCHELASTIC_"):
            del os.environ[name]
    return started


def timeout() -> float:
    """Seconds after which a process that does not answer is given up."""
    written = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(written or SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RequestError(f"{TIMEOUT} is {written!r}: expected a number of seconds above 0.")
    return seconds


def lost(error: RuntimeError) -> str | None:
    """What to tell a person where an error says that another process has gone, or does not answer; None for other errors."""
    said = " ".join(str(error).split())
    if not isinstance(error, torch.distributed.DistError) and not re.search(r"\bgloo\b|\bNCCL\b", said):
        return None
    said = re.sub(r"\[/\S+\] *", "", said).partition(". This is typically")[0]
    return (
        f"another process of this training has ended, or did not answer for {timeout():g} seconds ({TIMEOUT} sets how long "
        f"to wait): {said[:200]}"
    )


def speaks() -> bool:
    """Whether this process is the one that prints and writes, where several do a job together."""
    return processes().is_main_process


def describe() -> dict[str, Any]:
    """Versions, device, threads and processes of this process, for reports and `doctor`."""
    state = processes()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in PACKAGES},
        "device": state.device.type,
        "device_name": torch.cuda.get_device_name(state.device) if state.device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processes": state.num_processes,
    }


def peak_memory() -> dict[str, int | None]:
    """The most memory this process has held so far, in bytes: of the machine, and of the device if it has its own."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "peak_rss_bytes": _peak_rss(),
        "peak_device_bytes": torch.cuda.max_memory_allocated() if cuda else None,
    }


def _peak_rss() -> int:
    try:
        # getrusage's maximum is handed on from parent to child; VmHWM begins anew with every program
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
