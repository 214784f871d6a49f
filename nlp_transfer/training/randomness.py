"""The random state of one process: what its dropout, and whatever else draws, goes on from."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file


def seed_of(seed: int, rank: int) -> int:
    """The seed of a process's own stream: the run's for the first one, and no other run's first one for the others."""
    return seed if rank == 0 else int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])


def save(file: Path, device: torch.device) -> None:
    """Write the states of python, numpy, torch and this process's device."""
    tensors = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    save_file(tensors, file, metadata={"values": json.dumps(_values())})


def restore(file: Path, device: torch.device) -> bool:
    """Go on from the states that `save` wrote; gives whether that of this device was among them."""
    with safe_open(file, framework="pt") as stored:
        _restore_values(json.loads(stored.metadata()["values"]))
        torch.set_rng_state(stored.get_tensor("cpu"))
        if device.type != "cuda":
            return True
        if known := "cuda" in stored.keys():  # noqa: SIM118  # no dict
            torch.cuda.set_rng_state(stored.get_tensor("cuda"), device)
        return known


def _values() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)
    state = {**legacy["state"], "key": legacy["state"]["key"].tolist()}
    return {"python": [version, list(numbers), gauss], "numpy": {**legacy, "state": state}}


def _restore_values(values: Mapping[str, Any]) -> None:
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
    legacy = values["numpy"]
    key = np.array(legacy["state"]["key"], dtype=np.uint32)
    np.random.set_state({**legacy, "state": {**legacy["state"], "key": key}})
