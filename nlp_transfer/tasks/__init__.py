"""Tasks: the shape of a problem. One file each; the file's name is the task's name."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlp_transfer import members
from nlp_transfer.rows import cells as cells_of
from nlp_transfer.rows import column as column
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.batch import pad as pad

Columns = Mapping[str, Sequence[Any]]
"""Rows or features as columns: every value has one entry per row."""


class Primary(NamedTuple):
    """The metric that picks the best checkpoint, and whether higher is better."""

    metric: str
    higher_is_better: bool = True


class Remark(NamedTuple):
    """What a reader should know about some of the training rows: a word for its kind, a sentence, and their indices."""

    kind: str
    message: str
    rows: Sequence[int] | np.ndarray


class Mistake(NamedTuple):
    """A row that was answered wrongly."""

    row: int
    """Index in the rows that were judged."""
    gold: Any
    answer: Any
    confidence: float
    """How sure the wrong answer was; for an answer without a probability, how far off it is."""

    def said(self) -> dict[str, Any]:
        """All but the row."""
        return {"gold": self.gold, "answer": self.answer, "confidence": self.confidence}


class Answer(Protocol):
    """What a task says about one row."""

    def cells(self) -> dict[str, Any]:
        """The answer as columns of an output file: flat, with values that CSV and JSON can hold."""
        ...

    def words(self, digits: int = 4) -> list[str]:
        """The answer as a person reads it in a line, what matters most first."""
        ...


@dataclass(frozen=True)
class Task(ABC):
    """The shape of a problem: which columns a row has, which head answers, how an answer is judged.

    The fields of a task are its settings; `fit` gives a new task that also knows what the training rows teach
    (labels, scale, weights), kept in fields with the metadata `members.FITTED` and saved in the run.
    """

    columns: ClassVar[Mapping[str, tuple[str, ...]]]
    """What a row must have once the recipe has renamed it, each with usual names by which it is recognised."""
    answer_columns: ClassVar[tuple[str, ...]]
    """Which of the columns are the answer: needed to train and to judge, not to predict."""
    optional_columns: ClassVar[tuple[str, ...]] = ()
    """Which of the columns rows may lack; a fitted task asks for those that its training rows had."""
    known_together: ClassVar[tuple[Mapping[str, str], ...]] = ()
    """Usual names of several columns at once, by the task's: looked for whole, and before single ones."""
    spread_columns: ClassVar[tuple[str, ...]] = ()
    """Which of the columns a file may spread over several of its own; a cell is then a dict of texts by their names."""
    further_columns: ClassVar[tuple[str, ...]] = ()
    """Which of them a file may lack as well; they are read where rows are trained on or judged, and no model sees them."""
    title: ClassVar[str] = ""
    """What people call the task, where its name does not say it."""
    primary: ClassVar[Primary]
    sample: ClassVar[tuple[Mapping[str, Any], ...]]
    """A handful of rows for tests and docs."""
    pools: ClassVar[bool] = True
    """Whether the head reads one vector of each text, so that there is a choice of pooling."""
    closed: ClassVar[bool] = True
    """Whether answers are few and the same ones come again, so that confusions of two can be counted."""
    rows_apart: ClassVar[bool] = True
    """Whether rows can be checked and judged some at a time: `faults` and `uniform` are as they stand here, `judged` and
    `mistakes` of all rows are those of some after those of others, and memory need not hold all."""
    pipeline_tag: ClassVar[str] = "text-classification"
    """What the Hub calls the task."""

    brought: tuple[str, ...] = field(default=(), metadata=members.FITTED)

    @property
    def name(self) -> str:
        """The task's name: that of its file."""
        return members.name_of(self)

    @property
    def asked_columns(self) -> tuple[str, ...]:
        """The columns by which a row is answered: no answers, and optional ones where the training rows had them."""
        left = {*self.answer_columns, *self.further_columns, *self.optional_columns} - {*self.brought}
        return tuple(name for name in self.columns if name not in left)

    def fault(self, column: str, cell: Any) -> str | None:
        """What is wrong with a cell, as a clause for a message; None where a row with it can be used.

        By default nothing may be empty, an answer is a plain value or a list, and everything else is a text. A fitted task
        may also refuse answers that training did not have.
        """
        if isinstance(cell, float) and math.isnan(cell):
            return "the cell is empty or NaN, which is no value"
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return "the cell is empty"
        if column not in self.answer_columns:
            return None if isinstance(cell, str) else f"{_shown(cell)} where a text is expected"
        return f"{_shown(cell)} where an answer is expected" if isinstance(cell, dict | bytes) else None

    def faults(self, rows: Columns) -> Mapping[int, tuple[str, str]]:  # noqa: ARG002
        """What is wrong with rows whose every cell is right by itself: index, column and a clause; nothing by default."""
        return {}

    def uniform(self, rows: Columns) -> Columns:
        """Rows that were checked, as one table can hold them: every column of one type; as they are by default."""
        return rows

    @abstractmethod
    def fit(self, rows: Dataset) -> Self:
        """A task that knows labels, scale and weights, from training rows as their file gives them.

        Raises:
            RequestError, RowError: when no task can be made of these rows.
        """

    def measured(self, rows: Dataset) -> Self:  # noqa: ARG002
        """The fitted task with its numbers (weights, a scale) from rows that it has read: those left to train on by a cut."""
        return self

    def brought_by(self, rows: Dataset) -> tuple[str, ...]:
        """The optional columns that rows have: what `fit` keeps as `brought`."""
        return tuple(name for name in self.optional_columns if name in rows.column_names)

    @abstractmethod
    def read(self, rows: Dataset) -> Dataset:
        """Rows as the fitted task judges them: answers in the task's own spelling, rows it leaves out dropped.

        Rows without the answer's columns pass unchanged.

        Raises:
            RowError: for an answer that training did not have.
        """

    def repairs(self, rows: Dataset) -> list[Remark]:  # noqa: ARG002
        """What `read` puts right in these rows, so that it is no secret; nothing by default."""
        return []

    def notes(self) -> list[str]:
        """Sentences for the report: how the fitted task reads what the files say."""
        return []

    def remarks(self, rows: Dataset) -> list[Remark]:  # noqa: ARG002
        """What a reader should know about training rows that the fitted task has read; nothing by default."""
        return []

    @abstractmethod
    def strata(self, rows: Dataset) -> Iterable[Hashable]:
        """One value per row; a cut of the rows keeps the shares of these values."""

    def together(self, rows: Dataset) -> Iterable[Hashable] | None:  # noqa: ARG002
        """One value per row, such that rows of one value must not stand in two splits; None where all rows are free."""
        return None

    @abstractmethod
    def head(self) -> tuple[Any, dict[str, Any]]:
        """The Auto class that answers, and the configuration of its head."""

    @abstractmethod
    def encode(self, rows: Columns, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        """Features of rows, in columns, `input_ids` among them; with targets where the rows have answers.

        Texts are cut at `tokenizer.model_max_length`, or make several features: then a column `row` says whose each is (the
        index in `rows`, ascending; every row has one or more). Columns `tokens` and `lost` may say how many tokens a row has
        and how many of these no feature holds, in its first feature, with 0 in the others.
        """

    def learning(self) -> Self:
        """The task as it encodes rows to learn from; the same one by default."""
        return self

    @property
    def windows_pooled(self) -> Literal["mean", "max"] | None:
        """How the outputs of all features of a row become one, before `loss` and `decode` see them; None: they stay apart."""
        return None

    @abstractmethod
    def collate(self, features: Columns, tokenizer: PreTrainedTokenizerBase) -> Batch:
        """One batch, padded to the longest of its features."""

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """The summed loss of a batch, and the summed weight that it averages over."""

    def keep(self, outputs: Any, batch: Batch) -> Tensor:  # noqa: ARG002
        """Of a model's outputs for a batch what `decode` needs, features first, of one width in all batches.

        Where that is several rows for each feature, one after the other, `kept` says how many.
        """
        return outputs.logits.float()

    def kept(self, features: Dataset) -> np.ndarray | None:  # noqa: ARG002
        """How many rows `keep` keeps of each feature (features,); None for one of each."""
        return None

    def calibrate(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> Self:  # noqa: ARG002
        """A task with thresholds or a temperature, chosen on the validation split; nothing to choose by default."""
        return self

    @abstractmethod
    def decode(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> list[Any]:
        """One answer per row, from what `keep` kept of the model's outputs, in the order of the features."""

    @abstractmethod
    def judged(self, answers: Sequence[Any], rows: Dataset) -> dict[str, np.ndarray]:
        """Arrays, rows first, from which `metrics` computes every score: so a bootstrap can draw rows again."""

    @abstractmethod
    def metrics(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Every score of the rows that these arrays describe."""

    def score(self, answers: Sequence[Any], rows: Dataset) -> dict[str, float]:
        """Every score of answers held against rows: numbers only."""
        return self.metrics(self.judged(answers, rows))

    def details(self, answers: Sequence[Any], rows: Dataset, judged: Mapping[str, np.ndarray]) -> dict[str, Any]:  # noqa: ARG002
        """What stands behind the scores, for the report: per class, confusion matrix; `judged` as `judged` gave it."""
        return {}

    def groups(self, rows: Dataset) -> Mapping[str, Sequence[str]]:  # noqa: ARG002
        """Ways to sort rows, a name per row ("": left out), whose scores the error analysis shows; none by default."""
        return {}

    def mistakes(self, answers: Sequence[Any], rows: Dataset) -> list[Mistake]:
        """The rows whose answer is wrong, in their order.

        As it stands here, for answers with one `label` and its `probability`, held against the one answer column.
        """
        return [
            Mistake(i, gold, answer.label, answer.probability)
            for i, (gold, answer) in enumerate(zip(cells_of(rows, self.answer_columns[0]), answers, strict=True))
            if answer.label != gold
        ]

    def settings(self) -> dict[str, Any]:
        """The settings, without what was learned from rows: what a recipe says of the task."""
        fitted = members.fitted_names(type(self))
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in fitted}

    def to_json(self) -> dict[str, Any]:
        """Everything, fitted values too, for `from_json`."""
        return {"name": self.name, **asdict(self)}


def _shown(cell: Any) -> str:
    """A cell for a message, with its type."""
    return f"{str(cell)[:40]} ({type(cell).__name__})"


def from_json(values: Mapping[str, Any]) -> Task:
    """A fitted task as `Task.to_json` gave it."""
    values = dict(values)
    return members.build(find(str(values.pop("name", None))), values)


def names() -> list[str]:
    """All tasks, by file name."""
    return members.names(sys.modules[__name__])


def find(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        RequestError: for an unknown name, with the nearest one.
    """
    return members.find(sys.modules[__name__], name, Task)
