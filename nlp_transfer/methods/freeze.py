"""Partial freezing: the lower blocks stay as they are, the upper ones learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from nlp_transfer.architectures import architecture_of, blocks, embeddings, frozen_from_below
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.methods import Method, refuse


@dataclass(frozen=True)
class Freeze(Method):
    """Embeddings and some blocks are frozen, by default the lowest two thirds; the rest learns (Lee 2019)."""

    default_learning_rate: ClassVar[float] = 2e-4

    lowest: int | None = None
    """How many blocks are frozen, from the bottom."""
    top: int | None = None
    """How many blocks learn, from the top."""
    blocks: tuple[int, ...] | None = None
    """Which blocks are frozen, counted from 0 at the bottom."""

    def __post_init__(self) -> None:
        given = [name for name in ("lowest", "top", "blocks") if getattr(self, name) is not None]
        refuse(len(given) > 1, f"method.{listing(given)} say the same in several ways: expected one of them.")
        for name in given[:1]:
            numbers = self.blocks if name == "blocks" else (getattr(self, name),)
            refuse(
                not numbers or min(numbers) < 0, f"method.{name} is {getattr(self, name)}: expected numbers, 0 or more."
            )

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Freeze embeddings and the chosen blocks.

        Raises:
            RequestError: for an architecture whose blocks are not known or are all the same, or a block that is not there.
        """
        stack = blocks(model)
        if architecture_of(model).shared_blocks:
            raise RequestError(
                f"{architecture_of(model).model_type} runs the same block as every layer, so none can be frozen alone: use head, "
                "lora or full."
            )
        kept = set(head)
        for number in self._frozen(len(stack)):
            stack[number].requires_grad_(False)
        for module in embeddings(model):
            module.requires_grad_(False)
        for name, parameter in model.named_parameters():
            if name in kept:
                parameter.requires_grad_(True)
        return model

    def _frozen(self, count: int) -> Sequence[int]:
        """The numbers of the frozen blocks, of so many."""
        if self.blocks is not None:
            chosen: Sequence[int] = sorted(set(self.blocks))
        elif self.top is not None:
            chosen = range(count - self.top) if self.top <= count else [-1]
        else:
            chosen = range(round(count * 2 / 3) if self.lowest is None else self.lowest)
        if chosen and not 0 <= chosen[0] <= chosen[-1] < count:
            asked = next(f"{name} {value}" for name, value in vars(self).items() if value is not None)
            raise RequestError(f"method.{asked}: the model has {count} blocks, numbered 0 to {count - 1}.")
        return chosen

    def frozen_blocks(self, model: nn.Module) -> int:
        """The frozen blocks from the bottom up to the first that learns."""
        return frozen_from_below(model)

    def merge(self, model: nn.Module) -> nn.Module:
        """The model itself: nothing was put into it."""
        return model
