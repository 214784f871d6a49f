"""Multi-label: one text or two, any number of several labels, none too."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow
import torch
from datasets import Dataset
from scipy.special import expit
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from nlp_transfer import scratch, texts
from nlp_transfer.errors import RowError, did_you_mean, listing
from nlp_transfer.labels import (
    classes_of,
    flag,
    known_names_in,
    label_text,
    names_in,
    per_label,
    rare_labels,
    rarity,
    separator_of,
    similar_labels,
)
from nlp_transfer.long_texts import LongTexts
from nlp_transfer.members import FITTED
from nlp_transfer.metrics import hits
from nlp_transfer.metrics.multi_label_macro_f1 import multi_label_macro_f1
from nlp_transfer.metrics.multi_label_micro_f1 import multi_label_micro_f1
from nlp_transfer.metrics.ranking_average_precision import precision_by_row
from nlp_transfer.metrics.subset_accuracy import subset_accuracy
from nlp_transfer.rows import cells
from nlp_transfer.scratch import where, with_cells
from nlp_transfer.tasks import Columns, Mistake, Primary, Remark, Task
from nlp_transfer.thresholds import HALF, shared_threshold, thresholds_per_label
from nlp_transfer.training.batch import Batch

WRITTEN = "|"
"""What stands between labels in files that we write."""


@dataclass(frozen=True)
class Answer:
    """The labels whose probability reaches their threshold, in the task's order, and the probability of every label."""

    labels: tuple[str, ...]
    probabilities: dict[str, float]

    def cells(self) -> dict[str, Any]:
        """Flat columns: the labels in one cell, and one column per label."""
        each = {f"probability_{name}": value for name, value in self.probabilities.items()}
        plain = not any(WRITTEN in name for name in (*self.labels, *self.probabilities))
        return {"labels": WRITTEN.join(self.labels) if plain else json.dumps(self.labels, ensure_ascii=False), **each}

    def words(self, digits: int = 4) -> list[str]:
        """The labels, and their probabilities."""
        sure = [f"{self.probabilities[name]:.{digits}f}" for name in self.labels]
        return [_said(self.labels), WRITTEN.join(sure)]


