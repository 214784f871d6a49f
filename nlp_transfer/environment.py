"""What a run ran on: versions, device, threads, memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import version
from typing import Any

import torch
from accelerate import PartialState

PACKAGES = ("nlp-transfer", "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "safetensors")


def describe() -> dict[str, Any]:
    """Versions, device, threads and processes of this process, for reports and `doctor`."""
    state = PartialState()
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
    unit = 1 if sys.platform == "darwin" else 1024
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if cuda else None,
    }


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
