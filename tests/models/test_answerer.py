"""Heads for questions: the backbone's weights are under every one of them, and what transformers lacks is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForQuestionAnswering

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.heads import load_with_head
from nlp_transfer.models.answerer import Answerer
from tests.families import FAMILIES, batch, tiny
from tests.matrix import tokenizer
from tests.processes import FRESH

DECODERS = ("gpt2", "gpt_neo", "opt", "bloom", "llama", "mistral", "qwen2", "qwen3", "gemma", "phi")
HEADLESS = {"gemma", "phi"}


@pytest.mark.parametrize("family", DECODERS)
def test_a_language_models_weights_are_under_the_head(family: str, tmp_path: Path) -> None:
    published = tiny(family, AutoModelForCausalLM)
    published.save_pretrained(tmp_path / "published")
    tokenizer().save_pretrained(tmp_path / "published")
    backbone = Backbone.find(ModelSettings(str(tmp_path / "published")))
    loaded = load_with_head(backbone, AutoModelForQuestionAnswering, {"num_labels": 2}, "own", 0.0)
    assert isinstance(loaded.model, Answerer) == (family in HEADLESS)
    assert set(loaded.head) == {"qa_outputs.weight", "qa_outputs.bias"}
    expected = published.base_model(**batch()).last_hidden_state
    torch.testing.assert_close(loaded.model.base_model(**batch()).last_hidden_state, expected)

    model = loaded.model.eval()
    model.save_pretrained(tmp_path / "saved")
    tokenizer().save_pretrained(tmp_path / "saved")
    logits = model(**batch()).start_logits
    again = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "saved")
    assert type(again) is type(model)
    torch.testing.assert_close(again.eval()(**batch()).start_logits, logits)
    # a run may be the backbone of the next
    onward = load_with_head(
        Backbone.find(ModelSettings(str(tmp_path / "saved"))),
        AutoModelForQuestionAnswering,
        {"num_labels": 2},
        "own",
        0.0,
    )
    torch.testing.assert_close(onward.model.eval()(**batch()).start_logits, logits)
    assert set(onward.head) == set(loaded.head)


def test_every_family_is_known_here() -> None:
    assert set(DECODERS) < set(FAMILIES)


def test_its_loss_is_that_of_other_heads() -> None:
    from transformers import BertForQuestionAnswering

    other = tiny("bert", AutoModelForQuestionAnswering)
    assert isinstance(other, BertForQuestionAnswering)
    from nlp_transfer.models.answerer import AnswererConfig

    ours = Answerer(AnswererConfig(backbone_config=other.config), other.bert).eval()
    ours.qa_outputs.load_state_dict(other.qa_outputs.state_dict())
    right = {"start_positions": torch.tensor([1, 2, 3, 1]), "end_positions": torch.tensor([2, 4, 5, 2])}
    for name in ("loss", "start_logits", "end_logits"):
        torch.testing.assert_close(ours(**batch(), **right)[name], other(**batch(), **right)[name])


def test_plain_transformers_refuses_it_and_ours_loads_it(tmp_path: Path) -> None:
    tiny("phi", AutoModelForCausalLM).save_pretrained(tmp_path / "published")
    tokenizer().save_pretrained(tmp_path / "published")
    backbone = Backbone.find(ModelSettings(str(tmp_path / "published")))
    load_with_head(backbone, AutoModelForQuestionAnswering, {"num_labels": 2}, "own").model.save_pretrained(
        tmp_path / "run"
    )
    code = """
from transformers import AutoModelForQuestionAnswering as Auto
try:
    Auto.from_pretrained("run")
except ValueError as error:
    print("nlp_transfer_answerer" in str(error))
import nlp_transfer
print(type(Auto.from_pretrained("run")).__name__)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH + code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.split() == ["True", "Answerer"], done.stderr
