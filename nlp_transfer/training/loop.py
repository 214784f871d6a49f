"""The training loop: a generator that yields after every step of the optimiser.

Stopping is the caller's `break`; evaluating, saving and printing are the caller's next lines. The
order of the rows comes from the plan,
which is a function of (seed, epoch) alone; the loop never asks which task or method it runs.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import get_scheduler

from nlp_transfer.training import gradients, heap, sharding
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.kernels import cpu_kernels
from nlp_transfer.training.optimizer import adamw
from nlp_transfer.training.settings import TrainSettings

Indices = np.ndarray
"""Row indices of one batch."""

Loss = Callable[[Any, Batch], tuple[Tensor, float | Tensor]]
"""(outputs, batch) -> (summed loss, summed weight): what the task's loss averages over, rows, tokens or windows."""


class Plan(Protocol):
    """Which rows make which step. A step is a list of batches whose gradients are added up."""

    @property
    def by_rows(self) -> bool:
        """Whether a step counts by its rows, so that in an epoch all rows weigh the same; else steps weigh the same."""
        ...

    def steps(self, epochs: float) -> int:
        """Steps in so many epochs."""
        ...

    def epoch(self, number: int) -> Sequence[Sequence[Indices]]:
        """All steps of one epoch, in order: a function of the plan's seed and `number` alone."""
        ...


@dataclass(frozen=True)
class Step:
    """What one step of the optimiser did: its number, of how many, epochs and rows so far, and its mean loss."""

    number: int
    total: int
    epoch: float
    rows: int
    loss: Tensor
    gradient_norm: Tensor | None
    learning_rate: float
    seconds: float
    batches: Sequence[Indices]
    ends_epoch: bool
    """True at the end of an epoch, and of training: the moment to evaluate."""


