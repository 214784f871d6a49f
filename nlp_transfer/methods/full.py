"""Full fine-tuning: every weight learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from nlp_transfer.methods import Method


@dataclass(frozen=True)
class Full(Method):
    """Every weight learns: the strongest method where there is data and memory for it (Howard and Ruder 2018, Devlin 2019)."""

    default_learning_rate: ClassVar[float] = 1e-4
    from_scratch: ClassVar[bool] = True

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:  # noqa: ARG002
        """Let every weight learn."""
        return model.requires_grad_(True)

    def merge(self, model: nn.Module) -> nn.Module:
        """The model itself: nothing was put into it."""
        return model
