"""Prefix tuning: keys and values that every block reads before those of the text."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from peft import PrefixTuningConfig
from torch import nn

from nlp_transfer.architectures import body
from nlp_transfer.errors import RequestError
from nlp_transfer.methods import Method, refuse
from nlp_transfer.training.settings import TrainSettings
from nlp_transfer.tuners import prompted

STD = 0.02
"""Deviation of the first keys and values: small, so that training begins near the backbone, and not all the same."""


@dataclass(frozen=True)
class Prefix(Method):
    """Keys and values of a few tokens that do not exist learn, in every block (Li and Liang 2021; P-Tuning v2, Liu 2022)."""

    default_learning_rate: ClassVar[float] = 3e-2

    length: int = 20
    """How many tokens are put before the text."""
    projection: int | None = None
    """Width of a network that makes keys and values out of vectors while training; unset: they learn by themselves."""

    def __post_init__(self) -> None:
        refuse(self.length < 1, f"method.length is {self.length}: expected 1 or more.")
        refuse(
            self.projection is not None and self.projection < 1,
            f"method.projection is {self.projection}: expected 1 or more.",
        )

    @property
    def virtual_tokens(self) -> int:
        """Its length."""
        return self.length

    @property
    def multiplies_alone(self) -> bool:
        """Always."""
        return True

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Put the keys and values in.

        Raises:
            RequestError: for a backbone that cannot be given keys and values.
        """
        backbone = body(model)
        if "past_key_values" not in inspect.signature(backbone.forward).parameters:
            raise RequestError(
                f"{backbone.config.model_type} takes no keys and values from outside (past_key_values), so there is no place for "
                "a prefix: use prompt, lora or adapter."
            )
        config = PrefixTuningConfig(
            num_virtual_tokens=self.length,
            prefix_projection=self.projection is not None,
            encoder_hidden_size=self.projection,  # type: ignore[arg-type]  # or None: the model's width
        )
        tuned: Any = prompted(model, config, head)
        if self.projection is None:
            nn.init.normal_(tuned.prompt_encoder["default"].embedding.weight, std=STD)
        return tuned

    def parameter_groups(self, model: nn.Module, head: Sequence[str], settings: TrainSettings) -> list[dict[str, Any]]:
        """As for every method.

        Raises:
            RequestError: with gradient checkpointing, under which blocks read no keys and values from outside.
        """
        refuse(
            settings.gradient_checkpointing,
            "train.gradient_checkpointing takes away the cache that a prefix stands in: leave it out, or use prompt or lora.",
        )
        return super().parameter_groups(model, head, settings)

    def merge(self, model: nn.Module) -> nn.Module:  # noqa: ARG002
        """Not possible: no weight of the backbone does what a prefix does.

        Raises:
            RequestError: always, with what to do instead.
        """
        raise RequestError(
            "a prefix cannot be merged: it stands beside the text, not in the weights. Use the run as it is (load_run), or "
            "train with --method lora."
        )
