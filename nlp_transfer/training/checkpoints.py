"""Checkpoints: everything that makes a stopped training the same training when it goes on; safetensors and JSON only."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nlp_transfer.errors import RequestError, TrainingError
from nlp_transfer.training import manifest, randomness, sharding
from nlp_transfer.training.loop import Loop, Position
from nlp_transfer.training.manifest import flush, whole
from nlp_transfer.training.token_vectors import held, spread

MINUTES = 10
"""Minutes between checkpoints where no number of steps is asked for."""

KEPT = 2
"""Checkpoints that are kept, besides the best weights."""


class Checkpoints:
    """The checkpoints of one run: `step-N` to go on from, `best-N` the weights of the best evaluation.

    A checkpoint is written to a folder of another name, flushed to the disk, and renamed when its manifest of sizes and
    hashes stands: at any moment a kill leaves the earlier ones whole. Of several processes the main one writes what all of
    them hold, each its random state, and of a sharded model its part of the tensors (`model-RANK.safetensors`).
    """

    def __init__(
        self, folder: Path, writes: bool, every: int | None, data: str = "", backbone: str | None = None
    ) -> None:
        """`every`: steps between checkpoints; `data`, `backbone`: what identify both, so that none others are taken for them."""
        self.folder = folder
        self.made_of = {"data": data, "backbone": backbone}
        self.writes = writes
        self.every = every
        self.saved_step = 0
        self.saved_pending = False
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
        if step == self.saved_step and (self.saved_pending or not history["pending"]):
            return
        state = {
            "history": dict(history),
            "position": asdict(loop.position),
            "schedule": loop.schedule.state_dict(),
            "rates": [group["lr"] for group in loop.optimizer.param_groups],
            "scaler": loop.accelerator.scaler.state_dict() if loop.accelerator.scaler else None,
            "processes": loop.accelerator.num_processes,
            "threads": torch.get_num_threads(),
            **self.made_of,
        }
        self._write(loop, f"step-{step:08d}", state)
        if self.writes:
            for old in self._named("step-")[:-KEPT]:
                shutil.rmtree(old)
            best = history.get("best_step")
            for old in self._named("best-"):
                if best is not None and _number(old) < best:
                    shutil.rmtree(old)
        self.saved_step, self.saved_pending = step, bool(history["pending"])

    def due_last(self) -> bool:
        """Whether a checkpoint at the end of training is worth it: judging may be stopped too, where it all took long."""
        return time.monotonic() - self.saved_at > 60

    def save_best(self, loop: Loop) -> None:
        """Write the weights of the best evaluation so far: those of the step just done."""
        self._write(loop, f"best-{loop.position.step:08d}", None)

    def load_best(self, model: nn.Module, step: int) -> None:
        """Put the weights of the best evaluation into a model.

        Raises:
            TrainingError: where they were damaged meanwhile.
        """
        if not whole(best := self._best(step)):
            raise TrainingError(
                f"{best} is not whole any more: the best weights are lost. Train anew with --overwrite."
            )
        _load_model(model, best)

    def restore(self, loop: Loop) -> tuple[dict[str, Any] | None, list[str]]:
        """Put a fresh loop where the newest whole checkpoint was.

        Returns:
            The history that was saved with it, None where there is no checkpoint; and sentences that a person should
            read: about checkpoints that are damaged, and about threads.

        Raises:
            RequestError: where that checkpoint was trained on other rows, or from another backbone.
        """
        said = [f"{path} is not whole and is ignored." for path in self._named("") if not whole(path)]
        steps = [path for path in self._named("step-") if whole(path)]
        if not steps:
            return None, said
        newest, state = self._usable(steps, said)
        accelerator = loop.accelerator
        model = accelerator.unwrap_model(loop.model)
        for what, is_now in self.made_of.items():
            if None not in (is_now, was := state.get(what)) and was != is_now:
                raise RequestError(
                    f"the {what} is not what the checkpoint {newest} was trained on: give the same, or begin anew with "
                    "--overwrite."
                )
        _load_model(model, newest)
        _restore_optimizer(loop, model, newest)
        for group, rate in zip(loop.optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = rate
        loop.schedule.load_state_dict(state["schedule"])
        loop.position = Position(**state["position"])
        if state["scaler"] and accelerator.scaler:
            accelerator.scaler.load_state_dict(state["scaler"])
        if state["processes"] != accelerator.num_processes:
            said.append(
                f"warning: the checkpoint was made by {state['processes']} processes, now there are "
                f"{accelerator.num_processes}: rows and steps stay the same, but dropout is drawn otherwise."
            )
        if accelerator.process_index < state["processes"]:
            file = newest / f"random-{accelerator.process_index}.safetensors"
            if not randomness.restore(file, accelerator.device):
                said.append("warning: the checkpoint was made without a GPU: dropout is drawn otherwise from here on.")
        if state["threads"] != torch.get_num_threads():
            said.append(
                f"warning: the checkpoint was made with {state['threads']} threads, this process has "
                f"{torch.get_num_threads()}: sums are rounded otherwise, and the weights will not be equal to the bit."
            )
        self.saved_step, self.saved_pending = loop.position.step, bool(state["history"]["pending"])
        return state["history"], said

    def _usable(self, steps: list[Path], said: list[str]) -> tuple[Path, dict[str, Any]]:
        """The newest checkpoint whose best weights are whole, and its state; without one the newest, which then has no best."""
        states = [json.loads((path / "state.json").read_text(encoding="utf-8")) for path in steps]
        for path, state in zip(reversed(steps), reversed(states), strict=True):
            best = state["history"].get("best_step")
            if best is None or whole(self._best(best)):
                return path, state
        said.append("warning: the best weights so far are lost: of what follows, the best are kept.")
        states[-1]["history"] |= {"best": None, "best_step": None, "without_gain": 0}
        return steps[-1], states[-1]

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step:08d}"

    def clear(self) -> None:
        """Remove all checkpoints: the run is done."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _named(self, start: str) -> list[Path]:
        """Checkpoint folders whose name starts so, oldest first, unfinished ones among them where `start` is empty."""
        found = [path for path in self.folder.glob("*") if path.is_dir() and path.name.startswith(start)]
        return sorted(found, key=lambda path: path.name)

    def _write(self, loop: Loop, name: str, state: Mapping[str, Any] | None) -> None:
        """Write the weights, and with a state the optimiser's tensors and the random states beside it."""
        part, final = self.folder / f".part-{name}", self.folder / name
        with self._together(loop.accelerator, part, final):
            if self.writes:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
        with self._together(loop.accelerator, part, final):
            self._write_own(loop, part, with_state=state is not None)
            if self.writes:
                (part / "state.json").write_text(json.dumps(state or {}), encoding="utf-8")
                flush(part / "state.json")
        with self._together(loop.accelerator, part, final):
            if self.writes:
                manifest.write(part)
                shutil.rmtree(final, ignore_errors=True)  # of the same step, which stands until this one is whole
                part.rename(final)
                flush(self.folder)

    def _write_own(self, loop: Loop, part: Path, with_state: bool) -> None:
        """Write what this process has to add to a checkpoint."""
        model, rank = loop.accelerator.unwrap_model(loop.model), loop.accelerator.process_index
        shared_out = sharding.is_sharded(model)
        written = []
        if self.writes or shared_out:
            ending = f"-{rank}.safetensors" if shared_out else ".safetensors"
            tensors = {"model": learning(loop, model)}
            if with_state:
                tensors["optimizer"] = _optimizer(loop, model)
            for file, values in tensors.items():
                written.append(part / f"{file}{ending}")
                save_file(values, written[-1])
        if with_state:
            written.append(part / f"random-{rank}.safetensors")
            randomness.save(written[-1], loop.accelerator.device)
        for path in written:
            flush(path)

    @contextmanager
    def _together(self, accelerator: Accelerator, part: Path, final: Path) -> Iterator[None]:
        """What all processes do before any goes on; where one of them fails, all do.

        Raises:
            TrainingError: then.
        """
        reason, cause = "", None
        try:
            yield
        except Exception as error:
            # safetensors and the file system each have their own kinds of "no space left"
            reason, cause = str(getattr(error, "strerror", None) or error), error
        reasons = gather_object([reason]) if accelerator.num_processes > 1 else [reason]
        if any(reasons):
            if self.writes:
                shutil.rmtree(part, ignore_errors=True)
            raise TrainingError(
                f"the checkpoint {final} cannot be written: {next(filter(None, reasons))}. Earlier checkpoints are "
                "untouched; make room or permission, then go on with --resume."
            ) from cause