@dataclass
class Position:
    """How far training is: whole epochs, steps inside the epoch, steps and rows in all."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    rows: int = 0


@dataclass
class Loop:
    """Training of one model, step by step: `for step in Loop(...): ...`.

    Gradients are those of the summed loss divided by the summed weight over all batches and processes of a step, so that
    k batches of n rows give exactly the step of one batch of k*n rows, whatever the task's loss averages over. Where the plan
    makes steps of different numbers of rows, this mean counts by them: times the step's rows, by those of a mean step.
    """

    model: nn.Module
    groups: list[dict[str, Any]]
    plan: Plan
    fetch: Callable[[Indices], Batch]
    loss: Loss
    settings: TrainSettings
    accelerator: Accelerator
    position: Position = field(default_factory=Position)
    begin: Callable[[nn.Module, int], None] = lambda _model, _epoch: None
    """Called with the plain model at the start of every epoch: which weights learn in it."""
    still: Sequence[nn.Module] = ()
    """Parts that never change: they run as in prediction, without dropout."""
    training: bool = field(default=False, init=False)
    """Whether the model has been set to train; who evaluates it, sets the model itself back."""
    rows_per_step: float = field(default=0.0, init=False)
    """Rows of a mean step of this epoch, where steps count by them; else 0."""

    def __post_init__(self) -> None:
        self.total = self.settings.max_steps or self.plan.steps(self.settings.epochs)
        if sharding.asked(self.settings.sharded):
            self.model, self.optimizer = sharding.prepared(self.accelerator, self.model, self.groups)
        else:
            self.model, self.optimizer = self.accelerator.prepare(self.model, adamw(self.groups))
        warmup = math.ceil(self.settings.warmup * self.total)
        self.schedule = get_scheduler(self.settings.schedule, self.optimizer.optimizer, warmup, self.total)
        self.holes = heap.Holes()
        self.trained = [parameter for group in self.groups for parameter in group["params"]]

    def __iter__(self) -> Iterator[Step]:
        while self.position.step < self.total:
            steps = self.plan.epoch(self.position.epoch)
            self.begin(self.accelerator.unwrap_model(self.model), self.position.epoch)
            rows = sum(len(batch) for step in steps for batch in step) if self.plan.by_rows else 0
            self.rows_per_step = rows / len(steps)
            while self.position.step_in_epoch < len(steps) and self.position.step < self.total:
                yield self._step(steps)
            if self.position.step < self.total:
                self.position.epoch += 1
                self.position.step_in_epoch = 0

    def _step(self, steps: Sequence[Sequence[Indices]]) -> Step:
        """The next step of the epoch whose steps these are."""
        position = self.position
        started = time.perf_counter()
        rate = self.schedule.get_last_lr()[0]
        batches = steps[position.step_in_epoch]
        if not (self.training and self.model.training):
            self._train()
        loss, norm = self._update(batches)
        position.step += 1
        position.step_in_epoch += 1
        if self.accelerator.device.type == "cpu":
            self.holes.step()
        position.rows += sum(len(batch) for batch in batches)
        return Step(
            number=position.step,
            total=self.total,
            epoch=position.epoch + position.step_in_epoch / len(steps),
            rows=position.rows,
            loss=loss,
            gradient_norm=norm,
            learning_rate=rate,
            seconds=time.perf_counter() - started,
            batches=batches,
            ends_epoch=position.step_in_epoch == len(steps) or position.step == self.total,
        )

    def _train(self) -> None:
        """Set what runs as in training; an evaluation sets it back."""
        self.model.train()
        for module in self.still:
            module.eval()
        self.training = True

    def _update(self, batches: Sequence[Indices]) -> tuple[Tensor, Tensor | None]:
        """One step of the optimiser: the mean loss per weight, and the norm of its gradient before clipping."""
        accelerator = self.accelerator
        rows = sum(len(batch) for batch in batches)
        total_loss: Tensor = torch.zeros((), device=accelerator.device)
        total_weight: float | Tensor = 0.0
        for i, indices in enumerate(batches):
            partial = i + 1 < len(batches)
            with accelerator.no_sync(self.model) if partial else contextlib.nullcontext():
                loss, weight = self._forward(indices)
                # rows stand in for the weight, which is known only at the end; DDP averages over processes
                accelerator.backward(loss * (accelerator.num_processes / rows))
            total_loss = total_loss + loss.detach()
            total_weight = total_weight + weight
        if accelerator.num_processes > 1:
            both = torch.stack([total_loss, torch.as_tensor(total_weight, device=total_loss.device).float()])
            total_loss, total_weight = accelerator.reduce(both)
        share = rows / self.rows_per_step if self.rows_per_step else 1.0
        norm = gradients.scale(
            accelerator, self.optimizer, self.trained, share * rows / total_weight, self.settings.clip
        )
        # without a scaler the wrapper does nothing but look, in every step, whether a package is installed
        optimizer = self.optimizer.optimizer if accelerator.scaler is None else self.optimizer
        optimizer.step()
        if not accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        optimizer.zero_grad()
        return total_loss / total_weight, norm

    def _forward(self, indices: Indices) -> tuple[Tensor, float | Tensor]:
        """Summed loss and weight of this process's share of a batch."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        mine = indices[rank::processes]
        # a ragged last batch may have fewer rows than there are processes, and every process must take part
        share = 1.0 if len(mine) else 0.0
        batch = self.fetch(mine if len(mine) else indices[:1]).to(self.accelerator.device)
        again = self.settings.gradient_checkpointing
        kernels = contextlib.nullcontext() if again else cpu_kernels(self.accelerator.device)
        with self.accelerator.autocast(), kernels:
            outputs = self.model(**batch.inputs)
        loss, weight = self.loss(outputs, batch)
        return loss * share, weight * share


def decay_groups(parameters: Mapping[str, nn.Parameter], settings: TrainSettings) -> list[dict[str, Any]]:
    """AdamW's groups: decay for matrices, none for norms and biases (all tensors with fewer than two dimensions)."""
    common = {"lr": settings.learning_rate, "betas": (0.9, 0.999), "eps": 1e-8}
    matrices = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay, **common},
        {"params": vectors, "weight_decay": 0.0, **common},
    ]
    return [group for group in groups if group["params"]]
