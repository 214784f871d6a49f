"""The head alone gives what the whole model gives, on every family and kind of head."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertForSequenceClassification,
    set_seed,
)

from nlp_transfer.models.pooled import PooledClassifier, PooledConfig
from nlp_transfer.standin import HeadAlone, Inseparable
from nlp_transfer.training.batch import Batch
from tests.families import FAMILIES

LEFT_TO_RIGHT = {"gpt2", "gpt_neo", "opt", "bloom", "llama", "mistral", "qwen2", "qwen3", "gemma", "phi"}
WITHOUT = {("token", "opt"), ("question", "gemma"), ("question", "phi")}
"""Heads that transformers does not have."""

HEADS = {
    "sequence": (AutoModelForSequenceClassification, 3),
    "token": (AutoModelForTokenClassification, 3),
    "question": (AutoModelForQuestionAnswering, 2),
}


def batch(seed: int, rows: int = 4) -> Batch:
    """Random ids of several lengths, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 10, (rows,), generator=generator)
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    ids = torch.randint(4, 64, mask.shape, generator=generator)
    return Batch({"input_ids": torch.where(mask > 0, ids, 1), "attention_mask": mask})


def frozen(model: torch.nn.Module) -> torch.nn.Module:
    model.base_model.requires_grad_(False)
    return model.eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_same_logits_and_as_few_vectors_as_the_head_reads(family: str, head: str) -> None:
    auto, outputs = HEADS[head]
    config = FAMILIES[family]()
    config.num_labels = outputs
    set_seed(0)
    if (head, family) in WITHOUT:
        with pytest.raises(ValueError, match="Unrecognized configuration class"):
            auto.from_config(config)
        return
    model = frozen(auto.from_config(config))
    alone = HeadAlone(model, batch(0))
    expected = "all" if head != "sequence" else ("last" if family in LEFT_TO_RIGHT else "cls")
    assert alone.reading == expected
    other = batch(1, rows=7)
    with torch.no_grad():
        vectors, _ = alone.vectors(other)
        found, whole = alone.model(**alone.inputs(other, vectors).inputs), model(**other.inputs)
    for name in whole:
        if "logits" in name:
            torch.testing.assert_close(found[name], whole[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_a_pooled_classifier_needs_one_vector_per_row(pooling: str) -> None:
    set_seed(0)
    config = PooledConfig(backbone_config=FAMILIES["bert"](), pooling=pooling, num_labels=3)
    config.pad_token_id = 1
    model = frozen(PooledClassifier(config))
    alone, other = HeadAlone(model, batch(0)), batch(1)
    with torch.no_grad():
        vectors, mask = alone.vectors(other)
        assert vectors.shape[1] == mask.shape[1] == 1
        found = alone.model(**alone.inputs(other, vectors).inputs).logits
        torch.testing.assert_close(found, model(**other.inputs).logits, atol=1e-5, rtol=0)


def test_the_heads_weights_are_the_models_own() -> None:
    model = frozen(BertForSequenceClassification(FAMILIES["bert"]()))
    alone = HeadAlone(model, batch(0))
    assert alone.model.classifier.weight is model.classifier.weight
    assert model.bert is model.base_model, "the model itself keeps its backbone"


def test_a_backbone_that_learns_cannot_be_left_out() -> None:
    model = BertForSequenceClassification(FAMILIES["bert"]())
    with pytest.raises(Inseparable, match="a part of the backbone learns"):
        HeadAlone(model, batch(0))


def test_a_head_that_reads_more_than_the_last_vectors_is_found_out() -> None:
    class Peeking(BertForSequenceClassification):
        def forward(self, input_ids=None, **inputs):
            outputs = super().forward(input_ids=input_ids, **inputs)
            outputs.logits = outputs.logits + self.bert.__class__.__name__.count("BertModel")
            return outputs

    with pytest.raises(Inseparable, match="reads more of the backbone"):
        HeadAlone(frozen(Peeking(FAMILIES["bert"]())), batch(0))
