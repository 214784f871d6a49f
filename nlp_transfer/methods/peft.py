"""Any tuner of PEFT, by its type's name."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from nlp_transfer.errors import RequestError, did_you_mean, listing
from nlp_transfer.methods import Method
from nlp_transfer.tuners import linears, merged, prompted, transposed, wrapped

REFUSED: dict[str, str] = {
    "ADALORA": "it wants a call after every step, which moves its ranks: use lora",
    "ADAPTION_PROMPT": "it is made for generation: use prefix",
    "CARTRIDGE": "it is learned from a generator's answers about documents: use prefix",
    "CPT": "it is made for generation: use prompt",
    "MULTITASK_PROMPT_TUNING": "it reads the number of a task with every row: use prompt",
    "POLY": "it reads the number of a task with every row: use lora",
    "PREFIX_TUNING": "it is the method prefix",
    "PROMPT_TUNING": "it is the method prompt",
    "SHADOW": "it runs a second model beside a decoder that generates: use lora",
    "TRAINABLE_TOKENS": "it cannot keep a head beside it: use LORA with trainable_token_indices",
    "XLORA": "it mixes tuners that are trained already: use lora",
}
"""Types that need more than a model and its rows, or have a method of their own: why, and what to use instead."""


@dataclass(frozen=True)
class Peft(Method):
    """Any type of PEFT that learns from rows alone, with its own settings: LOHA, LOKR, OFT, BOFT, VERA, HRA, MISS, ROAD ..."""

    default_learning_rate: ClassVar[float] = 1e-3

    tuner: str = "LORA"
    """Its type, as PEFT calls it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the tuner's own configuration, by their names there; `target_modules` are all linears outside the head where
    it is not given."""

    def __post_init__(self) -> None:
        if wrong := [name for name in self.settings if not isinstance(name, str)]:
            raise RequestError(f"method.settings: {wrong[0]!r} is no name of a setting.")
        # as a recipe holds them
        object.__setattr__(self, "settings", {name: _plain(value) for name, value in self.settings.items()})
        self._config_class()

    @property
    def virtual_tokens(self) -> int:
        """What the settings say of them."""
        return int(self.settings.get("num_virtual_tokens") or 0)

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Put the tuner in.

        Raises:
            RequestError: for a head that it cannot stand under, or a model or settings that it refuses, in its own words.
        """
        try:
            config = self._config(model, head)
            if config.is_prompt_learning:
                return prompted(model, config, head)
            tuned = wrapped(model, config, head)
        except RequestError:
            raise
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            # what a type raises where it does not fit is different for each of them
            raise RequestError(f"PEFT refuses {self.tuner}: {' '.join(str(error).split())}") from error
        kept = set(head)
        names = [
            name for name, weight in tuned.named_parameters() if weight.requires_grad and "modules_to_save" not in name
        ]
        if not names or kept.issuperset(names):
            raise RequestError(
                f"{self.tuner} put nothing in that learns: it does not know modules such as those of {type(model).__name__}. Use "
                "lora or adapter."
            )
        return tuned

    def merge(self, model: Any) -> nn.Module:
        """The plain model with the tuner's weights in its own.

        Raises:
            RequestError: for a tuner that is not a change of weights.
        """
        if self.settings.get("layer_replication"):
            raise RequestError(
                "layer_replication has blocks that share weights: what each of them learned cannot be merged."
            )
        try:
            # a copy: some types refuse only when the head is in its place already
            return merged(copy.deepcopy(model))
        except (AttributeError, NotImplementedError, ValueError) as error:
            raise RequestError(
                f"{self.tuner} cannot be merged ({' '.join(str(error).split())}). Use the run as it is (load_run), or train "
                "with --method lora."
            ) from error

    def _config_class(self) -> type[PeftConfig]:
        name = self.tuner.upper()
        known = {kind.value: kind for kind in PeftType}
        if name in REFUSED:
            raise RequestError(f"method.tuner {self.tuner} cannot be used: {REFUSED[name]}.")
        if name not in known:
            raise RequestError(
                f"PEFT has no type {self.tuner}. {did_you_mean(name, [kind for kind in known if kind not in REFUSED])}"
            )
        found = PEFT_TYPE_TO_CONFIG_MAPPING[known[name]]
        fields = inspect.signature(found).parameters
        if unknown := [setting for setting in self.settings if setting not in fields]:
            raise RequestError(
                f"method.settings: {self.tuner} has no {listing(unknown)}. {did_you_mean(unknown[0], list(fields))}"
            )
        return found

    def _config(self, model: nn.Module, head: Sequence[str]) -> Any:
        config_class = self._config_class()
        fields = inspect.signature(config_class).parameters
        given: Mapping[str, Any] = dict(self.settings)
        if "target_modules" in fields and "token_indices" not in fields:
            given = {"target_modules": linears(model, head), **given}
        if "fan_in_fan_out" in fields:
            given = {"fan_in_fan_out": transposed(model, linears(model, head)), **given}
        if "feedforward_modules" in fields:
            given = {"feedforward_modules": [], **given}
        return config_class(**given)


def _plain(value: Any) -> Any:
    """A setting as JSON has it: lists in place of tuples and sets."""
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=str)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
