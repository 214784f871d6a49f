"""Baselines held against scikit-learn alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import AutoModel, AutoTokenizer

from nlp_transfer import Recipe, samples, tasks
from nlp_transfer.comparison import baselines
from nlp_transfer.data.files import read


def recipe(task: str, model: Path, sample: str | None = None) -> Recipe:
    made = Recipe.make(task=task, data=str(samples.path(sample or task)), model=str(model))
    return replace(made, data=replace(made.data, max_length=32))


def judged(name: str, made: Recipe, folder: Path) -> dict[str, float]:
    outcome = baselines.judged(name, made, folder / name)
    task = tasks.from_json(json.loads((folder / name / "task.json").read_text(encoding="utf-8")))
    arrays = load_file(folder / name / "predictions" / "test.safetensors")
    assert task.metrics(arrays) == pytest.approx(outcome["scores"]["test"], nan_ok=True)
    assert outcome["scores"].keys() == {"validation", "test"}
    assert outcome["costs"]["total_seconds"] >= outcome["costs"]["train_seconds"] > 0
    return outcome["scores"]["test"]


def columns(split: str, sample: str = "classification") -> dict[str, list[Any]]:
    return read(samples.path(sample) / f"{split}.csv").columns


def test_tfidf_is_that_of_scikit_learn_with_the_strength_that_validation_likes(tiny_bert: Path, tmp_path: Path) -> None:
    train, validation, test = (columns(split) for split in ("train", "validation", "test"))
    tried = []
    for strength in baselines.STRENGTHS:
        vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        peer = make_pipeline(vectors, LogisticRegression(C=strength, max_iter=1000)).fit(train["text"], train["label"])
        tried.append((peer.score(validation["text"], validation["label"]), -strength, peer))
    best = max(tried, key=lambda one: one[:2])[2]
    ours = judged("tfidf", recipe("classification", tiny_bert), tmp_path)
    assert ours["accuracy"] == pytest.approx(best.score(test["text"], test["label"]))
    assert ours["accuracy"] > 2 / 6, "twice as often as by chance"


def test_frozen_features_are_the_mean_of_the_last_vectors(tiny_bert: Path) -> None:
    from nlp_transfer.backbone import Backbone
    from nlp_transfer.data.features import Features
    from nlp_transfer.data.splits import load

    made = recipe("classification", tiny_bert)
    data = load(made.data, made.columns, made.task, 0)
    backbone = Backbone.find(made.model)
    model = backbone.model(AutoModel, {}).model
    rows = data.splits["test"].rows.select(range(5))
    ours = baselines.vectors(model, Features.of(rows, data.task, backbone.tokenizer(32)))
    plain = AutoModel.from_pretrained(tiny_bert).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    for text, vector in zip(rows["text"][:], ours, strict=True):
        with torch.inference_mode():
            states = plain(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(vector, states[0].mean(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["majority", "tfidf", "frozen"])
@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_every_task_with_labels_or_numbers_has_baselines(task: str, name: str, tiny_bert: Path, tmp_path: Path) -> None:
    scores = judged(name, recipe(task, tiny_bert), tmp_path)
    if name == "majority" and task == "classification":
        labels = columns("test")["label"]
        assert scores["accuracy"] == labels.count(labels[0]) / len(labels) == pytest.approx(1 / 6)
    if name == "majority" and task == "regression":
        targets = [
            np.array(list(columns(split, "regression").values())[-1], dtype=float) for split in ("train", "test")
        ]
        error = np.sqrt(np.mean((targets[1] - targets[0].mean()) ** 2))
        assert scores["root_mean_squared_error"] == pytest.approx(error, rel=1e-5)
    if name == "tfidf" and task == "regression":
        assert scores["pearson_correlation"] > 0.2
    if name == "tfidf" and task == "multi_label":
        assert scores["micro_f1"] > 0.4


def test_both_texts_of_a_pair_are_read(tiny_bert: Path, tmp_path: Path) -> None:
    made = recipe("classification", tiny_bert, "sentence_pairs")
    assert judged("tfidf", made, tmp_path)["accuracy"] > 0.3
    assert judged("frozen", made, tmp_path)["accuracy"] > 0.3


@pytest.mark.parametrize("name", ["majority", "tfidf", "frozen"])
@pytest.mark.parametrize(("task", "sample"), [("classification", "sentence_pairs"), ("regression", "regression")])
def test_rows_in_windows_have_baselines(task: str, sample: str, name: str, tiny_bert: Path, tmp_path: Path) -> None:
    """One answer per row, however many windows it has; what reads no windows says the same as without them."""
    whole = recipe(task, tiny_bert, sample)
    read = replace(whole.task, long_texts="windows", stride=2)
    made = replace(whole, task=read, data=replace(whole.data, max_length=12))
    scores = judged(name, made, tmp_path / "windows")
    if name != "frozen":
        assert scores == pytest.approx(judged(name, whole, tmp_path / "whole"), nan_ok=True)


def test_labels_that_a_small_size_lacks_are_no_error(tiny_bert: Path, tmp_path: Path) -> None:
    made = recipe("multi_label", tiny_bert)
    made = replace(made, data=replace(made.data, limit=12))
    assert 0 <= judged("tfidf", made, tmp_path)["micro_f1"] <= 1


def test_tasks_of_other_answers_have_none() -> None:
    assert baselines.names(tasks.find("qa")()) == {}
    assert baselines.names(tasks.find("regression")())["majority"] == "mean"
    assert baselines.names(tasks.find("sentiment")()) == baselines.CLASSES
