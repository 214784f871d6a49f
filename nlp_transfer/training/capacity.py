"""Capacity: how many rows fit into memory at once, found out before training by the batch that takes most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import find_executable_batch_size, gather_object
from torch import nn

from nlp_transfer.errors import RequestError
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.loop import Indices, Loss
from nlp_transfer.training.settings import TrainSettings

MOMENTS = 2
"""Tensors of a weight's size that AdamW holds for it from its first step on."""


@dataclass(frozen=True)
class Capacity:
    """What one step of training takes, tried out: no weight moves, and no random number is drawn from those of the training."""

    model: nn.Module
    groups: list[dict[str, Any]]
    heaviest: Callable[[int], Indices]
    """Of batches of so many rows the one that takes most memory."""
    fetch: Callable[[Indices], Batch]
    loss: Loss
    accelerator: Accelerator
    still: Sequence[nn.Module] = ()
    """Parts that run as in prediction."""

    def settle(self, settings: TrainSettings) -> TrainSettings:
        """Settings with the largest batch that fits; accumulation makes the same steps of it.

        Raises:
            RequestError: where not even one row fits.
        """
        step = settings.rows_per_step
        sizes = iter([step // parts for parts in range(2, step + 1) if step % parts == 0])
        # accelerate knows how a lack of memory is told, by every device
        search = find_executable_batch_size(self._attempt, step, lambda: next(sizes, 0))
        self.model.to(self.accelerator.device)
        try:
            found = search(step)
        except RuntimeError as error:
            if "No executable batch size" not in str(error):
                raise
            found = 0
        if self.accelerator.num_processes > 1:
            found = min(gather_object([found]))
        if not found:
            raise RequestError(
                "train.batch_size auto: not even a batch of one row fits into memory. Lower --data.max_length, take "
                "--train.gradient_checkpointing true, a method with fewer weights that learn, or a smaller model."
            )
        return replace(settings, batch_size=found, accumulate=step // found)

    def _attempt(self, batch_size: int, step: int) -> int:
        """A forward and a backward pass, beside what will be held meanwhile; the same number where they fit."""
        engine = self.accelerator
        learning = [parameter for group in self.groups for parameter in group["params"]]
        indices = self.heaviest(batch_size)
        mine = indices[engine.process_index :: engine.num_processes]
        with self._as_in_training(learning):
            # several processes hold their gradients once more, to send them
            copies = MOMENTS + int(engine.num_processes > 1)
            held = [torch.empty_like(parameter) for parameter in learning for _ in range(copies)]
            held += [torch.empty_like(each) for group in self.groups if group.get("pull") for each in group["params"]]
            if batch_size < step:
                # the later batches of a step find the gradients of the earlier ones there
                for parameter in learning:
                    parameter.grad = torch.zeros_like(parameter)
            batch = self.fetch(mine if len(mine) else indices[:1]).to(engine.device)
            with engine.autocast():
                outputs = self.model(**batch.inputs)
            self.loss(outputs, batch)[0].backward()
            del held
        return batch_size

    @contextmanager
    def _as_in_training(self, learning: Sequence[nn.Parameter]) -> Iterator[None]:
        """All that will ever learn learns now; afterwards everything is as it was."""
        before = [parameter.requires_grad for parameter in learning]
        training = self.model.training
        device = self.accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            self.model.train()
            for module in self.still:
                module.eval()
            try:
                for parameter in learning:
                    parameter.requires_grad_(True)
                yield
            finally:
                self.model.zero_grad(set_to_none=True)
                self.model.train(training)
                for parameter, learns in zip(learning, before, strict=True):
                    parameter.requires_grad_(learns)
