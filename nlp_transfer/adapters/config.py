"""The settings of bottleneck adapters, checked as far as that is possible before a model is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from peft import PeftConfig
from transformers.activations import ACT2FN

from nlp_transfer.aliases import published_name
from nlp_transfer.errors import RequestError, did_you_mean

Placement = Literal["houlsby", "pfeiffer", "parallel"]


class BottleneckType(str):
    """The name under which PEFT knows the tuner: it behaves as a member of `peft.PeftType`, which cannot be extended."""

    @property
    def value(self) -> str:
        """The plain name."""
        return str.__str__(self)

    def __str__(self) -> str:
        return f"PeftType.{self.value}"


BOTTLENECK = BottleneckType("BOTTLENECK")

ACTIVATIONS: dict[Placement, str] = {"houlsby": "swish", "pfeiffer": "relu", "parallel": "relu"}
"""The activation of each placement where none is asked for."""

SCALES: dict[Placement, float] = {"houlsby": 1.0, "pfeiffer": 1.0, "parallel": 4.0}
"""The scale of each placement where none is asked for."""

REDUCTION_FACTOR = 16.0


@dataclass
class BottleneckConfig(PeftConfig):
    """Settings of bottleneck adapters for `peft.get_peft_model`.

    Example:
        ```python
        config = BottleneckConfig(placement="pfeiffer", reduction_factor=16, task_type="SEQ_CLS")
        model = peft.get_peft_model(model, config)
        ```

    Raises:
        RequestError: (a ValueError) for settings that no model could have. What depends on the model is checked there.
    """

    placement: Placement = field(
        default="pfeiffer",
        metadata={
            "help": "Where adapters stand: `houlsby` after attention and after the feed-forward (Houlsby 2019), `pfeiffer` "
            "after the feed-forward (Pfeiffer 2021), `parallel` beside the feed-forward (He 2022)."
        },
    )
    reduction_factor: float | None = field(
        default=None,
        metadata={
            "help": "Width of the model divided by that of the bottleneck; 16 where bottleneck_size is not given."
        },
    )
    bottleneck_size: int | None = field(
        default=None, metadata={"help": "Width of the bottleneck, in place of reduction_factor."}
    )
    activation: str | None = field(
        default=None,
        metadata={"help": "Name in transformers' ACT2FN; where none is given, swish for houlsby, else relu."},
    )
    scale: float | Literal["learned"] | None = field(
        default=None,
        metadata={"help": "Factor of an adapter's output, or `learned`; where none is given, 4 for parallel, else 1."},
    )
    dropout: float = field(
        default=0.0, metadata={"help": "Probability of dropout between activation and up projection."}
    )
    layers: list[int] | None = field(
        default=None,
        metadata={
            "help": "Numbers of the blocks with adapters, counted from 0 at the bottom; all where none are given. Without "
            "the lowest ones no backward pass runs there (AdapterDrop, Rücklé 2021)."
        },
    )
    modules_to_save: list[str] | None = field(
        default=None,
        metadata={"help": "Names of modules that learn in full and are saved beside the adapters: the head."},
    )
    backbone: str | None = field(
        default=None,
        metadata={
            "help": "What the saved configuration calls the base model, a Hub id say; where none is given, what it was loaded "
            "from, and the Hub id in place of an installed package's folder."
        },
    )

    target_modules: ClassVar[None] = None  # the placement says where adapters go; PEFT asks every configuration

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = BOTTLENECK
        if self.placement not in get_args(Placement):
            raise RequestError(
                f'unknown placement "{self.placement}". {did_you_mean(str(self.placement), get_args(Placement))}'
            )
        if self.activation is None:
            self.activation = ACTIVATIONS[self.placement]
        if self.activation not in ACT2FN:
            raise RequestError(f'unknown activation "{self.activation}". {did_you_mean(str(self.activation), ACT2FN)}')
        if self.scale is None:
            self.scale = SCALES[self.placement]
        self._check_size()
        _check_scale(self.scale)
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise RequestError(f"dropout is a probability: expected 0 <= dropout < 1, not {self.dropout}.")
        if self.layers is not None:
            self.layers = _checked_layers(self.layers)

    def _check_size(self) -> None:
        if self.bottleneck_size is not None and self.reduction_factor is not None:
            raise RequestError(
                f"bottleneck_size {self.bottleneck_size} and reduction_factor {self.reduction_factor} both say how wide the "
                "bottleneck is: give one of them."
            )
        if self.bottleneck_size is None:
            self.reduction_factor = REDUCTION_FACTOR if self.reduction_factor is None else self.reduction_factor
            if not _is_number(self.reduction_factor) or not self.reduction_factor >= 1:
                raise RequestError(
                    f"reduction_factor divides the width of the model: expected 1 or more, not {self.reduction_factor}."
                )
        elif not _is_whole(self.bottleneck_size) or self.bottleneck_size < 1:
            raise RequestError(
                f"bottleneck_size is a width: expected a whole number from 1, not {self.bottleneck_size}."
            )

    def width(self, hidden: int) -> int:
        """The width of the bottleneck in a model of width `hidden`.

        Raises:
            RequestError: if the reduction factor leaves nothing.
        """
        if self.bottleneck_size is not None:
            return self.bottleneck_size
        assert self.reduction_factor is not None
        if self.reduction_factor > hidden:
            raise RequestError(
                f"reduction_factor {self.reduction_factor:g} leaves no bottleneck in a model of width {hidden}: expected at "
                f"most {hidden}, or a bottleneck_size."
            )
        return int(hidden // self.reduction_factor)

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved: the base model under the name by which others find it."""
        values = super().to_dict()
        loaded_from = values["base_model_name_or_path"]
        values["base_model_name_or_path"] = values.pop("backbone") or (loaded_from and published_name(loaded_from))
        return values


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _is_number(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool)


def _check_scale(scale: object) -> None:
    if scale != "learned" and not (isinstance(scale, int | float) and _is_number(scale) and math.isfinite(scale)):
        raise RequestError(f'scale is a number or "learned", not {scale!r}.')


def _checked_layers(layers: Sequence[int]) -> list[int]:
    """The numbers of blocks, in order.

    Raises:
        RequestError: for none at all, or what is no number of a block.
    """
    if isinstance(layers, str) or not layers or not all(_is_whole(number) for number in layers):
        raise RequestError(f"layers are numbers of blocks, [6, 7, 8] say, not {layers!r}; leave them out for all.")
    if negative := [number for number in layers if number < 0]:
        raise RequestError(
            f"layers are counted from 0 at the bottom: expected no negative numbers such as {negative[0]}."
        )
    return sorted(set(layers))
