"""The head that pools: its loss is that of transformers for every kind of problem."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification
from transformers.modeling_outputs import BaseModelOutputWithPooling

from nlp_transfer.models.pooled import PooledClassifier, PooledConfig
from tests.families import batch, tiny

LABELS = {
    "single_label_classification": (3, lambda rows: torch.arange(rows) % 3),
    "multi_label_classification": (3, lambda rows: torch.eye(3)[torch.arange(rows) % 3]),
    "regression": (1, lambda rows: torch.linspace(-1, 2, rows)),
    "regression of a column": (1, lambda rows: torch.linspace(-1, 2, rows)[:, None]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_its_loss_is_that_of_other_heads(kind: str) -> None:
    outputs, make = LABELS[kind]
    settings = {"num_labels": outputs, "problem_type": kind.partition(" ")[0]}
    other = tiny("bert", AutoModelForSequenceClassification, **settings)
    assert isinstance(other, BertForSequenceClassification)
    ours = PooledClassifier(PooledConfig(backbone_config=other.config, **settings), other.base_model).eval()
    labels = make(len(batch()["input_ids"]))
    found = ours(**batch(), labels=labels)
    other.classifier = torch.nn.Identity()
    same = BaseModelOutputWithPooling(found.logits, found.logits)
    other.bert.forward = lambda *_, **__: same  # the same answers to both
    torch.testing.assert_close(found.loss, other(**batch(), labels=labels).loss)
