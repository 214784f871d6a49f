"""Norms: the scales and shifts of every norm learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from peft import LNTuningConfig
from torch import nn

from nlp_transfer.errors import RequestError
from nlp_transfer.methods import Method
from nlp_transfer.tuners import merged, outside, wrapped


@dataclass(frozen=True)
class LayerNorm(Method):
    """Scale and shift of every norm of the backbone learn: a few thousand weights (Qi 2022, Zhao 2024)."""

    default_learning_rate: ClassVar[float] = 1e-2

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Put copies of the norms in, which learn.

        Raises:
            RequestError: for a backbone without norms that have weights.
        """
        norms = [
            name
            for name, module in model.named_modules()
            if "norm" in type(module).__name__.lower() and "weight" in module._parameters
        ]
        chosen = outside(model, head, norms)
        if not chosen:
            raise RequestError(
                f"{type(model).__name__} has no norm with weights outside its head: use bitfit or lora instead."
            )
        with warnings.catch_warnings():
            # peft copies whatever it is given, and says of all but linears that it does not know them
            warnings.filterwarnings("ignore", message="Unsupported layer type")
            return wrapped(model, LNTuningConfig(target_modules=chosen), head)

    def merge(self, model: Any) -> nn.Module:
        """The plain model with the norms that learned."""
        return merged(model)
