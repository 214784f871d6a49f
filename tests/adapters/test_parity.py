"""With the weights of the `adapters` library, ours computes what that library computed."""

from __future__ import annotations

import json
import re

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from nlp_transfer.adapters import BottleneckConfig
from nlp_transfer.adapters.layer import BottleneckLayer
from tests.conftest import shared


def groups(weights: dict[str, torch.Tensor]) -> list[dict[str, dict[str, torch.Tensor]]]:
    """The weights of each adapter of that library, from the bottom up, attention before feed-forward."""
    places = {key.split(".adapters.")[0] for key in weights}

    def order(place: str) -> tuple[int, bool]:
        number = re.search(r"\.(\d+)\.", place)
        assert number
        return int(number[1]), "attention" not in place

    return [
        {
            ours: {kind: weights[f"{place}.adapters.a.{theirs}.{kind}"] for kind in ("weight", "bias")}
            for ours, theirs in (("down", "adapter_down.0"), ("up", "adapter_up"))
        }
        for place in sorted(places, key=order)
    ]


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_logits_are_those_of_the_adapters_library(family: str, placement: str) -> None:
    folder = shared("fixtures/adapters_reference") / family
    reference = json.loads((folder / "reference.json").read_text())
    rows = {name: torch.tensor(reference[name]) for name in ("input_ids", "attention_mask")}
    config = BottleneckConfig(placement=placement, reduction_factor=4, task_type="SEQ_CLS")
    model = peft.get_peft_model(AutoModelForSequenceClassification.from_pretrained(folder), config).eval()
    with torch.no_grad():
        assert torch.allclose(
            model(**rows).logits, torch.tensor(reference["logits_without_adapter"]), atol=1e-5, rtol=0
        )
    layers = [module for module in model.modules() if isinstance(module, BottleneckLayer)]
    weights = groups(load_file(folder / f"{placement}.safetensors"))
    assert len(layers) == len(weights) == (4 if placement == "houlsby" else 2)
    for layer, group in zip(layers, weights, strict=True):
        layer.bottleneck_down["default"].load_state_dict(group["down"])
        layer.bottleneck_up["default"].load_state_dict(group["up"])
    added = sum(weight.numel() for name, weight in model.named_parameters() if ".bottleneck_" in name)
    assert added == reference[placement]["parameters"]
    with torch.no_grad():
        outputs = model(**rows, output_hidden_states=True)
    assert torch.allclose(outputs.logits, torch.tensor(reference[placement]["logits"]), atol=1e-5, rtol=0)
    assert outputs.hidden_states[-1].sum().item() == pytest.approx(
        reference[placement]["last_hidden_state_sum"], abs=1e-4
    )
