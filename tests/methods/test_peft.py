"""Every type of PEFT: it learns, is saved and loaded, or is refused with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PeftType

from nlp_transfer import RequestError
from nlp_transfer.methods.peft import REFUSED, Peft
from tests.families import batch, tiny
from tests.methods.test_prompts import pooled

HEAD = ["classifier.weight", "classifier.bias"]

FITTING: dict[str, dict[str, Any]] = {
    "C3A": {"block_size": 16},
    "MISS": {"r": 4},
    "P_TUNING": {"num_virtual_tokens": 3, "encoder_hidden_size": 16},
    "ROAD": {"group_size": 16},
    "SHIRA": {"r": 2},
    "VBLORA": {"vector_length": 16, "num_vectors": 8, "topk": 2},
    "WAVEFT": {"n_frequency": 20},
}
"""Settings for a model of width 32, where PEFT's own are for large ones."""


@pytest.mark.parametrize("kind", sorted(kind.value for kind in PeftType))
def test_a_type_learns_and_comes_back_or_is_refused(kind: str, tmp_path: Path) -> None:
    if kind in REFUSED:
        with pytest.raises(RequestError, match=rf"method.tuner {kind} cannot be used: it .*"):
            Peft(tuner=kind)
        return
    prompt = kind == "P_TUNING"
    torch.manual_seed(0)
    base = pooled("bert", "mean") if prompt else tiny("bert", num_labels=3)
    model: Any = Peft(tuner=kind.lower(), settings=FITTING.get(kind, {})).apply(base, HEAD)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(learning) > 2, "more than the head"
    optimizer, losses, rows = torch.optim.AdamW(learning, lr=1e-2), [], batch()
    for _ in range(6):
        loss = torch.nn.functional.cross_entropy(model(**rows).logits, torch.tensor([0, 1, 2, 0]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    model.eval().save_pretrained(tmp_path, save_embedding_layers=False)
    with torch.no_grad():
        logits = model(**rows).logits
        torch.manual_seed(0)
        again = pooled("bert", "mean") if prompt else tiny("bert", num_labels=3)
        loaded = PeftModel.from_pretrained(again, tmp_path).eval()
        torch.testing.assert_close(loaded(**rows).logits, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuner": "lohaa"}, r"PEFT has no type lohaa. Did you mean"),
        ({"tuner": "adalora"}, r"method.tuner adalora cannot be used: it wants a call after every step"),
        ({"tuner": "loha", "settings": {"rank": 4}}, r"method.settings: loha has no rank"),
    ],
)
def test_unknown_types_and_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Peft(**settings)


def test_what_peft_refuses_is_said_in_one_sentence() -> None:
    with pytest.raises(RequestError, match=r"PEFT refuses OFT: .*Conv1D"):
        Peft(tuner="OFT").apply(tiny("gpt2"), ["score.weight"])
    with pytest.raises(RequestError, match=r"PEFT refuses LORA: "):
        Peft(tuner="LORA", settings={"target_modules": ["nowhere"]}).apply(tiny("bert"), HEAD)


def test_a_head_that_would_read_the_prompt_is_refused_in_our_words() -> None:
    with pytest.raises(RequestError, match=r"^BertForSequenceClassification finds what it reads"):
        Peft(tuner="P_TUNING", settings=FITTING["P_TUNING"]).apply(tiny("bert"), HEAD)


def test_a_tuner_that_puts_nothing_in_is_refused() -> None:
    with pytest.raises(RequestError, match=r"OSF put nothing in that learns"):
        Peft(tuner="OSF").apply(tiny("gpt2"), ["score.weight"])


def test_the_settings_are_those_of_the_tuner() -> None:
    model: Any = Peft(tuner="LOKR", settings={"r": 3, "target_modules": ["query"]}).apply(tiny("bert"), HEAD)
    assert model.peft_config["default"].r == 3
    tuned = {name.split(".lokr")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lokr" in name}
    assert tuned == {"query"}


def test_modules_that_the_settings_save_are_saved_beside_the_head() -> None:
    settings = {"target_modules": {"value", "query"}, "modules_to_save": ("pooler",)}
    method = Peft(tuner="LORA", settings=settings)
    assert method.settings == {"target_modules": ["query", "value"], "modules_to_save": ["pooler"]}
    model: Any = method.apply(tiny("bert", num_labels=3), HEAD)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad and "lora_" not in name}
    assert {re.sub(r".*\.(\w+)\.modules_to_save.*", r"\1", name) for name in learning} == {"pooler", "classifier"}
    with pytest.raises(RequestError, match="1 is no name of a setting"):
        Peft(settings={1: 2})  # type: ignore[dict-item]


def test_updates_of_blocks_that_share_weights_are_not_merged() -> None:
    method = Peft(settings={"layer_replication": [[0, 2], [1, 2]], "target_modules": ["query"]})
    with pytest.raises(RequestError, match="layer_replication has blocks that share weights"):
        method.merge(method.apply(tiny("bert", num_labels=3), HEAD))
