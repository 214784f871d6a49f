"""IA3: keys, values and the inner states of the feed-forward are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from peft import IA3Config
from torch import nn

from nlp_transfer.architectures import architecture_of
from nlp_transfer.methods import Method
from nlp_transfer.tuners import block_names, merged, transposed, wrapped


@dataclass(frozen=True)
class IA3(Method):
    """A factor per feature of keys, values and the feed-forward's inner states learns (Liu 2022).

    Where one linear computes queries, keys and values together (GPT-2, Bloom, ModernBERT), all three are scaled, as PEFT does.
    """

    default_learning_rate: ClassVar[float] = 1e-2

    @property
    def multiplies_alone(self) -> bool:
        """Always."""
        return True

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Put the factors in.

        Raises:
            RequestError: for an architecture whose parts are not known.
        """
        architecture, stack = architecture_of(model), block_names(model)
        feed_forward = [f"{block}.{architecture.feed_forward_output}" for block in stack]
        attention = [f"{block}.{name}" for block in stack for name in architecture.keys_values]
        config = IA3Config(
            target_modules=attention + feed_forward,
            feedforward_modules=feed_forward,
            fan_in_fan_out=transposed(model, attention),
        )
        return wrapped(model, config, head)

    def merge(self, model: Any) -> nn.Module:
        """The plain model with the factors multiplied into its linears."""
        return merged(model)
