"""LoRA: a low-rank update beside each linear, and its kin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from nlp_transfer.errors import RequestError, listing
from nlp_transfer.methods import Method, refuse
from nlp_transfer.tuners import linears, merged, refuse_gaps, suffixes, transposed, wrapped

ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class LoRA(Method):
    """A linear W becomes W + s B A with small A and B that learn (Hu 2021); merged after training, it costs nothing."""

    default_learning_rate: ClassVar[float] = 1e-3

    rank: int = 8
    """Rows of A and columns of B: more learns more and weighs more."""
    alpha: float = 16.0
    """The update is scaled by alpha / rank, with `rslora` by alpha / sqrt(rank)."""
    dropout: float = 0.0
    """Dropout on what A reads."""
    targets: tuple[str, ...] = (ALL_LINEAR,)
    """Linears with an update: `all-linear` (all outside the head), last parts of their names (query,value), or one regular
    expression over whole names."""
    variant: Literal["lora", "rslora", "dora", "pissa"] = "lora"
    """`rslora`: scaled by the root of the rank (Kalajdzievski 2023); `dora`: magnitude learns apart from direction (Liu
    2024); `pissa`: begins with the largest singular values of W instead of zero (Meng 2024)."""

    def __post_init__(self) -> None:
        refuse(self.rank < 1, f"method.rank is {self.rank}: expected 1 or more.")
        refuse(not 0 < self.alpha < float("inf"), f"method.alpha is {self.alpha}: expected a number above 0.")
        refuse(not 0 <= self.dropout < 1, f"method.dropout is {self.dropout}: expected 0 or more and below 1.")
        refuse(not self.targets, f"method.targets is empty: expected {ALL_LINEAR}, or names of linears.")

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Put the updates in.

        Raises:
            RequestError: for targets that match nothing, or only some blocks; it lists what there is.
        """
        available = linears(model, head)
        chosen = [name for name in available if self._chosen(name)]
        asked = ",".join(self.targets)
        if not chosen:
            raise RequestError(
                f"method.targets {asked} matches no linear. There is: {listing(suffixes(available), 20)}; or {ALL_LINEAR}."
            )
        for target in self.targets if len(self.targets) > 1 else ():
            if not any(name == target or name.endswith(f".{target}") for name in available):
                raise RequestError(
                    f"method.targets {target} matches no linear. There is: {listing(suffixes(available), 20)}."
                )
        refuse_gaps(model, chosen, asked, available)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # an int there, and used as a number
            lora_dropout=self.dropout,
            target_modules=chosen,
            fan_in_fan_out=transposed(model, chosen),
            use_rslora=self.variant == "rslora",
            use_dora=self.variant == "dora",
            init_lora_weights="pissa" if self.variant == "pissa" else True,
        )
        tuned = wrapped(model, config, head)
        found = [name for name, module in tuned.named_modules() if isinstance(module, LoraLayer)]
        assert len(found) == len(chosen), "PEFT put updates elsewhere"
        return tuned

    def _chosen(self, name: str) -> bool:
        if self.targets == (ALL_LINEAR,):
            return True
        if len(self.targets) == 1 and re.search(r"[^\w.]", self.targets[0]):
            try:
                return re.fullmatch(self.targets[0], name) is not None
            except re.error as error:
                raise RequestError(f"method.targets {self.targets[0]} is no regular expression: {error}.") from error
        return any(name == target or name.endswith(f".{target}") for target in self.targets)

    def merge(self, model: Any) -> nn.Module:
        """The plain model with W + s B A in place of W."""
        return merged(model)
