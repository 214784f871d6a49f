"""LoRA: a low-rank update beside each linear, and its kin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from nlp_transfer.architectures import TABLE, body, frozen_from_below
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.methods import Method, refuse, refuse_blocks
from nlp_transfer.training.loop import decay_groups
from nlp_transfer.training.settings import TrainSettings
from nlp_transfer.tuners import block_names, linears, merged, refuse_gaps, suffixes, transposed, tuned_blocks, wrapped

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

    layers: tuple[int, ...] | None = None
    """Blocks with updates, counted from 0 at the bottom; unset: all linears. Below the lowest no backward pass runs."""
    top: int = 0
    """How many blocks, from the top, learn whole, as with the method `freeze`; those below get updates."""
    plus: float = 1.0
    """Learning rate of B over that of A; the paper finds 16 good for large models (LoRA+, Hayou 2024)."""

    def __post_init__(self) -> None:
        refuse(self.rank < 1, f"method.rank is {self.rank}: expected 1 or more.")
        refuse(not 0 < self.alpha < float("inf"), f"method.alpha is {self.alpha}: expected a number above 0.")
        refuse(not 0 <= self.dropout < 1, f"method.dropout is {self.dropout}: expected 0 or more and below 1.")
        refuse_blocks(self.layers, self.top)
        refuse(not 0 < self.plus < float("inf"), f"method.plus is {self.plus}: expected a number above 0.")
        refuse(not self.targets, f"method.targets is empty: expected {ALL_LINEAR}, or names of linears.")

    @property
    def multiplies_alone(self) -> bool:
        """Unless the variant reckons with what it does not learn."""
        return self.variant in ("lora", "rslora")

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
        # each target by itself: blocks that lack one may have another
        for end in [""] if self.targets == (ALL_LINEAR,) else suffixes(chosen):
            refuse_gaps(model, [name for name in chosen if not end or name.rpartition(".")[2] == end], asked, available)
        if self.layers is not None or self.top:
            names = block_names(model)
            inside = tuple(f"{names[number]}." for number in tuned_blocks(model, self.layers, self.top))
            chosen = [name for name in chosen if name.startswith(inside)]
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
        tuned = wrapped(model, config, head, self.top)
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

    def parameter_groups(self, model: nn.Module, head: Sequence[str], settings: TrainSettings) -> list[dict[str, Any]]:
        """As for every method, with every B apart where its rate is another."""
        if self.plus == 1:
            return super().parameter_groups(model, head, settings)
        learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        raised = {name: parameter for name, parameter in learning.items() if ".lora_B." in name}
        groups = decay_groups({name: learning[name] for name in learning if name not in raised}, settings)
        faster = decay_groups(raised, settings)
        return [*groups, *({**group, "lr": group["lr"] * self.plus} for group in faster)]

    def frozen_blocks(self, model: nn.Module) -> int:
        """The blocks below the lowest update, where the architecture's are known."""
        return frozen_from_below(model) if body(model).config.model_type in TABLE else 0

    def merge(self, model: Any) -> nn.Module:
        """The plain model with W + s B A in place of W."""
        return merged(model)
