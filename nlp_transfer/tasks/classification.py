"""Classification: one text or two, one of several labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from nlp_transfer import scratch, texts
from nlp_transfer.errors import RowError, did_you_mean, listing
from nlp_transfer.labels import (
    LABEL_NAMES,
    class_weights,
    classes_of,
    label_text,
    per_label,
    rare_labels,
    rarity,
    similar_labels,
)
from nlp_transfer.long_texts import LongTexts
from nlp_transfer.members import FITTED
from nlp_transfer.metrics import confusion, most_probable
from nlp_transfer.metrics.accuracy import accuracy
from nlp_transfer.metrics.expected_calibration_error import expected_calibration_error
from nlp_transfer.metrics.macro_f1 import macro_f1
from nlp_transfer.metrics.matthews_correlation import matthews_correlation
from nlp_transfer.metrics.weighted_f1 import weighted_f1
from nlp_transfer.rows import cells
from nlp_transfer.scratch import filled, with_cells
from nlp_transfer.tasks import Columns, Primary, Remark, Task, column
from nlp_transfer.temperature import best_temperature, uncalibrated
from nlp_transfer.training.batch import Batch


@dataclass(frozen=True)
class Answer:
    """The most probable label, its probability, and the probability of every label."""

    label: str
    probability: float
    probabilities: dict[str, float]

    def cells(self) -> dict[str, Any]:
        """Flat columns: label, probability, and one column per label."""
        each = {f"probability_{name}": value for name, value in self.probabilities.items()}
        return {"label": self.label, "probability": self.probability, **each}

    def words(self, digits: int = 4) -> list[str]:
        """Label and probability."""
        return [self.label, f"{self.probability:.{digits}f}"]


@dataclass(frozen=True)
class Classification(LongTexts, Task):
    """One of several labels for a text (topics, intents, kinds of question) or for two (entailment, paraphrase)."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {**texts.COLUMNS, "label": LABEL_NAMES}
    answer_columns: ClassVar[tuple[str, ...]] = ("label",)
    optional_columns: ClassVar[tuple[str, ...]] = (texts.PAIR,)
    known_together: ClassVar[tuple[Mapping[str, str], ...]] = texts.TOGETHER
    primary: ClassVar[Primary] = Primary("accuracy")
    sample: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"text": "I was charged twice for the same month.", "label": "billing"},
        {"text": "Where is my parcel? It should have been here on Monday.", "label": "delivery"},
        {"text": "The invoice shows a fee that nobody told me about.", "label": "billing"},
        {"text": "The courier left it at a house in another street.", "label": "delivery"},
    )

    labels: tuple[str, ...] | None = None
    """The labels, in the order of the model's outputs; unset: those of the training rows, sorted."""
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """What a row counts in the loss, by its label: `balanced` (rare labels count more), or a number per label."""

    calibration: Literal["none", "temperature"] = "none"
    """Whether probabilities are made to match how often they are right: by a temperature, chosen on validation."""

    classes: tuple[str, ...] = field(default=(), metadata=FITTED)
    weights: tuple[float, ...] | None = field(default=None, metadata=FITTED)
    temperature: float = field(default=1.0, metadata=FITTED)

    def __post_init__(self) -> None:
        super().__post_init__()
        # as they are read from rows: in Python numbers may be given
        if self.labels:
            object.__setattr__(self, "labels", tuple(map(label_text, self.labels)))
        if isinstance(self.class_weights, dict):
            named = {label_text(name): weight for name, weight in self.class_weights.items()}
            object.__setattr__(self, "class_weights", named)

    def fit(self, rows: Dataset) -> Self:
        """Learn the labels and what each counts in the loss."""
        return self._fitted(self.labels, Counter(_labels(rows)), rows)

    def _fitted(self, labels: Sequence[str] | None, counts: Mapping[str, int], rows: Dataset) -> Self:
        """The task with its classes known, once the counts of the training rows have been looked at."""
        task = replace(self, brought=self.brought_by(rows))
        classes = classes_of(counts, labels, sum(counts.values()), (*task.asked_columns, *task.answer_columns))
        return replace(task, classes=classes, weights=class_weights(self.class_weights, classes, counts))

    def measured(self, rows: Dataset) -> Self:
        """What each label counts in the loss, by these rows."""
        return replace(self, weights=class_weights(self.class_weights, self.classes, Counter(cells(rows, "label"))))

    def read(self, rows: Dataset) -> Dataset:
        """Labels as text, each one that training had."""
        if "label" not in rows.column_names:
            return rows
        known = set(self.classes)
        for i, label in enumerate(_labels(rows)):
            if label not in known:
                raise RowError(i, str(self._unknown(label)))
        return with_cells(rows, "label", _labels)

    def fault(self, column: str, cell: Any) -> str | None:
        """As every task; and a label is a single one, and one of training."""
        if column not in self.answer_columns:
            return super().fault(column, cell)
        if isinstance(cell, list):
            return f"a list of {len(cell)} labels where one is expected"
        return super().fault(column, cell) or (self._unknown(cell) if self.classes else None)

    def _unknown(self, label: Any) -> str | None:
        """What is wrong with a label that the fitted task does not know; None for one that it knows."""
        if (name := label_text(label)) in self.classes:
            return None
        return f'the label "{name}" is not one of training. {did_you_mean(name, self.classes)}'

    def remarks(self, rows: Dataset) -> list[Remark]:
        """Labels that look the same and are not, and labels that are rare beside the most frequent."""
        counts = Counter(cells(rows, "label"))
        alike, remarks = similar_labels(counts), []
        if alike:
            shown = listing(" and ".join(f'"{name}"' for name in names) for names in alike)
            other = {name for names in alike for name in names[1:]}
            message = f"labels that differ only in case or white space are different classes: {shown}."
            remarks.append(Remark("similar_labels", message, _with(rows, other)))
        if rare := rarity(self.classes, counts):
            message = f"{rare} Accuracy hardly sees them: look at macro F1, and consider --task.class_weights balanced."
            remarks.append(Remark("imbalance", message, _with(rows, set(rare_labels(self.classes, counts)))))
        return remarks

    def strata(self, rows: Dataset) -> Iterable[Hashable]:
        """The labels: a cut keeps their shares."""
        return cells(rows, "label")

    def head(self) -> tuple[Any, dict[str, Any]]:
        """The architecture's classifier with one output per label, which it knows by name."""
        names = dict(enumerate(self.classes))
        label2id = {name: i for i, name in names.items()}
        config = {"num_labels": len(names), "id2label": names, "label2id": label2id}
        return AutoModelForSequenceClassification, {**config, "problem_type": "single_label_classification"}

    def encode(self, rows: Columns, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        """Token ids of each row's text or texts, and the label's number where there is one."""
        features = texts.encode(rows, tokenizer, self)
        if "label" in rows:
            numbers = {name: i for i, name in enumerate(self.classes)}
            features["label"] = texts.of_features([numbers[label] for label in column(rows, "label")], features)
        return features

    def collate(self, features: Columns, tokenizer: PreTrainedTokenizerBase) -> Batch:
        """As `texts.collate`; labels (rows,)."""
        targets = {"label": torch.tensor(features["label"])} if "label" in features else {}
        return Batch(texts.collate(features, tokenizer), targets)

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """Cross entropy, each row weighted by its class."""
        logits, labels = outputs.logits.float(), batch.targets["label"]
        if self.weights is None:
            return torch.nn.functional.cross_entropy(logits, labels, reduction="sum"), float(len(labels))
        weights = torch.tensor(self.weights, device=logits.device)
        return torch.nn.functional.cross_entropy(logits, labels, weights, reduction="sum"), weights[labels].sum()

    def decode(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> list[Any]:  # noqa: ARG002
        """The softmax of each row's logits, divided by the temperature, which changes no label."""
        logits = torch.from_numpy(outputs)
        if self.temperature != 1:
            # doubles, so that `uncalibrated` gets back what was there
            logits = logits.double() / self.temperature
        probabilities = logits.softmax(-1).numpy()
        best = probabilities.argmax(1)  # as in `judged`: two logits may differ by less than their probabilities can
        return [
            Answer(self.classes[i], float(row[i]), dict(zip(self.classes, row.tolist(), strict=True)))
            for i, row in zip(best, probabilities, strict=True)
        ]

    def calibrate(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> Self:  # noqa: ARG002
        """The task with the temperature that makes the validation labels most probable (Guo et al. 2017), if asked for."""
        if self.calibration == "none":
            return self
        return replace(self, temperature=best_temperature(outputs, self._numbers(rows)))

    def _numbers(self, rows: Dataset) -> np.ndarray:
        numbers = {name: i for i, name in enumerate(self.classes)}
        return filled((numbers[label] for label in cells(rows, "label")), len(rows), np.int64)

    def judged(self, answers: Sequence[Answer], rows: Dataset) -> dict[str, np.ndarray]:
        """Probabilities (rows, labels), and the true labels (rows,)."""
        each = (list(answer.probabilities.values()) for answer in answers)
        probabilities = np.fromiter(each, np.dtype((float, len(self.classes))), len(answers))
        return {"probabilities": probabilities, "references": self._numbers(rows)}

    def metrics(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Accuracy, macro and weighted F1, Matthews correlation, expected calibration error."""
        probabilities, references = judged["probabilities"], judged["references"]
        predictions = most_probable(probabilities)
        return {
            "accuracy": accuracy(predictions, references),
            "macro_f1": macro_f1(predictions, references),
            "weighted_f1": weighted_f1(predictions, references),
            "matthews_correlation": matthews_correlation(predictions, references),
            "expected_calibration_error": expected_calibration_error(probabilities, references),
        }

    def details(self, answers: Sequence[Answer], rows: Dataset, judged: Mapping[str, np.ndarray]) -> dict[str, Any]:  # noqa: ARG002
        """Precision, recall, F1 and support per class, and the confusion matrix (true labels down, predictions across)."""
        counts = confusion(most_probable(judged["probabilities"]), judged["references"])
        table = np.zeros((len(self.classes),) * 2, np.int64)
        table[: len(counts), : len(counts)] = counts
        found = {
            "per_class": per_label(self.classes, np.diag(table), table.sum(0), table.sum(1)),
            "confusion_matrix": {"labels": list(self.classes), "rows": table.tolist()},
        }
        return found if self.calibration == "none" else {**found, "calibration": self._calibrated(judged)}

    def _calibrated(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The temperature, and the calibration error without it and with it."""
        after, references = judged["probabilities"], judged["references"]
        before = scratch.table(after.shape, after.dtype)
        for some, room in scratch.spans(after, before):
            room[:] = uncalibrated(some, self.temperature)
        return {
            "temperature": self.temperature,
            "ece_before": expected_calibration_error(before, references),
            "ece_after": expected_calibration_error(after, references),
        }


def _labels(rows: Dataset) -> Iterator[str]:
    """Every row's label as text, each a single one."""
    text = lru_cache(maxsize=10_000, typed=True)(label_text)  # one object for all rows of a label
    for i, label in enumerate(cells(rows, "label")):
        if isinstance(label, list):
            raise RowError(i, f"a list of {len(label)} labels where one is expected.")
        yield text(label)


def _with(rows: Dataset, names: set[str]) -> list[int]:
    """Indices of the rows with one of these labels."""
    return [i for i, label in enumerate(cells(rows, "label")) if label in names]
