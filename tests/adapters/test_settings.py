"""Wrong settings are refused with what was expected; what is left out has the published values."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import peft
import pytest

from nlp_transfer.adapters import BottleneckConfig
from nlp_transfer.adapters.config import BOTTLENECK
from tests.families import tiny

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"placement": "pfeifer"}, r'unknown placement "pfeifer"\. Did you mean "pfeiffer"\? There is: houlsby'),
    ({"placement": None}, 'unknown placement "None"'),
    ({"activation": "rellu"}, r'unknown activation "rellu"\. Did you mean "relu"'),
    ({"bottleneck_size": 8, "reduction_factor": 4}, "bottleneck_size 8 and reduction_factor 4 both say"),
    ({"bottleneck_size": 0}, "expected a whole number from 1, not 0"),
    ({"bottleneck_size": 2.5}, r"expected a whole number from 1, not 2\.5"),
    ({"reduction_factor": 0.5}, r"expected 1 or more, not 0\.5"),
    ({"reduction_factor": float("nan")}, "expected 1 or more, not nan"),
    ({"reduction_factor": "16"}, "expected 1 or more, not 16"),
    ({"dropout": 1.0}, r"expected 0 <= dropout < 1, not 1\.0"),
    ({"dropout": -0.1}, "expected 0 <= dropout < 1"),
    ({"scale": "learnt"}, "scale is a number or \"learned\", not 'learnt'"),
    ({"scale": True}, "scale is a number"),
    ({"scale": float("nan")}, "scale is a number"),
    ({"layers": []}, "layers are numbers of blocks"),
    ({"layers": [-1]}, "counted from 0 at the bottom: expected no negative numbers such as -1"),
    ({"layers": ["0"]}, "layers are numbers of blocks"),
    ({"layers": "01"}, "layers are numbers of blocks"),
    ({"task_type": "SENTIMENT"}, "Invalid task type"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_what_no_model_could_have_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BottleneckConfig(**settings)


UNFIT: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("bert", {}, {"layers": [0, 2, 5]}, "layers 2, 5: the model has 2 blocks, numbered 0 to 1"),
    ("bert", {}, {"reduction_factor": 33}, "reduction_factor 33 leaves no bottleneck in a model of width 32"),
    ("albert", {}, {"layers": [0]}, "albert runs the same block as every layer"),
    ("bloom", {"pretraining_tp": 2, "slow_but_exact": True}, {}, "computes past its output linears"),
]


@pytest.mark.parametrize(("family", "changes", "settings", "message"), UNFIT)
def test_what_this_model_cannot_have_is_refused_before_it_is_touched(
    family: str, changes: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    model = tiny(family, **changes)
    names = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        peft.get_peft_model(model, BottleneckConfig(task_type="SEQ_CLS", **settings))
    assert list(model.state_dict()) == names


def test_what_is_left_out_has_the_published_values() -> None:
    config = BottleneckConfig()
    assert (config.placement, config.reduction_factor, config.bottleneck_size) == ("pfeiffer", 16, None)
    assert (config.activation, config.scale, config.dropout, config.layers) == ("relu", 1.0, 0.0, None)
    assert BottleneckConfig(placement="houlsby").activation == "swish"
    assert BottleneckConfig(placement="parallel").scale == 4.0
    assert BottleneckConfig(bottleneck_size=7).reduction_factor is None


@pytest.mark.parametrize(
    ("settings", "width"),
    [({}, 24), ({"reduction_factor": 384}, 1), ({"reduction_factor": 1.5}, 256), ({"bottleneck_size": 400}, 400)],
)
def test_the_width_of_the_bottleneck(settings: dict[str, Any], width: int) -> None:
    assert BottleneckConfig(**settings).width(384) == width


def test_layers_are_taken_in_any_order_and_from_a_range() -> None:
    assert BottleneckConfig(layers=[5, 3, 3]).layers == [3, 5]
    assert BottleneckConfig(layers=range(2, 4)).layers == [2, 3]


def test_the_type_is_one_that_peft_understands() -> None:
    config = BottleneckConfig(peft_type="LORA")
    assert config.peft_type == BOTTLENECK == "BOTTLENECK"
    assert BOTTLENECK.value == "BOTTLENECK"
    assert str(BOTTLENECK) == "PeftType.BOTTLENECK"
    assert peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING["BOTTLENECK"] == "bottleneck_"


def test_mixing_with_other_tuners_is_refused() -> None:
    model = peft.get_peft_model(tiny("bert"), BottleneckConfig(task_type="SEQ_CLS"))
    with pytest.raises(ValueError, match="Cannot combine adapters with different peft types"):
        model.add_adapter("lora", peft.LoraConfig(task_type="SEQ_CLS"))
    with pytest.raises(ValueError, match="BOTTLENECK"):
        peft.get_peft_model(tiny("bert"), BottleneckConfig(task_type="SEQ_CLS"), mixed=True)


def test_the_page_lists_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
    theirs = {field.name for field in dataclasses.fields(peft.PeftConfig)}
    ours = {field.name for field in dataclasses.fields(BottleneckConfig)} - theirs
    assert set(re.findall(r"^\| `(\w+)` \|", text.split("## Settings")[1].split("## ")[0], re.MULTILINE)) == ours
