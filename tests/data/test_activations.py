"""Stored activations: training on them is training on the rows themselves."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import set_seed

from nlp_transfer import fine_tune, samples
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data import activations, vectors
from nlp_transfer.data.activations import Once, StoredFeatures, by_tokens
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.data.store import Store
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.heads import load_with_head
from nlp_transfer.methods.full import Full
from nlp_transfer.methods.head import Head
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings

SETTINGS = TrainSettings(epochs=2, batch_size=8, learning_rate=1e-2, precision="fp32")


def prepared(folder: Path, pooling: str, dropout: float = 0.0) -> tuple[torch.nn.Module, dict[str, Features]]:
    """A model whose head alone learns, and the features of 40 training and 20 validation rows."""
    data = load(DataSettings(str(samples.path("classification"))), {}, Classification(), seed=0)
    backbone = Backbone.find(ModelSettings(str(folder)))
    set_seed(1)
    loaded = load_with_head(backbone, *data.task.head(), pooling, dropout)
    counts = {"train": 40, "validation": 20}
    features = {
        name: Features.of(data.splits[name].rows.select(range(rows)), data.task, backbone.tokenizer())
        for name, rows in counts.items()
    }
    return Head().apply(loaded.model, loaded.head), features


def stored(model: torch.nn.Module, features: dict[str, Features], folder: Path) -> tuple[torch.nn.Module, dict]:
    said: list[str] = []
    once = Once(nullcontext, folder)
    head, through = once.through(model, features, Head().frozen_blocks(model), said.append)
    assert "ran once over 60 rows" in said[0]
    return head, through


def losses(model: torch.nn.Module, features: Features) -> list[float]:
    plan = LengthBuckets(features.lengths, SETTINGS.batch_size, 1, seed=0)
    groups = Head().parameter_groups(model, (), SETTINGS)
    loop = Loop(model, groups, plan, features.fetch, features.task.loss, SETTINGS, accelerator("fp32"))
    return [float(step.loss) for step in loop]


@pytest.mark.parametrize("pooling", ["own", "mean", "last"])
def test_same_losses_and_same_outputs_as_without_storing(tiny: Path, pooling: str, tmp_path: Path) -> None:
    model, features = prepared(tiny, pooling)
    expected = losses(model, features["train"])
    expected_outputs = outputs_of(model, features["validation"], 8)

    model, features = prepared(tiny, pooling)
    head, through = stored(model, features, tmp_path)
    assert through["train"].vectors.values.shape[0] <= 2 * 40
    np.testing.assert_allclose(losses(head, through["train"]), expected, atol=1e-5)
    np.testing.assert_allclose(outputs_of(head, through["validation"], 8), expected_outputs, atol=1e-5)
    np.testing.assert_allclose(outputs_of(model, features["validation"], 8), expected_outputs, atol=1e-5)
    assert np.std(expected) > 1e-3


def test_large_vectors_lie_in_a_file_that_nobody_has_to_remove(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, features = prepared(tiny_bert, "mean")
    monkeypatch.setattr(vectors, "LARGE", 100)
    head, through = stored(model, features, tmp_path)
    assert isinstance(through["train"].vectors.values, np.memmap)
    assert list(tmp_path.iterdir()) == []
    mapped = losses(head, through["train"])
    monkeypatch.undo()
    model, features = prepared(tiny_bert, "mean")
    head, through = stored(model, features, tmp_path)
    assert mapped == losses(head, through["train"])


@pytest.mark.parametrize("sees", ["little room", "enough"])
def test_where_the_disk_is_too_small_the_backbone_runs_in_every_epoch(
    sees: str, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    model, features = prepared(tiny_bert, "mean")
    monkeypatch.setattr(vectors, "LARGE", 0)
    if sees == "little room":
        monkeypatch.setattr(vectors.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    else:  # others have taken it meanwhile
        monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    said: list[str] = []
    same, unchanged = Once(nullcontext, tmp_path).through(model, features, Head().frozen_blocks(model), said.append)
    assert same is model
    assert unchanged is features
    assert said[0].startswith(f"what never changes runs in every epoch: {tmp_path} has room for ")
    assert list(tmp_path.iterdir()) == []


def test_where_another_process_has_no_room_nobody_stores_anything(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, features = prepared(tiny_bert, "mean")
    here, said = activations._of_all, []
    monkeypatch.setattr(
        activations, "_of_all", lambda told: [*here(told), "the other has none"] if told is None else [told]
    )
    same, unchanged = Once(nullcontext, tmp_path).through(model, features, Head().frozen_blocks(model), said.append)
    assert same is model
    assert unchanged is features
    assert said == ["what never changes runs in every epoch: the other has none."]


def test_the_frozen_part_has_no_dropout_and_the_head_draws_its_own_anew(tiny_bert: Path, tmp_path: Path) -> None:
    model, features = prepared(tiny_bert, "mean", dropout=0.5)
    head, through = stored(model, features, tmp_path)
    again = stored(model, features, tmp_path)[1]
    assert isinstance(through["train"], StoredFeatures)
    np.testing.assert_array_equal(through["train"].vectors.values, again["train"].vectors.values)
    batch = through["train"].fetch(np.arange(8))
    head.train()
    assert not torch.equal(head(**batch.inputs).logits, head(**batch.inputs).logits)


def test_a_method_that_changes_the_backbone_stores_nothing(tiny_bert: Path, tmp_path: Path) -> None:
    model, features = prepared(tiny_bert, "own")
    full = Full().apply(model, [])
    assert Once(nullcontext, tmp_path).through(full, features, Full().frozen_blocks(full), print)[0] is full


def test_a_pooler_that_learns_runs_in_every_epoch(tiny_bert: Path, tmp_path: Path) -> None:
    model, features = prepared(tiny_bert, "own")
    model.bert.pooler.requires_grad_(True)
    said: list[str] = []
    assert Once(nullcontext, tmp_path).through(model, features, Head().frozen_blocks(model), said.append)[0] is model
    assert "a part of the backbone learns" in said[0]


def test_what_is_computed_once_for_validation_is_no_training(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As evaluations after every epoch are none, which read it."""
    computed, told = Once._computed, {}

    def slow(self: Once, part: Any, features: Features, *rest: Any) -> np.ndarray:
        seconds = 0.5 if len(told) == 0 else 3.0  # training comes first
        told[len(told)] = len(features)
        time.sleep(seconds)
        return computed(self, part, features, *rest)

    monkeypatch.setattr(Once, "_computed", slow)
    monkeypatch.setattr(Store, "of_user", lambda *_: None)
    run = fine_tune(
        model=str(tiny_bert),
        task="classification",
        method="head",
        data={"source": str(samples.path("classification")), "limit": 60},
        train={"max_steps": 2},
        output=tmp_path / "run",
        silent=True,
    )
    rows = run.report["data"]["rows"]
    assert list(told.values()) == [rows["train"], rows["validation"]]
    assert 0.5 <= run.report["time"]["train_seconds"] < 3.0
    assert run.report["time"]["total_seconds"] > 3.5


def test_batches_by_tokens_hold_every_row_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=500)
    batches = by_tokens(lengths, 128)
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(len(batch) * lengths[batch].max() <= 128 for batch in batches)
    assert len(by_tokens(np.array([500, 400]), 128)) == 2
