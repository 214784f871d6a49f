"""The settings of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nlp_transfer.errors import RequestError, did_you_mean

Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

STEP = 32
"""Rows of a step, times `accumulate`, where `batch_size` is `auto`: what fits must not decide what is learned."""


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and in which numbers a model trains. The defaults suit a few thousand rows."""

    epochs: float = 3.0
    """Passes over the training rows; a part of one is allowed."""
    max_steps: int | None = None
    """Steps of the optimiser after which training ends, whatever `epochs` says."""
    batch_size: int | Literal["auto"] = 32
    """Rows in a batch, over all processes together; `auto`: as many as fit, in steps of 32 times `accumulate` rows."""
    batch_tokens: int | None = None
    """Tokens in a batch, padding included, in place of `batch_size` rows: batches of short texts have many rows, those of long
    ones few, and every row weighs the same; unset: `batch_size` rows."""
    accumulate: int = 1
    """Batches whose gradients make one step: `accumulate` batches of n rows give the step of one batch of that many times n."""
    learning_rate: float | None = None
    """Peak learning rate; unset: the method's own default."""
    schedule: Schedule = "linear"
    """How the learning rate falls after the warm-up."""
    warmup: float = 0.06
    """Share of all steps during which the learning rate rises from zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW; never on norms and biases."""
    clip: float | None = 1.0
    """Largest norm of the gradient of a step; null: no clipping."""
    precision: Precision = "auto"
    """Number format of the forward and backward pass; `auto`: bf16 where the hardware multiplies it natively, else fp32."""
    frozen: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format in which a tuner's method (lora, adapter) holds the linears that never learn. `bf16` halves their memory and
    saves converting them in every step; with precision bf16 they are multiplied in bf16 anyway, so that it changes no result.
    `auto`: bf16 there, but not where they are more than multiplied (`dora`, `pissa`), and not with `sharded`."""
    store_gigabytes: float = 20.0
    """What the activations of blocks that never change may take for each split, in gigabytes of memory or disk; they are computed
    once and kept where this suffices, and in every epoch where it does not. 0: never kept."""
    dropout: float | None = None
    """Dropout everywhere in the model; unset: what the backbone's configuration says."""
    gradient_checkpointing: bool = False
    """Keep fewer activations and compute them again in the backward pass: less memory, more time."""
    sharded: bool = False
    """Spread weights, gradients and the optimiser's state over the processes (FSDP2), for a model too large for one."""
    patience: int | None = None
    """End after so many evaluations without a better score; unset: train to the end. One evaluation per epoch."""
    checkpoint_every: int | None = None
    """Steps between checkpoints, from which --resume goes on; unset: every ten minutes."""
    max_minutes: float | None = None
    """End training after so many minutes, in time for the evaluation that follows; the best weights are kept."""
    trackers: tuple[str, ...] = ()
    """Where to log besides the run folder, by Accelerate's names: tensorboard, wandb, mlflow ..."""

    def __post_init__(self) -> None:
        positive = (
            "epochs",
            "max_steps",
            "batch_size",
            "batch_tokens",
            "accumulate",
            "learning_rate",
            "clip",
            "patience",
            "checkpoint_every",
            "max_minutes",
        )
        for name in positive:
            value = getattr(self, name)
            if value not in (None, "auto") and not 0 < value < float("inf"):
                raise RequestError(f"train.{name} is {value}: expected a number above 0.")
            # a rate that no training survives is a result, and comparisons count it
            if value not in (None, "auto") and name != "learning_rate" and value >= 2**31:
                raise RequestError(f"train.{name} is {value:g}: expected a number below 2**31.")
        if self.batch_size == "auto" and self.batch_tokens is not None:
            raise RequestError(
                f"train.batch_size is auto and train.batch_tokens {self.batch_tokens}: both say how much a batch holds. Leave "
                "one of them out."
            )
        for name in ("warmup", "dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise RequestError(f"train.{name} is {value}: expected a share, 0 or more and below 1.")
        for name in ("weight_decay", "store_gigabytes"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise RequestError(f"train.{name} is {getattr(self, name)}: expected 0 or more.")
        for name in self.trackers:
            _refuse_unknown_tracker(name)

    @property
    def rows_per_step(self) -> int:
        """Rows of a step, where these are counted."""
        return (STEP if self.batch_size == "auto" else self.batch_size) * self.accumulate

    @property
    def rows_at_once(self) -> int:
        """Rows of a batch; of a whole step, where it has still to be found out how many fit."""
        return self.rows_per_step if self.batch_size == "auto" else self.batch_size

    def passes(self, steps: int) -> float:
        """How often training reads every row, where that takes so many steps."""
        return self.epochs if self.max_steps is None else self.max_steps / steps


def _refuse_unknown_tracker(name: str) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS  # here, since it takes its time and few ask for it

    if name not in LOGGER_TYPE_TO_CLASS:
        raise RequestError(f'train.trackers: there is no tracker "{name}". {did_you_mean(name, LOGGER_TYPE_TO_CLASS)}')
