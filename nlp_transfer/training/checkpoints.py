"""Checkpoints: everything that makes a stopped training the same training when it goes on; safetensors and JSON only."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nlp_transfer.errors import RequestError, TrainingError
from nlp_transfer.training.loop import Loop, Position

MANIFEST = "manifest.json"
MINUTES = 10
"""Minutes between checkpoints where no number of steps is asked for."""

KEPT = 2
"""Checkpoints that are kept, besides the best weights."""


class Checkpoints:
    """The checkpoints of one run: `step-N` to go on from, `best-N` the weights of the best evaluation.

    A checkpoint is written to a folder of another name, flushed to the disk, and renamed when its manifest of sizes and
    hashes stands: at any moment a kill leaves the earlier ones whole.
    """

    def __init__(self, folder: Path, writes: bool, every: int | None, data: str = "") -> None:
        """`every`: steps between checkpoints; `data`: what identifies the rows, so that none others are taken for them."""
        self.folder = folder
        self.data = data
        self.writes = writes
        self.every = every
        self.saved_step = 0
        self.saved_at = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be written after this step."""
        if self.every:
            return step % self.every == 0
        return time.monotonic() - self.saved_at > 60 * MINUTES

    def save(self, loop: Loop, history: Mapping[str, Any]) -> None:
        """Write a checkpoint of a loop between two steps; only the newest few are kept.

        Raises:
            TrainingError: where it cannot be written; the earlier ones are untouched.
        """
        step = loop.position.step
        self.saved_at = time.monotonic()
        if step == self.saved_step and not history["pending"]:
            return
        if self.writes:
            model = loop.accelerator.unwrap_model(loop.model)
            tensors = {
                "model": learning(loop, model),
                "optimizer": _optimizer(loop, model),
                "random": _random_tensors(),
            }
            state = {
                "history": dict(history),
                "position": asdict(loop.position),
                "schedule": loop.schedule.state_dict(),
                "rates": [group["lr"] for group in loop.optimizer.param_groups],
                "scaler": loop.accelerator.scaler.state_dict() if loop.accelerator.scaler else None,
                "random": _random_values(),
                "threads": torch.get_num_threads(),
                "data": self.data,
            }
            self._write(f"step-{step:08d}", tensors, state)
            for old in self._named("step-")[:-KEPT]:
                shutil.rmtree(old)
            best = history.get("best_step")
            for old in self._named("best-"):
                if best is not None and _number(old) < best:
                    shutil.rmtree(old)
        self.saved_step = step

    def save_last(self, loop: Loop, history: Mapping[str, Any]) -> None:
        """Write a checkpoint at the end of a training that took long enough to be worth it: judging may be stopped too."""
        if time.monotonic() - self.saved_at > 60:
            self.save(loop, history)

    def save_best(self, loop: Loop) -> None:
        """Write the weights of the best evaluation so far: those of the step just done."""
        if self.writes:
            model = loop.accelerator.unwrap_model(loop.model)
            self._write(f"best-{loop.position.step:08d}", {"model": learning(loop, model)}, {})

    def load_best(self, model: nn.Module, step: int) -> None:
        """Put the weights of the best evaluation into a model."""
        _load_model(model, self.folder / f"best-{step:08d}" / "model.safetensors")

    def restore(self, loop: Loop) -> tuple[dict[str, Any] | None, list[str]]:
        """Put a fresh loop where the newest whole checkpoint was.

        Returns:
            The history that was saved with it, None where there is no checkpoint; and sentences that a person should
            read: about checkpoints that are damaged, and about threads.

        Raises:
            RequestError: where the newest checkpoint was trained on other rows.
        """
        said = [f"{path} is not whole and is ignored." for path in self._named("") if not whole(path)]
        steps = [path for path in self._named("step-") if whole(path)]
        if not steps:
            return None, said
        newest = steps[-1]
        model = loop.accelerator.unwrap_model(loop.model)
        state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
        if state["data"] != self.data:
            raise RequestError(
                f"the data is not what the checkpoint {newest} was trained on: give the same rows, or begin anew with "
                "--overwrite."
            )
        _load_model(model, newest / "model.safetensors")
        _restore_optimizer(loop, model, load_file(newest / "optimizer.safetensors"))
        for group, rate in zip(loop.optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = rate
        loop.schedule.load_state_dict(state["schedule"])
        loop.position = Position(**state["position"])
        if state["scaler"] and loop.accelerator.scaler:
            loop.accelerator.scaler.load_state_dict(state["scaler"])
        _restore_random(state["random"], load_file(newest / "random.safetensors"))
        if state["threads"] != torch.get_num_threads():
            said.append(
                f"warning: the checkpoint was made with {state['threads']} threads, this process has "
                f"{torch.get_num_threads()}: sums are rounded otherwise, and the weights will not be equal to the bit."
            )
        self.saved_step = loop.position.step
        return state["history"], said

    def clear(self) -> None:
        """Remove all checkpoints: the run is done."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _named(self, start: str) -> list[Path]:
        """Checkpoint folders whose name starts so, oldest first, unfinished ones among them where `start` is empty."""
        found = [path for path in self.folder.glob("*") if path.is_dir() and path.name.startswith(start)]
        return sorted(found, key=lambda path: path.name)

    def _write(self, name: str, tensors: Mapping[str, dict[str, Tensor]], state: Mapping[str, Any]) -> None:
        part, final = self.folder / f".part-{name}", self.folder / name
        try:
            for stale in (part, final):
                shutil.rmtree(stale, ignore_errors=True)
            part.mkdir(parents=True)
            for file, values in tensors.items():
                save_file(values, part / f"{file}.safetensors")
            (part / "state.json").write_text(json.dumps(state), encoding="utf-8")
            manifest = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in part.iterdir()}
            for path in part.iterdir():
                _flush(path)
            (part / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
            _flush(part / MANIFEST)
            _flush(part)
            part.rename(final)
            _flush(self.folder)
        except Exception as error:
            # safetensors and the file system each have their own kinds of "no space left"
            shutil.rmtree(part, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise TrainingError(
                f"the checkpoint {final} cannot be written: {reason}. Earlier checkpoints are untouched; make room or "
                "permission, then go on with --resume."
            ) from error


def whole(path: Path) -> bool:
    """Whether a checkpoint has a manifest, and every file in it has the size and hash that the manifest says."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest) and all(
            (path / name).stat().st_size == told["bytes"] and _sha256(path / name) == told["sha256"]
            for name, told in manifest.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def learning(loop: Loop, model: nn.Module) -> dict[str, Tensor]:
    """The weights that learn in this epoch or any other, by their names in the model; the rest is the backbone unchanged."""
    trained = {id(parameter) for parameter in loop.trained}
    return {
        name: parameter.detach().contiguous().cpu()
        for name, parameter in model.named_parameters()
        if id(parameter) in trained
    }


def _load_model(model: nn.Module, file: Path) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in load_file(file).items():
            parameters[name].copy_(value)


def _optimizer(loop: Loop, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors as "value/name of the parameter"."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{key}/{names[id(parameter)]}": value.detach().contiguous().cpu()
        for parameter, values in loop.optimizer.state.items()
        for key, value in values.items()
    }


def _restore_optimizer(loop: Loop, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for path, value in tensors.items():
        key, _, name = path.partition("/")
        parameter = parameters[name]
        # the count of steps stays where the fused kernels want it: beside the parameter
        loop.optimizer.state[parameter][key] = value.to(parameter.device)


def _random_tensors() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _random_values() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)
    state = {**legacy["state"], "key": legacy["state"]["key"].tolist()}
    return {"python": [version, list(numbers), gauss], "numpy": {**legacy, "state": state}}


def _restore_random(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
    legacy = values["numpy"]
    key = np.array(legacy["state"]["key"], dtype=np.uint32)
    np.random.set_state({**legacy, "state": {**legacy["state"], "key": key}})
    torch.set_rng_state(tensors["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([tensors[name] for name in sorted(tensors) if name.startswith("cuda")])


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have the operating system put a file or folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
