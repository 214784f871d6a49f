"""BitFit: the biases learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from nlp_transfer.errors import RequestError
from nlp_transfer.methods import Method, freeze_all_but


@dataclass(frozen=True)
class BitFit(Method):
    """Every bias of the backbone learns, those of its norms included, and no matrix does (Ben Zaken 2022)."""

    default_learning_rate: ClassVar[float] = 5e-3

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Freeze everything but the biases and the head.

        Raises:
            RequestError: for a backbone without biases.
        """
        biases = {name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"} - set(head)
        if not biases:
            raise RequestError(
                f"{type(model).__name__} has no biases, so bitfit would train its head alone: use layernorm or ia3, or head."
            )
        return freeze_all_but(model, [*biases, *head])

    def merge(self, model: nn.Module) -> nn.Module:
        """The model itself: nothing was put into it."""
        return model
