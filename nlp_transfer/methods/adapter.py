"""Bottleneck adapters: small networks put into every block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import nn

from nlp_transfer.adapters import BottleneckConfig
from nlp_transfer.architectures import frozen_from_below
from nlp_transfer.errors import RequestError
from nlp_transfer.methods import Method, refuse_blocks
from nlp_transfer.training.settings import TrainSettings
from nlp_transfer.tuners import norm_names, tuned_blocks, wrapped


@dataclass(frozen=True)
class Adapter(Method):
    """A down projection, an activation and an up projection in every block learn (Houlsby 2019, Pfeiffer 2021, He 2022)."""

    default_learning_rate: ClassVar[float] = 1e-3

    placement: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    """`houlsby`: after attention and after the feed-forward; `pfeiffer`: after the feed-forward; `parallel`: beside it."""
    reduction_factor: float | None = None
    """Width of the model over that of the bottleneck; unset, and no bottleneck_size given: 8 for `pfeiffer` (better on
    validation than the paper's 16, and as many weights as two of 16), 16 for the others."""
    bottleneck_size: int | None = None
    """Width of the bottleneck, in place of reduction_factor."""
    activation: str | None = None
    """By its name in transformers; unset: relu for `parallel`, swish for the others (also for `pfeiffer`, where
    it was better on validation than the paper's relu)."""
    scale: float | Literal["learned"] | None = None
    """Factor of what an adapter adds, or `learned`; unset: 4 for `parallel`, 1 for the others."""
    dropout: float | None = None
    """Dropout after the activation; unset: what `train.dropout` says, or else 0.1 for `pfeiffer` and 0 for the others, as was
    better on validation."""
    norms: bool = False
    """Whether scale and shift of both norms learn in every block with adapters, as in Houlsby 2019; with `houlsby` alone,
    since the other placements stand on a norm or read beside one."""
    layers: tuple[int, ...] | None = None
    """Blocks with adapters, counted from 0 at the bottom; unset: all. Below the lowest no backward pass runs (AdapterDrop,
    Rücklé 2021)."""

    top: int = 0
    """How many blocks, from the top, learn whole, as with the method `freeze`; those below get adapters."""

    def __post_init__(self) -> None:
        refuse_blocks(self.layers, self.top)
        if self.norms and self.placement != "houlsby":
            raise RequestError(
                f"method.norms is for method.placement houlsby: {self.placement} adapters stand on a norm or read beside one. "
                "Leave norms out, or train them alone with --method layernorm."
            )
        self.config(self.layers)

    def settled(self, settings: TrainSettings) -> Adapter:
        """With dropout said: without a word about its own, an adapter is part of the model that `train.dropout` is about."""
        if self.dropout is not None:
            return self
        return replace(self, dropout=self._usual_dropout if settings.dropout is None else settings.dropout)

    @property
    def multiplies_alone(self) -> bool:
        """Always."""
        return True

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Put the adapters in.

        Raises:
            RequestError: for an architecture whose parts are not known, or a block that is not there.
        """
        layers = tuned_blocks(model, self.layers, self.top) if self.top else self.layers
        norms = norm_names(model, layers) if self.norms else ()
        return wrapped(model, self.config(layers), head, self.top, norms)

    def frozen_blocks(self, model: nn.Module) -> int:
        """The blocks below the lowest adapter."""
        return frozen_from_below(model)

    def merge(self, model: nn.Module) -> nn.Module:  # noqa: ARG002
        """Not possible: an activation stands between the projections.

        Raises:
            RequestError: always, with what to do instead.
        """
        raise RequestError(
            "adapters cannot be merged: each has an activation between its projections, so no linear computes the same. Use the "
            "run as it is (load_run, or peft after `import nlp_transfer`), or train with --method lora."
        )

    def config(self, layers: Sequence[int] | None) -> BottleneckConfig:
        """What PEFT is asked for, nothing left open.

        Args:
            layers: blocks with adapters; None: all.
        """
        alone = self.placement == "pfeiffer"
        factor = 8.0 if alone and self.bottleneck_size is None else None
        return BottleneckConfig(
            placement=self.placement,
            reduction_factor=factor if self.reduction_factor is None else self.reduction_factor,
            bottleneck_size=self.bottleneck_size,
            activation=self.activation or ("swish" if alone else None),
            scale=self.scale,
            dropout=self._usual_dropout if self.dropout is None else self.dropout,
            layers=None if layers is None else list(layers),
        )

    @property
    def _usual_dropout(self) -> float:
        return 0.1 if self.placement == "pfeiffer" else 0.0
