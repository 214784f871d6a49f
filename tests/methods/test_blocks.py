"""LoRA and adapters in some blocks only, beside blocks that learn whole, and LoRA+ rates."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nlp_transfer import RequestError
from nlp_transfer.methods import Method
from nlp_transfer.methods.adapter import Adapter
from nlp_transfer.methods.lora import LoRA
from nlp_transfer.training.settings import TrainSettings
from tests.families import batch, tiny

HEAD = ["classifier.weight", "classifier.bias"]


def kinds(model: Any, count: int) -> list[str]:
    """For each block whether nothing, a tuner or all of it learns."""
    found = []
    for number in range(count):
        learning = [
            name for name, weight in model.named_parameters() if f"layer.{number}." in name and weight.requires_grad
        ]
        tuners = [name for name in learning if "lora_" in name or "bottleneck_" in name]
        whole = [name for name in learning if "modules_to_save" in name]
        assert not (tuners and whole)
        found.append("tuner" if tuners else "whole" if whole else "frozen")
    return found


@pytest.mark.parametrize("cls", [LoRA, Adapter])
@pytest.mark.parametrize(
    ("settings", "expected", "frozen"),
    [
        ({"layers": (2, 3)}, ["frozen", "frozen", "tuner", "tuner"], 2),
        ({"top": 1}, ["tuner", "tuner", "tuner", "whole"], 0),
        ({"layers": (2,), "top": 1}, ["frozen", "frozen", "tuner", "whole"], 2),
    ],
)
def test_which_blocks_learn(cls: type[Method], settings: dict, expected: list[str], frozen: int) -> None:
    method = cls(**settings)
    plain = tiny("bert", num_hidden_layers=4)
    with torch.no_grad():
        before = plain(**batch()).logits
    model: Any = method.apply(plain, HEAD)
    assert kinds(model, 4) == expected
    assert method.frozen_blocks(model) == frozen
    model(**batch()).logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(**batch()).logits, before)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LoRA(layers=(4,)), r"method.layers 4: the model has 2 blocks, numbered 0 to 1"),
        (LoRA(top=2), r"method.top is 2: the model has 2 blocks, and a tuner must stand in one at least"),
        (Adapter(layers=(1,), top=1), r"method.layers 1: these blocks learn whole, as method.top is 1"),
    ],
)
def test_blocks_that_are_not_there_or_asked_for_twice_are_refused(method: Method, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        method.apply(tiny("bert"), HEAD)


@pytest.mark.parametrize("cls", [LoRA, Adapter])
def test_shared_blocks_cannot_differ(cls: type[Method]) -> None:
    with pytest.raises(
        RequestError, match=r"albert runs the same block as every layer, so a tuner cannot stand in some"
    ):
        cls(top=1).apply(tiny("albert"), HEAD)


@pytest.mark.parametrize("cls", [LoRA, Adapter])
def test_numbers_that_no_model_has_are_refused(cls: type[Method]) -> None:
    with pytest.raises(RequestError, match=r"method.layers is \(\)"):
        cls(layers=())
    with pytest.raises(RequestError, match=r"method.top is -1"):
        cls(top=-1)


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("bert", {}, [f"layer.{i}.{half}output.LayerNorm" for i in (0, 1) for half in ("attention.", "")]),
        ("bert", {"layers": (1,)}, ["layer.1.attention.output.LayerNorm", "layer.1.output.LayerNorm"]),
        ("bert", {"top": 1}, ["layer.0.attention.output.LayerNorm", "layer.0.output.LayerNorm"]),
        ("gpt2", {"layers": (1,)}, ["h.1.ln_1", "h.1.ln_2"]),
        ("phi", {"layers": (0,)}, ["layers.0.input_layernorm"]),
    ],
)
def test_norms_learn_where_adapters_stand(family: str, settings: dict[str, Any], expected: list[str]) -> None:
    head = HEAD if family == "bert" else ["score.weight"]
    model = Adapter(placement="houlsby", norms=True, **settings).apply(tiny(family), head)
    copies = {
        name.partition(".modules_to_save.")[0] for name, weight in model.named_parameters() if weight.requires_grad
    }
    norms = [name for name in copies if name.endswith(("Norm", "norm", "ln_1", "ln_2"))]
    assert len(norms) == len(expected)
    assert all(any(name.endswith(f".{norm}") for name in norms) for norm in expected)


@pytest.mark.parametrize("placement", ["pfeiffer", "parallel"])
def test_norms_learn_beside_houlsby_alone(placement: Any) -> None:
    with pytest.raises(RequestError, match=rf"method\.norms is for method\.placement houlsby: {placement} adapters"):
        Adapter(placement=placement, norms=True)


def test_the_rate_of_b_is_a_multiple_of_that_of_a() -> None:
    method = LoRA(plus=16.0)
    model = method.apply(tiny("bert"), HEAD)
    groups = method.parameter_groups(model, HEAD, TrainSettings(learning_rate=1e-3))
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    learning = {name: rates[id(weight)] for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(rates) == len(learning)
    assert {rate for name, rate in learning.items() if ".lora_B." in name} == {16e-3}
    assert {rate for name, rate in learning.items() if ".lora_B." not in name} == {1e-3}
    with pytest.raises(RequestError, match=r"method.plus is 0"):
        LoRA(plus=0)


def test_a_merged_model_has_its_whole_blocks() -> None:
    torch.manual_seed(0)
    method = LoRA(top=1)
    model: Any = method.apply(tiny("bert"), HEAD)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.02 * torch.randn_like(weight))
        expected = model.eval()(**batch()).logits
        merged = method.merge(model)
        torch.testing.assert_close(merged(**batch()).logits, expected, atol=1e-5, rtol=0)
    assert not any("modules_to_save" in name or "lora" in name for name, _ in merged.named_parameters())


@pytest.mark.parametrize(
    ("settings", "activation", "width", "dropout"),
    [
        ({}, "swish", 4, 0.1),
        ({"placement": "houlsby"}, "swish", 2, 0.0),
        ({"placement": "parallel"}, "relu", 2, 0.0),
        ({"activation": "gelu"}, "gelu", 4, 0.1),
        ({"reduction_factor": 16}, "swish", 2, 0.1),
        ({"bottleneck_size": 5}, "swish", 5, 0.1),
        ({"dropout": 0.0}, "swish", 4, 0.0),
        ({"placement": "houlsby", "dropout": 0.2}, "swish", 2, 0.2),
    ],
)
def test_what_an_adapter_has_where_nothing_is_said(settings: dict, activation: str, width: int, dropout: float) -> None:
    model = Adapter(**settings).apply(tiny("bert"), HEAD)
    assert model.peft_config["default"].activation == activation
    assert model.peft_config["default"].dropout == dropout
    assert {weight.shape[0] for name, weight in model.named_parameters() if "down.default.weight" in name} == {width}


@pytest.mark.parametrize(
    ("settings", "of_the_model", "expected"),
    [
        ({}, None, 0.1),
        ({}, 0.0, 0.0),
        ({}, 0.3, 0.3),
        ({"placement": "houlsby"}, None, 0.0),
        ({"placement": "houlsby"}, 0.3, 0.3),
        ({"dropout": 0.2}, 0.0, 0.2),
    ],
)
def test_an_adapter_that_says_no_dropout_has_that_of_the_model(
    settings: dict, of_the_model: float | None, expected: float
) -> None:
    method = Adapter(**settings).settled(TrainSettings(dropout=of_the_model))
    assert method.dropout == expected
    assert method.apply(tiny("bert"), HEAD).peft_config["default"].dropout == expected
