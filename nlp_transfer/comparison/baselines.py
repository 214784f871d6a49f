"""Baselines: what the same rows give without fine-tuning, judged by the task as a run is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.sparse import hstack
from scipy.special import logit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoModelForSequenceClassification

from nlp_transfer.backbone import Backbone
from nlp_transfer.configurations import Pin
from nlp_transfer.data.batches import by_length
from nlp_transfer.data.checks import Split
from nlp_transfer.data.features import Features
from nlp_transfer.data.splits import load
from nlp_transfer.environment import processes
from nlp_transfer.evaluation.answers import decoded, judged_from
from nlp_transfer.models.pooled import pool
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import write_json
from nlp_transfer.tasks import Task, column

CLASSES = {
    "majority": "majority class",
    "tfidf": "TF-IDF + logistic regression",
    "frozen": "frozen features + logistic regression",
}
"""What the baselines are called where answers are labels."""

NUMBERS = {"majority": "mean", "tfidf": "TF-IDF + ridge regression", "frozen": "frozen features + ridge regression"}
"""The same where answers are numbers."""

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of regularisation, of which validation chooses one."""

BATCH = 64
"""Rows that the frozen backbone reads at once."""

LEAST = 1e-6
"""The least probability of a label: one that training lacks is not impossible."""


def names(task: Task) -> Mapping[str, str]:
    """The baselines of a task, with what they are called; none where it answers otherwise than by labels or a number per row."""
    auto_class, head = task.head()
    if auto_class is not AutoModelForSequenceClassification:
        return {}
    return NUMBERS if head.get("problem_type") == "regression" else CLASSES


def judged(name: str, recipe: Recipe, folder: Path, pin: Pin | None = None) -> dict[str, Any]:
    """Train a baseline on a recipe's rows, and judge it: its scores and seconds.

    Thresholds and the strength of regularisation are chosen on validation. The folder receives the fitted task, and what the
    test scores were made of.

    Args:
        name: of those of `names`.
        recipe: with every automatic value settled.
        folder: a new one.
        pin: the model whose code may be run.

    Raises:
        RequestError: for rows that cannot be read.
    """
    started = time.perf_counter()
    data = load(recipe.data, recipe.columns, recipe.task, recipe.seed)
    backbone = Backbone.find(recipe.model, pin)
    tokenizer = backbone.tokenizer(recipe.data.max_length)
    splits = {each: Rows(split, Features.of(split.rows, data.task, tokenizer)) for each, split in data.splits.items()}
    inputs = INPUTS[name](splits, data.task, backbone)
    training = time.perf_counter()
    task, outputs = _chosen(data.task, splits, inputs)
    seconds = time.perf_counter() - training
    scores = {}
    for each in ("validation", "test"):
        rows = splits[each]
        answers = decoded(task, outputs[each], rows.features.columns, rows.split.rows)
        arrays = judged_from(task, answers, rows.split.rows)
        scores[each] = task.metrics(arrays)
    (folder / "predictions").mkdir(parents=True)
    save_file(
        {key: np.ascontiguousarray(array) for key, array in arrays.items()}, folder / "predictions/test.safetensors"
    )
    write_json(folder / "task.json", task.to_json())
    return {"scores": scores, "costs": {"train_seconds": seconds, "total_seconds": time.perf_counter() - started}}


