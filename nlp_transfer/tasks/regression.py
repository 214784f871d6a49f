"""Regression: one text or two, a number."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from nlp_transfer import scratch, texts
from nlp_transfer.errors import RequestError, RowError
from nlp_transfer.long_texts import LongTexts
from nlp_transfer.members import FITTED
from nlp_transfer.metrics.mean_absolute_error import mean_absolute_error
from nlp_transfer.metrics.pearson_correlation import pearson_correlation
from nlp_transfer.metrics.r2 import r2
from nlp_transfer.metrics.root_mean_squared_error import root_mean_squared_error
from nlp_transfer.metrics.spearman_correlation import spearman_correlation
from nlp_transfer.rows import cells, replaced
from nlp_transfer.scratch import filled, ordered
from nlp_transfer.tasks import Columns, Mistake, Primary, Remark, Task, column
from nlp_transfer.training.batch import Batch

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

FAR = 10
"""A target is far when it is more than this many times the interquartile range away from the median."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the errors, in the report."""

BANDS = 5
"""Parts of about equally many rows, by their targets, whose shares a cut keeps."""


@dataclass(frozen=True)
class Answer:
    """A number in the unit of the targets, and the interval in which the true one should lie; None before it is known."""

    value: float
    low: float | None = None
    high: float | None = None

    def cells(self) -> dict[str, Any]:
        """The number, and the ends of its interval."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def words(self, digits: int = 4) -> list[str]:
        """The number, and its interval."""
        low, high = self.low, self.high
        interval = [] if low is None or high is None else [f"{low:.{digits}f} to {high:.{digits}f}"]
        return [f"{self.value:.{digits}f}", *interval]


@dataclass(frozen=True)
class Regression(LongTexts, Task):
    """A number for a text (urgency, price, grade) or for two (how alike they are)."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **texts.COLUMNS,
        "target": (
            "target",
            "score",
            "value",
            "number",
            "similarity",
            "similarity_score",
            "label",
            "labels",
            "rating",
            "grade",
            "stars",
            "y",
        ),
    }
    answer_columns: ClassVar[tuple[str, ...]] = ("target",)
    optional_columns: ClassVar[tuple[str, ...]] = (texts.PAIR,)
    known_together: ClassVar[tuple[Mapping[str, str], ...]] = texts.TOGETHER
    primary: ClassVar[Primary] = Primary("pearson_correlation")
    sample: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"text": "There is smoke coming out of the meter cupboard!", "target": 10},
        {"text": "The tap in the bathroom drips.", "target": 4.5},
        {"text": "Just to say thank you for the new doormat.", "target": 0},
        {"text": "The lift has been stuck since this morning.", "target": 7},
    )

    decimal: Literal[".", ","] = "."
    """What stands before the decimals of a number that is written as text."""
    coverage: float = 0.9
    """Share of true numbers that should lie inside the intervals of answers, which get their width on validation."""
    tolerance: float | None = None
    """How far an answer may be off before the analysis of errors counts it as wrong, in the target's unit; unset: half a
    standard deviation of the training targets."""

    mean: float = field(default=0.0, metadata=FITTED)
    deviation: float = field(default=1.0, metadata=FITTED)
    margin: float | None = field(default=None, metadata=FITTED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.coverage < 1:
            raise RequestError(f"task.coverage is {self.coverage:g}: expected a share between 0 and 1.")
        if self.tolerance is not None and not 0 <= self.tolerance < float("inf"):
            raise RequestError(f"task.tolerance is {self.tolerance:g}: expected a number, 0 or more.")

    def fault(self, column: str, cell: Any) -> str | None:
        """As every task; and a target is a finite number."""
        empty = cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())
        if column not in self.answer_columns or empty:
            return super().fault(column, cell)
        return None if self._number(cell) is not None else self._no_number(cell)

    def _no_number(self, cell: Any) -> str:
        hint = ""
        if isinstance(cell, str) and "," in cell and self.decimal == ".":
            hint = " (for a decimal comma say --task.decimal ,)"
            if not NUMBER.fullmatch(cell.strip().replace(",", ".")):
                hint = " (write it without other signs, as 1234.5)"
            elif self.margin is not None:  # a finished run, which no flag can tell
                hint = " (this run reads decimal points: write 3.5)"
        elif isinstance(cell, str) and len(cell.split()) > 3:
            hint = " (are the columns swapped? Name them with --columns.text and --columns.target)"
        return f'"{str(cell)[:40]}" where a finite number is expected{hint}'

    def _number(self, cell: Any) -> float | None:
        """The number that a cell is; None where it is none."""
        if isinstance(cell, str):
            cell = cell.strip()
            if self.decimal == ",":
                cell = cell.replace(".", "?").replace(",", ".")
            if not NUMBER.fullmatch(cell):
                return None
        elif isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
            return None
        try:
            number = float(cell)
        except OverflowError:
            return None
        return number if np.isfinite(number) else None

    def fit(self, rows: Dataset) -> Self:
        """Learn the targets' mean and standard deviation."""
        return replace(self, brought=self.brought_by(rows)).measured(rows)

    def measured(self, rows: Dataset) -> Self:
        """The mean and standard deviation of these rows' targets."""
        targets = self._targets(rows)
        mean, deviation = scratch.moments(targets)
        if not np.isfinite(deviation):
            raise RequestError("the targets are too large to be squared: give them another unit.")
        if targets.min() == targets.max():  # of such, a mean rounds, and a deviation need not be 0
            raise RequestError(f"every training row has the target {targets[0]:g}: expected numbers that differ.")
        return replace(self, mean=mean, deviation=deviation)

    def read(self, rows: Dataset) -> Dataset:
        """Targets as numbers."""
        if "target" not in rows.column_names:
            return rows
        targets = self._targets(rows)
        # a column is put beside those of a selection by copying all of them
        known = pyarrow.types.is_float64(rows.data.schema.field("target").type)
        return rows if known else replaced(rows, "target", targets)

    def _targets(self, rows: Dataset) -> np.ndarray:
        """Every row's target as a number (rows,)."""
        return filled(self._numbers(rows), len(rows), np.float64)

    def _numbers(self, rows: Dataset) -> Iterator[float]:
        for i, cell in enumerate(cells(rows, "target")):
            if (number := self._number(cell)) is None:
                raise RowError(i, f"{self._no_number(cell)}.")
            yield number

    def notes(self) -> list[str]:
        """The targets' scale."""
        return [
            f"targets are learned less their mean {self.mean:.6g}, by their standard deviation {self.deviation:.6g}."
        ]

    def remarks(self, rows: Dataset) -> list[Remark]:
        """Targets that are far from all others, as a code for "not known" is."""
        targets = self._targets(rows)
        edges = np.quantile(ordered(targets), (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99), overwrite_input=True)
        ranges = zip(edges[2::-1], edges[4:], ("half", "nine in ten", "98 %"), strict=True)
        low, high, most = next((each for each in ranges if each[0] < each[1]), (0.0, 0.0, ""))
        median = edges[3]
        is_far = scratch.numbers(len(targets), np.bool_)
        for some, room in scratch.spans(targets, is_far):
            room[:] = np.abs(some - median) > FAR * (high - low)
        if not most or not len(far := np.flatnonzero(is_far)):
            return []
        farthest = targets[far[np.abs(targets[far] - median).argmax()]]
        message = (
            f"{len(far):,} of {len(targets):,} training rows have a target far from the others, the farthest "
            f"{farthest:g} ({most} of all lie between {low:g} and {high:g}). Is it a code for a missing number?"
        )
        return [Remark("far_targets", message, far)]

    def strata(self, rows: Dataset) -> Iterable[Hashable]:
        """In which fifth of the targets each lies: a cut keeps their spread."""
        targets = self._targets(rows)
        edges = np.unique(np.quantile(ordered(targets), np.arange(1, BANDS) / BANDS, overwrite_input=True))
        return (band for (some,) in scratch.spans(targets) for band in np.searchsorted(edges, some).tolist())

    def head(self) -> tuple[Any, dict[str, Any]]:
        """The architecture's classifier with one output: the target, standardised."""
        config = {"num_labels": 1, "id2label": {0: "target"}, "label2id": {"target": 0}}
        return AutoModelForSequenceClassification, {**config, "problem_type": "regression"}

    def encode(self, rows: Columns, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        """Token ids of each row's text or texts, and the standardised target where there is one."""
        features = texts.encode(rows, tokenizer, self)
        if "target" in rows:
            targets = (np.array(column(rows, "target")) - self.mean) / self.deviation
            features["target"] = texts.of_features(targets.tolist(), features)
        return features

    def collate(self, features: Columns, tokenizer: PreTrainedTokenizerBase) -> Batch:
        """As `texts.collate`; standardised targets (rows,)."""
        targets = {"target": torch.tensor(features["target"], dtype=torch.float32)} if "target" in features else {}
        return Batch(texts.collate(features, tokenizer), targets)

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """Squared error of the standardised target."""
        errors = outputs.logits.float().squeeze(-1) - batch.targets["target"]
        return (errors**2).sum(), float(len(errors))

    def calibrate(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> Self:  # noqa: ARG002
        """The task with the half width of its intervals: split conformal prediction on validation (Lei et al. 2018).

        Of other rows like these, a share of `coverage` or more then lies inside, on average over splits. Where there are too
        few rows for such a promise, the half width is the largest error.
        """
        true = filled(cells(rows, "target"), len(rows), np.float64)
        errors = scratch.numbers(len(rows), np.float64)
        for some, its, room in scratch.spans(outputs, true, errors):
            room[:] = np.abs(self._values(some) - its)
        errors.sort()
        # one more row than there are, so that a row to come is one among them
        rank = min(int(np.ceil((len(errors) + 1) * self.coverage)), len(errors))
        return replace(self, margin=float(errors[rank - 1]))

    def decode(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> list[Any]:  # noqa: ARG002
        """Numbers in the unit of the targets."""
        values = self._values(outputs).tolist()
        if self.margin is None:
            return [Answer(value) for value in values]
        return [Answer(value, value - self.margin, value + self.margin) for value in values]

    def _values(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (rows, 1) in the unit of the targets (rows,)."""
        return outputs[:, 0].astype(np.float64) * self.deviation + self.mean

    def judged(self, answers: Sequence[Answer], rows: Dataset) -> dict[str, np.ndarray]:
        """Answered and true numbers (rows,)."""
        predictions = filled((answer.value for answer in answers), len(answers), np.float64)
        return {"predictions": predictions, "references": filled(cells(rows, "target"), len(rows), np.float64)}

    def metrics(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Pearson and Spearman correlation, root mean squared and mean absolute error in the target's unit, R2."""
        predictions, references = judged["predictions"], judged["references"]
        return {
            "pearson_correlation": pearson_correlation(predictions, references),
            "spearman_correlation": spearman_correlation(predictions, references),
            "root_mean_squared_error": root_mean_squared_error(predictions, references),
            "mean_absolute_error": mean_absolute_error(predictions, references),
            "r2": r2(predictions, references),
        }

    def details(self, answers: Sequence[Answer], rows: Dataset, judged: Mapping[str, np.ndarray]) -> dict[str, Any]:  # noqa: ARG002
        """What intervals promise and hold, quantiles of the errors (answer less truth), and from where one counts as wrong."""
        errors = scratch.numbers(len(judged["references"]), np.float64)
        np.subtract(judged["predictions"], judged["references"], out=errors)
        quantiles = np.quantile(errors, QUANTILES, overwrite_input=True)
        found: dict[str, Any] = {
            "error_quantiles": {f"{share:g}": float(error) for share, error in zip(QUANTILES, quantiles, strict=True)},
            "tolerance": self.deviation / 2 if self.tolerance is None else self.tolerance,
        }
        if self.margin is not None:
            inside = sum(int((np.abs(some) <= self.margin).sum()) for (some,) in scratch.spans(errors)) / len(errors)
            found["interval"] = {"asked": self.coverage, "covered": inside, "half_width": self.margin}
        return found

    def mistakes(self, answers: Sequence[Answer], rows: Dataset) -> list[Mistake]:
        """The rows whose answer is off by more than the tolerance, each with how far it is off."""
        tolerance = self.deviation / 2 if self.tolerance is None else self.tolerance
        pairs = zip(cells(rows, "target"), answers, strict=True)
        return [
            Mistake(i, gold, answer.value, off)
            for i, (gold, answer) in enumerate(pairs)
            if (off := abs(answer.value - gold)) > tolerance
        ]
