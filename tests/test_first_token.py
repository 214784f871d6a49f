"""A last block that goes on with the first token alone: the answers and the gradients of the whole one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    BertForSequenceClassification,
    set_seed,
)

from nlp_transfer import experiment, fine_tune, methods, samples
from nlp_transfer.architectures import architecture_of, blocks, part
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.evaluation import outputs
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.first_token import only_first
from nlp_transfer.methods import Method
from nlp_transfer.models.pooled import PooledClassifier, PooledConfig
from nlp_transfer.tasks.classification import Classification
from tests.families import FAMILIES, batch, tiny
from tests.matrix import FURTHER, VARIANTS, WIDER, backbones, tokenizer

READ_FIRST = {"bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "mpnet"}
"""Families with blocks that end in a norm, none of them shared, and a classifier that reads the first token."""


@contextmanager
def tokens_seen(model: nn.Module, name: str | None = None) -> Iterator[list[int]]:
    """How many tokens of each text a part of the last block gets; if not named, the end of the feed-forward."""
    seen: list[int] = []
    asked = part(blocks(model)[-1], name or architecture_of(model).feed_forward_output)
    handle = asked.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    try:
        yield seen
    finally:
        handle.remove()


def answered(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the gradient of every weight that has one."""
    model.zero_grad()
    logits = model(**batch()).logits
    (logits * torch.linspace(1, 2, logits.numel()).view_as(logits)).sum().backward()
    return logits.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def alike(model: Any) -> None:
    """Hold a model that goes on with the first token against the whole one."""
    logits, gradients = answered(model)
    query = architecture_of(model).query
    assert (query is None) == (architecture_of(model).model_type == "deberta-v2")
    with tokens_seen(model) as seen, tokens_seen(model, query) as asking:
        with only_first(model) as known:
            assert known
            narrowed, its = answered(model)
            assert answered(model)[0].shape == logits.shape
        again, _ = answered(model)
    assert seen[:2] == [1, 1]
    assert seen[-1] > 1, "and is whole again afterwards"
    assert asking == seen
    torch.testing.assert_close(narrowed, logits, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(again, logits)
    assert its.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            its[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda said, name=name: f"{name}: {said}"
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_gradients_are_those_of_the_whole_block(family: str) -> None:
    model = tiny(family)
    if family in READ_FIRST:
        alike(model)
        return
    with tokens_seen(model) as seen, only_first(model) as known:
        model(**batch())
    assert not known
    assert seen
    assert min(seen) > 1


@pytest.mark.parametrize("family", sorted(READ_FIRST))
def test_what_is_multiplied_lies_together(family: str) -> None:
    model = tiny(family)
    apart: list[str] = []

    def look(name: str) -> Any:
        return lambda _, args: None if args[0].is_contiguous() else apart.append(name)

    handles = [
        module.register_forward_pre_hook(look(name))
        for name, module in blocks(model)[-1].named_modules()
        if isinstance(module, nn.Linear)
    ]
    with torch.inference_mode(), only_first(model):
        model(**batch())
    assert handles
    assert apart == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_a_pooled_classifier_is_known_by_its_pooling(family: str, pooling: str) -> None:
    base = tiny(family, AutoModel)
    model = PooledClassifier(PooledConfig(backbone_config=base.config, pooling=pooling, num_labels=3), base).eval()
    if pooling == "cls" and family in READ_FIRST:
        alike(model)
        return
    with only_first(model) as known:
        assert not known


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForTokenClassification, AutoModelForQuestionAnswering])
def test_heads_that_read_every_token_keep_them(auto: Any) -> None:
    model = tiny("bert", auto)
    with tokens_seen(model) as seen, only_first(model) as known:
        model(**batch())
    assert not known
    assert seen == [9]


