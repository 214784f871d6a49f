"""Prompt tuning: vectors before the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from peft import PromptTuningConfig
from peft.tuners.prompt_tuning import PromptTuningInit
from torch import nn

from nlp_transfer.errors import RequestError
from nlp_transfer.methods import Method, refuse
from nlp_transfer.tuners import prompted


@dataclass(frozen=True)
class Prompt(Method):
    """A few vectors that stand before those of the text learn, and nothing in the backbone does (Lester 2021)."""

    default_learning_rate: ClassVar[float] = 3e-2
    encoder_pooling: ClassVar[str] = "mean"
    decoder_pooling: ClassVar[str] = "last"

    length: int = 20
    """How many vectors are put before the text; they begin as those of tokens drawn from the vocabulary."""

    def __post_init__(self) -> None:
        refuse(self.length < 1, f"method.length is {self.length}: expected 1 or more.")

    @property
    def virtual_tokens(self) -> int:
        """Its length."""
        return self.length

    @property
    def multiplies_alone(self) -> bool:
        """Always."""
        return True

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Put the vectors in.

        Raises:
            RequestError: for a head that would read a prompt in place of the text.
        """
        config = PromptTuningConfig(num_virtual_tokens=self.length, prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB)
        return prompted(model, config, head)

    def merge(self, model: nn.Module) -> nn.Module:  # noqa: ARG002
        """Not possible: no weight of the backbone does what a prompt does.

        Raises:
            RequestError: always, with what to do instead.
        """
        raise RequestError(
            "a prompt cannot be merged: it stands before the text, not in the weights. Use the run as it is (load_run), or "
            "train with --method lora."
        )