def learning(loop: Loop, model: nn.Module) -> dict[str, Tensor]:
    """The weights that learn in this epoch or any other, by their names in the model; the rest is the backbone unchanged.

    Of a sharded model this process's part of each.
    """
    trained = {id(parameter) for parameter in loop.trained}
    return {
        name: spread(sharding.local(parameter.detach()), parameter).contiguous().cpu()
        for name, parameter in model.named_parameters()
        if id(parameter) in trained
    }


def _optimizer(loop: Loop, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors as "value/name of the parameter"; of a sharded one this process's part of each."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{key}/{names[id(parameter)]}": spread(sharding.local(value.detach()), parameter).contiguous().cpu()
        for parameter, values in loop.optimizer.state.items()
        for key, value in values.items()
    }


def _load_model(model: nn.Module, folder: Path) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, parts in _stored(folder, "model"):
            sharding.local(parameters[name]).copy_(held(sharding.part_of(parts, parameters[name]), parameters[name]))


def _restore_optimizer(loop: Loop, model: nn.Module, folder: Path) -> None:
    parameters = dict(model.named_parameters())
    for path, parts in _stored(folder, "optimizer"):
        key, _, name = path.partition("/")
        parameter = parameters[name]
        # the count of steps stays where the fused kernels want it: beside the parameter
        state = held(sharding.part_of(parts, parameter), parameter)
        loop.optimizer.state[parameter][key] = sharding.beside(state, parameter)


def _stored(folder: Path, kind: str) -> Iterator[tuple[str, list[Tensor]]]:
    """The tensors of a checkpoint by name, each as its parts in the order of the processes that wrote them."""
    whole = folder / f"{kind}.safetensors"
    paths = [whole] if whole.exists() else sorted(folder.glob(f"{kind}-*.safetensors"), key=_number)
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, framework="pt")) for path in paths]
        for name in files[0].keys():  # noqa: SIM118  # no dict
            yield name, [file.get_tensor(name) for file in files]


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