@dataclass(frozen=True)
class Rows:
    """The rows of a split, and their features."""

    split: Split
    features: Features

    @cached_property
    def targets(self) -> np.ndarray:
        """What the task's loss holds answers against: (rows,) or (rows, labels)."""
        found = []
        _, first = np.unique(self.features.rows, return_index=True)
        for start in range(0, len(first), BATCH):
            (values,) = self.features.fetch(first[start : start + BATCH]).targets.values()
            found.append(values.numpy())
        return np.concatenate(found)

    def spread(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of rows as the task decodes them: of rows too where it pools their windows, else of features."""
        pooled = self.features.task.windows_pooled is not None
        return (outputs if pooled else outputs[self.features.rows]).astype(np.float32)


def _nothing(splits: Mapping[str, Rows], task: Task, backbone: Backbone) -> dict[str, Any]:  # noqa: ARG001
    """Inputs that say nothing: all that can be learned is how often there is what."""
    return dict.fromkeys(splits)


def _tfidf(splits: Mapping[str, Rows], task: Task, backbone: Backbone) -> dict[str, Any]:  # noqa: ARG001
    """Frequencies of words and pairs of words, of each of the row's texts by itself."""
    found: dict[str, list[Any]] = {name: [] for name in splits}
    for asked in task.asked_columns:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        vectorizer.fit(column(splits["train"].split.rows, asked))
        for name, rows in splits.items():
            found[name].append(vectorizer.transform(column(rows.split.rows, asked)))
    return {name: hstack(parts).tocsr() for name, parts in found.items()}


def _frozen(splits: Mapping[str, Rows], task: Task, backbone: Backbone) -> dict[str, Any]:  # noqa: ARG001
    """Vectors of the backbone as it is, each of mean 0 and deviation 1 over the training rows."""
    model = backbone.model(AutoModel, {}).model.to(processes().device)
    found = {name: vectors(model, rows.features) for name, rows in splits.items()}
    scaler = StandardScaler().fit(found["train"])
    return {name: scaler.transform(values) for name, values in found.items()}


INPUTS = {"majority": _nothing, "tfidf": _tfidf, "frozen": _frozen}


def vectors(model: Any, features: Features) -> np.ndarray:
    """The mean of a backbone's last vectors over a row's tokens (rows, width); over its windows where there are several."""
    model.eval()
    summed: np.ndarray | None = None
    counts = np.bincount(features.rows)
    for indices in by_length(features.lengths, BATCH):
        batch = features.fetch(indices).to(processes().device)
        with torch.inference_mode():
            hidden = model(**batch.inputs).last_hidden_state
            means = pool(hidden, batch.inputs["attention_mask"], "mean").float().cpu().numpy()
        if summed is None:
            summed = np.zeros((len(counts), means.shape[1]), dtype=np.float32)
        np.add.at(summed, features.rows[indices], means)
    assert summed is not None
    return summed / counts[:, None]


def _chosen(task: Task, splits: Mapping[str, Rows], inputs: Mapping[str, Any]) -> tuple[Task, dict[str, np.ndarray]]:
    """The task with its thresholds, and outputs of validation and test: of the strength that validation likes best."""
    train, validation = splits["train"], splits["validation"]
    kind = task.head()[1].get("problem_type")
    width = task.head()[1]["num_labels"]
    metric, higher = task.primary
    best: tuple[float, Any] | None = None
    for strength in STRENGTHS if inputs["train"] is not None else (1.0,):
        model = _fitted(str(kind), strength, inputs["train"], train.targets, width)
        tried = validation.spread(model(inputs["validation"], len(validation.split)))
        answers = task.decode(tried, validation.features.columns, validation.split.rows)
        score = task.score(answers, validation.split.rows)[metric]
        # a constant answer has no correlation
        rank = -np.inf if np.isnan(score) else score if higher else -score
        if best is None or rank > best[0]:
            best = rank, model
    assert best is not None
    outputs = {
        name: splits[name].spread(best[1](inputs[name], len(splits[name].split))) for name in ("validation", "test")
    }
    return task.calibrate(outputs["validation"], validation.features.columns, validation.split.rows), outputs


def _fitted(kind: str, strength: float, inputs: Any, targets: np.ndarray, width: int) -> Any:
    """A function from inputs and their number to outputs (rows, width): logits, or a standardised number."""
    if inputs is None:
        constant = _constant(kind, targets, width)
        return lambda _, rows: np.tile(constant, (rows, 1))
    if kind == "regression":
        ridge = Ridge(alpha=1 / strength).fit(inputs, targets)
        return lambda values, _: ridge.predict(values).reshape(-1, 1)
    model: Any = LogisticRegression(C=strength, max_iter=1000)
    several = kind == "multi_label_classification"
    with warnings.catch_warnings():
        # of labels that every row or none has, and of strengths that validation will not choose
        warnings.simplefilter("ignore")
        fitted = (OneVsRestClassifier(model) if several else model).fit(inputs, targets)

    def outputs(values: Any, rows: int) -> np.ndarray:
        probabilities = np.full((rows, width), LEAST)
        probabilities[:, fitted.classes_] = np.clip(fitted.predict_proba(values), LEAST, 1 - LEAST)
        return logit(probabilities) if several else np.log(probabilities)

    return outputs


def _constant(kind: str, targets: np.ndarray, width: int) -> np.ndarray:
    """The same outputs for every row: the mean, or how often each label is."""
    if kind == "regression":
        return np.array([targets.mean()])
    if kind == "multi_label_classification":
        return logit(np.clip(targets.mean(0), LEAST, 1 - LEAST))
    shares = np.bincount(targets.astype(int), minlength=width) / len(targets)
    return np.log(np.clip(shares, LEAST, None))