@dataclass(frozen=True)
class MultiLabel(LongTexts, Task):
    """Any number of several labels for a text (what it is about, what it expresses) or for two; none is an answer too."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **texts.COLUMNS,
        "labels": ("labels", "label", "tags", "topics", "categories", "classes", "emotions", "genres", "keywords"),
    }
    answer_columns: ClassVar[tuple[str, ...]] = ("labels",)
    optional_columns: ClassVar[tuple[str, ...]] = (texts.PAIR,)
    known_together: ClassVar[tuple[Mapping[str, str], ...]] = texts.TOGETHER
    spread_columns: ClassVar[tuple[str, ...]] = ("labels",)
    title: ClassVar[str] = "multi-label classification"
    primary: ClassVar[Primary] = Primary("micro_f1")
    sample: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"text": "The soup was cold and the waiter rude.", "labels": "food|staff"},
        {"text": "A lovely quiet room.", "labels": "room"},
        {"text": "We arrived on a Tuesday.", "labels": ""},
        {"text": "Good pancakes, soft beds.", "labels": "food|room"},
        {"text": "Everybody at the desk was kind.", "labels": "staff"},
    )

    labels: tuple[str, ...] | None = None
    """The labels, in the order of the model's outputs; unset: those of the training rows, sorted."""
    separator: str | None = None
    """What stands between the labels of one cell; unset: of | ; , that training cells hold, what leaves the fewest labels."""
    thresholds: Literal["per_label", "shared", "half"] = "per_label"
    """From which probability on a label is given: chosen on validation for the highest F1, one per label (a label with fewer
    than 10 rows there takes that of all) or one `shared` by all; or a `half` for every label."""

    classes: tuple[str, ...] = field(default=(), metadata=FITTED)
    separator_read: str = field(default="", metadata=FITTED)
    cutoffs: tuple[float, ...] = field(default=(), metadata=FITTED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels:  # as they are read from rows: in Python numbers may be given
            object.__setattr__(self, "labels", tuple(label_text(name).strip() for name in self.labels))

    def fault(self, column: str, cell: Any) -> str | None:
        """As every task; and labels are words: a list, one text, or flags by name, each one of training."""
        if column not in self.answer_columns:
            return super().fault(column, cell)
        if isinstance(cell, dict):
            wrong = [name for name, said in cell.items() if flag(said) is None]
            return f'{wrong[0]} is "{cell[wrong[0]]}" where 0 or 1 is expected' if wrong else None
        if cell is None or cell != cell:
            return "no labels: expected an empty list where a row has none"
        if isinstance(cell, bytes):
            return super().fault(column, cell)
        names = self._names_in(cell)
        if names is None:
            return f"{str(cell)[:40]} where labels are expected: a list of words, or words with a separator"
        unknown = next((name for name in names if name not in self.classes), None) if self.classes else None
        return None if unknown is None else self._unknown(unknown)

    def _unknown(self, name: str) -> str:
        return f'the label "{name}" is not one of training. {did_you_mean(name, self.classes)}'

    def fit(self, rows: Dataset) -> Self:
        """Learn how labels are separated, and which there are."""
        separator = self.separator or separator_of(cells(rows, "labels"))
        task = replace(self, brought=self.brought_by(rows), separator_read=separator)
        counts = Counter(name for i, cell in enumerate(cells(rows, "labels")) for name in task._names(i, cell))
        names = (*task.asked_columns, *task.answer_columns)
        return replace(task, classes=classes_of(counts, self.labels, max(len(rows), sum(counts.values())), names))

    def read(self, rows: Dataset) -> Dataset:
        """Labels as lists of texts, in the task's order, each one that training had."""
        if "labels" not in rows.column_names:
            return rows
        return with_cells(rows, "labels", self._read, pyarrow.list_(pyarrow.string()))

    def _read(self, rows: Dataset) -> Iterator[list[str]]:
        for i, cell in enumerate(cells(rows, "labels")):
            names = self._names(i, cell)
            if unknown := next((name for name in names if name not in self.classes), None):
                raise RowError(i, self._unknown(unknown))
            yield [name for name in self.classes if name in names]

    def _names(self, row: int, cell: Any) -> list[str]:
        """The labels of a cell."""
        names = self._names_in(cell)
        if names is None:
            raise RowError(row, f"{self.fault('labels', cell)}.")
        return names

    def _names_in(self, cell: Any) -> list[str] | None:
        if not self.classes:
            return names_in(cell, self.separator_read)
        return known_names_in(cell, self.separator_read, self.classes)

    def notes(self) -> list[str]:
        """How labels were separated."""
        return [f'labels of one cell are separated by "{self.separator_read}".'] if self.separator_read else []

    def remarks(self, rows: Dataset) -> list[Remark]:
        """Labels that look the same and are not, labels that are rare, and rows without any."""
        counts = Counter(name for names in cells(rows, "labels") for name in names)
        remarks = []
        if alike := similar_labels(counts):
            shown = listing(" and ".join(f'"{name}"' for name in names) for names in alike)
            message = f"labels that differ only in case or white space are different labels: {shown}."
            remarks.append(Remark("similar_labels", message, _having(rows, {n for names in alike for n in names[1:]})))
        if all(flag(name) is not None for name in self.classes):
            message = f"labels are called {listing(self.classes)}, as cells of a column for one label are."
            message += " For a column of each label say --columns.labels A,B,C."
            remarks.append(Remark("flags_as_labels", message, []))
        if rare := rarity(self.classes, counts):
            message = f"{rare} Micro F1 hardly sees them: look at macro F1 and the scores of each label."
            remarks.append(Remark("imbalance", message, _having(rows, set(rare_labels(self.classes, counts)))))
        if 2 * len(bare := where((not names for names in cells(rows, "labels")), len(rows))) > len(rows):
            message = f"{len(bare):,} of {len(rows):,} training rows have no label."
            remarks.append(Remark("no_labels", message, bare))
        return remarks

    def strata(self, rows: Dataset) -> Iterable[Hashable]:
        """The rarest label of each row: a cut keeps the shares of labels, above all of rare ones."""
        counts = Counter(name for names in cells(rows, "labels") for name in names)
        return (min(names, key=lambda name: (counts[name], name), default="") for names in cells(rows, "labels"))

    def head(self) -> tuple[Any, dict[str, Any]]:
        """The architecture's classifier with one output per label, each by itself a yes or no."""
        names = dict(enumerate(self.classes))
        config = {"num_labels": len(names), "id2label": names, "label2id": {name: i for i, name in names.items()}}
        return AutoModelForSequenceClassification, {**config, "problem_type": "multi_label_classification"}

    def encode(self, rows: Columns, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        """Token ids of each row's text or texts, and 0 or 1 for every label where there are answers."""
        features = texts.encode(rows, tokenizer, self)
        if "labels" in rows:
            features["labels"] = texts.of_features(
                self._table(cells(rows, "labels"), len(rows["labels"])).tolist(), features
            )
        return features

    def _table(self, labels: Iterable[Sequence[str]], count: int) -> np.ndarray:
        """Whether each of so many rows has each label (rows, labels), 0 or 1."""
        numbers = {name: i for i, name in enumerate(self.classes)}
        table = scratch.table((count, len(numbers)), np.int8)
        for i, names in enumerate(labels):
            table[i] = 0
            table[i, [numbers[name] for name in names]] = 1
        return table

    def collate(self, features: Columns, tokenizer: PreTrainedTokenizerBase) -> Batch:
        """As `texts.collate`; labels (rows, labels), 0 or 1."""
        targets = {"labels": torch.tensor(features["labels"], dtype=torch.float32)} if "labels" in features else {}
        return Batch(texts.collate(features, tokenizer), targets)

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """Binary cross entropy over rows and labels."""
        logits, labels = outputs.logits.float(), batch.targets["labels"]
        total = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        return total, float(labels.numel())

    def calibrate(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> Self:  # noqa: ARG002
        """The task with the thresholds that give the highest F1 on the validation split."""
        if self.thresholds == "half":
            return self
        choose = thresholds_per_label if self.thresholds == "per_label" else shared_threshold
        return replace(self, cutoffs=choose(expit(outputs), self._table(cells(rows, "labels"), len(rows))))

    def decode(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> list[Any]:  # noqa: ARG002
        """The sigmoid of every logit, and the labels whose sigmoid reaches their threshold."""
        probabilities = expit(outputs)
        given = probabilities >= np.array(self._cutoffs)
        return [
            Answer(
                tuple(name for name, yes in zip(self.classes, chosen, strict=True) if yes),
                dict(zip(self.classes, row, strict=True)),
            )
            for chosen, row in zip(given.tolist(), probabilities.tolist(), strict=True)
        ]

    @property
    def _cutoffs(self) -> tuple[float, ...]:
        return self.cutoffs or (HALF,) * len(self.classes)

    def judged(self, answers: Sequence[Answer], rows: Dataset) -> dict[str, np.ndarray]:
        """Given and true labels (rows, labels), 0 or 1, and how well the true ones are ranked (rows,)."""
        references = self._table(cells(rows, "labels"), len(rows))
        each = (list(answer.probabilities.values()) for answer in answers)
        probabilities = np.fromiter(each, np.dtype((float, len(self.classes))), len(answers))
        predictions = self._table((answer.labels for answer in answers), len(answers))
        ranked = precision_by_row(probabilities, references)
        return {"predictions": predictions, "references": references, "ranked": ranked}

    def metrics(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Micro and macro F1, subset accuracy, label ranking average precision."""
        predictions, references = judged["predictions"], judged["references"]
        return {
            "micro_f1": multi_label_micro_f1(predictions, references),
            "macro_f1": multi_label_macro_f1(predictions, references),
            "subset_accuracy": subset_accuracy(predictions, references),
            "ranking_average_precision": float(judged["ranked"].mean()),
        }

    def details(self, answers: Sequence[Answer], rows: Dataset, judged: Mapping[str, np.ndarray]) -> dict[str, Any]:  # noqa: ARG002
        """Threshold, precision, recall, F1 and support of each label, and how many rows have none."""
        predictions, references = judged["predictions"], judged["references"]
        right, _ = hits(predictions, references)
        table = per_label(self.classes, right, predictions.sum(0), references.sum(0))
        cutoffs = zip(table.items(), self._cutoffs, strict=True)
        bare = {"true": int((~references.any(1)).sum()), "answered": int((~predictions.any(1)).sum())}
        return {
            "per_label": {name: {"threshold": cutoff, **scores} for (name, scores), cutoff in cutoffs},
            "rows_without_label": bare,
        }

    def mistakes(self, answers: Sequence[Answer], rows: Dataset) -> list[Mistake]:
        """The rows with a label too many or missing; as sure as the surest of these labels is wrong."""
        found = []
        for i, (gold, answer) in enumerate(zip(cells(rows, "labels"), answers, strict=True)):
            if wrong := set(gold) ^ set(answer.labels):
                sure = [
                    1 - chance if name in gold else chance
                    for name, chance in answer.probabilities.items()
                    if name in wrong
                ]
                found.append(Mistake(i, _said(gold), _said(answer.labels), max(sure)))
        return found


def _said(labels: Sequence[str]) -> str:
    return WRITTEN.join(labels) or "(none)"


def _having(rows: Dataset, names: set[str]) -> np.ndarray:
    """Indices of the rows with one of these labels."""
    return where((not names.isdisjoint(each) for each in cells(rows, "labels")), len(rows))
