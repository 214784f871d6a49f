"""Frozen features: the backbone stays as it is, and only the head learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from nlp_transfer.methods import EVERY_BLOCK, Method, freeze_all_but


@dataclass(frozen=True)
class Head(Method):
    """Only the head learns, on features that the backbone computes once: the fastest method, and a floor for the others
    (Peters 2019, "To Tune or Not to Tune?")."""

    default_learning_rate: ClassVar[float] = 5e-3
    encoder_pooling: ClassVar[str] = "mean"

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Freeze everything but the head."""
        return freeze_all_but(model, head)

    def frozen_blocks(self, model: nn.Module) -> int:  # noqa: ARG002
        """All of them."""
        return EVERY_BLOCK

    def merge(self, model: nn.Module) -> nn.Module:
        """The model itself: nothing was put into it."""
        return model