def test_a_stranger_s_head_of_the_same_name_keeps_its_tokens() -> None:
    """Such code may pool as it likes: this one takes the mean."""

    def forward(self: Any, input_ids: torch.Tensor, **_: Any) -> Any:
        return self.classifier(self.bert(input_ids).last_hidden_state.mean(1))

    stranger = type("BertForSequenceClassification", (BertForSequenceClassification,), {"forward": forward})
    stranger.__module__ = "transformers_modules.somebody"
    model = stranger(tiny("bert").config).eval()
    ids = batch()["input_ids"]
    expected = model(ids)
    with only_first(model) as known:
        torch.testing.assert_close(model(ids), expected)
    assert not known


def test_one_inside_another_changes_nothing() -> None:
    """As an evaluation inside a training has it."""
    model = tiny("bert")
    expected = model(**batch()).logits
    with only_first(model):
        with only_first(model):
            torch.testing.assert_close(model(**batch()).logits, expected)
        torch.testing.assert_close(model(**batch()).logits, expected)


def test_feed_forwards_in_chunks_keep_their_tokens() -> None:
    with only_first(tiny("bert", chunk_size_feed_forward=3)) as known:
        assert not known


def ways() -> list[tuple[str, str, dict[str, Any]]]:
    """Every method with its variants, but for `prompt`, before whose vectors no head can find the first token, and for
    `prefix` with DistilBERT, which takes no keys and values."""
    return [
        (family, name, {**WIDER.get(name, {}), **settings})
        for family in ("bert", "distilbert")
        for name in methods.names()
        if name != "prompt" and (family, name) != ("distilbert", "prefix")
        for settings in [{}, *VARIANTS.get(name, []), *FURTHER.get(name, [])]
    ]


@pytest.mark.parametrize(("family", "name", "settings"), ways(), ids=str)
def test_methods_change_nothing_of_it(family: str, name: str, settings: dict[str, Any]) -> None:
    method: Method = methods.find(name)(**settings)
    plain = tiny(family)
    head = [name for name, _ in plain.named_parameters() if name.startswith(("classifier", "pre_classifier"))]
    set_seed(3)
    model: Any = method.apply(plain, head)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.02 * torch.randn_like(weight))
    alike(model.eval())


def test_training_is_that_of_the_whole_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, whose random numbers fall otherwise; also above stored states."""

    known = []

    @contextmanager
    def told(model: nn.Module) -> Iterator[bool]:
        with only_first(model) as itself:
            known.append(itself)
            yield itself

    @contextmanager
    def whole(_: nn.Module) -> Iterator[bool]:
        yield False

    folder = backbones(tmp_path, ["bert"])["bert"]
    for name, settings in {"full": {}, "freeze": {"lowest": 1}}.items():
        losses = []
        for narrowed in (True, False):
            with monkeypatch.context() as patched:
                patched.setattr(experiment, "only_first", told if narrowed else whole)
                if not narrowed:
                    patched.setattr(outputs, "only_first", whole)
                run = fine_tune(
                    model=str(folder),
                    task="classification",
                    method={"name": name, **settings},
                    head={"pooling": "own"},
                    data={"source": str(samples.path("classification")), "limit": 40},
                    train={"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.0, "precision": "fp32"},
                    output=tmp_path / f"{name}-{narrowed}",
                    silent=True,
                )
            lines = (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
            losses.append([line["loss"] for line in map(json.loads, lines) if "loss" in line])
            assert losses[-1]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert known == [True, True], "the whole model, and what stands above stored states"


def test_predictions_read_no_more_of_the_last_block(tmp_path: Path) -> None:
    data = load(DataSettings(str(samples.path("classification"))), {}, Classification(), seed=0)
    features = Features.of(data.splits["test"].rows, data.task, tokenizer())
    model = tiny("bert", **data.task.head()[1])
    with tokens_seen(model) as seen:
        found = outputs_of(model, features, 8)
    assert set(seen) == {1}
    with torch.no_grad():
        expected = [model(**features.fetch(np.array([i])).inputs).logits[0].numpy() for i in range(len(features))]
    np.testing.assert_allclose(found, expected, atol=1e-5)
