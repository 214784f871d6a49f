"""Heads for tokens: the backbone's weights are under each, and ours is like those of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.heads import load_with_head
from nlp_transfer.models.tagger import Tagger, TaggerConfig
from tests.families import batch, tiny
from tests.matrix import tokenizer

HEAD = {"num_labels": 3, "id2label": {0: "O", 1: "B-X", 2: "I-X"}, "label2id": {"O": 0, "B-X": 1, "I-X": 2}}
DECODERS = ("gpt2", "gpt_neo", "opt", "bloom", "llama", "mistral", "qwen2", "qwen3", "gemma", "phi")


@pytest.mark.parametrize("family", DECODERS)
def test_a_language_models_weights_are_under_the_head(family: str, tmp_path: Path) -> None:
    published = tiny(family, AutoModelForCausalLM)
    published.save_pretrained(tmp_path / "published")
    tokenizer().save_pretrained(tmp_path / "published")
    backbone = Backbone.find(ModelSettings(str(tmp_path / "published")))
    loaded = load_with_head(backbone, AutoModelForTokenClassification, HEAD, "own", 0.0)
    assert isinstance(loaded.model, Tagger) == (family == "opt")
    assert {name.partition(".")[0] for name in loaded.head} <= {"classifier", "score"}
    expected = published.base_model(**batch()).last_hidden_state
    torch.testing.assert_close(loaded.model.base_model(**batch()).last_hidden_state, expected)

    model = loaded.model.eval()
    model.save_pretrained(tmp_path / "saved")
    tokenizer().save_pretrained(tmp_path / "saved")
    logits = model(**batch()).logits
    again = AutoModelForTokenClassification.from_pretrained(tmp_path / "saved")
    assert type(again) is type(model)
    assert again.config.id2label == HEAD["id2label"]
    torch.testing.assert_close(again.eval()(**batch()).logits, logits)
    # a run may be the backbone of the next, of other labels too
    other = Backbone.find(ModelSettings(str(tmp_path / "saved")))
    onward = load_with_head(other, AutoModelForTokenClassification, HEAD, "own", 0.0)
    torch.testing.assert_close(onward.model.eval()(**batch()).logits, logits)
    assert set(onward.head) == set(loaded.head)


def test_its_loss_is_that_of_other_heads() -> None:
    other = tiny("bert", AutoModelForTokenClassification, **HEAD)
    ours = Tagger(TaggerConfig(backbone_config=other.config, **HEAD), other.base_model).eval()
    ours.classifier.load_state_dict(other.classifier.state_dict())
    labels = batch()["input_ids"] % 3
    labels[0, :4] = -100
    for name in ("loss", "logits"):
        torch.testing.assert_close(ours(**batch(), labels=labels)[name], other(**batch(), labels=labels)[name])
