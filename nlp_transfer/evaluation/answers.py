"""Answers to the rows of a split, and the wrong ones among them: lists, or, of many rows, made again whenever asked for."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import numpy as np
import pyarrow
from datasets import Dataset

from nlp_transfer import scratch
from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.rows import cells, touched, windows
from nlp_transfer.tasks import Mistake, Task

MANY = 2**16
"""Rows whose answers are not held: each is an object of hundreds of bytes, and the outputs that it is made of have a few."""

WINDOW = 2**12
"""Rows whose answers are decoded together."""


@dataclass(frozen=True, eq=False)
class Answers(Sequence[Any]):
    """The answers that a task decodes from outputs of which each row has its own."""

    task: Task
    outputs: np.ndarray
    features: Dataset
    rows: Dataset

    def __len__(self) -> int:
        return len(self.outputs)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        chosen = range(len(self))[index]
        return self.at(chosen)[0] if isinstance(chosen, range) else self.at([chosen])[0][0]

    def __iter__(self) -> Iterator[Any]:
        for _, answers, _ in self.windows():
            yield from answers

    def windows(self) -> Iterator[tuple[int, list[Any], Dataset]]:
        """A window after the other: the number of its first row, its answers, and its rows."""
        for start in range(0, len(self), WINDOW):
            yield start, *self.at(range(start, min(start + WINDOW, len(self))))
            touched(WINDOW)

    def at(self, chosen: Sequence[int]) -> tuple[list[Any], Dataset]:
        """The answers to some rows by their numbers, and these rows."""
        rows = self.rows.select(chosen)
        outputs = self.outputs[np.array(chosen, dtype=int)]
        return self.task.decode(outputs, self.features.select(chosen), rows), rows


@dataclass(frozen=True, eq=False)
class Mistakes(Sequence[Mistake]):
    """The rows among many that were answered wrongly: which, and how sure it was; all else is found again when asked for."""

    answers: Answers
    numbers: np.ndarray
    """Of the rows (mistakes,)."""
    confidences: np.ndarray

    @classmethod
    def among(cls, answers: Answers) -> Mistakes:
        """Those that the task finds, window by window."""
        found = scratch.numbers(len(answers), np.int64), scratch.numbers(len(answers), np.float64)
        count = 0
        for start, some, rows in answers.windows():
            for mistake in answers.task.mistakes(some, rows):
                found[0][count], found[1][count] = start + mistake.row, mistake.confidence
                count += 1
        return cls(answers, *(each[:count] for each in found))

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Mistake: ...
    @overload
    def __getitem__(self, index: slice) -> list[Mistake]: ...
    def __getitem__(self, index: int | slice) -> Mistake | list[Mistake]:
        chosen = range(len(self))[index]
        return list(self.at(chosen)) if isinstance(chosen, range) else next(self.at([chosen]))

    def __iter__(self) -> Iterator[Mistake]:
        return self.at(range(len(self)))

    def at(self, chosen: Sequence[int] | np.ndarray) -> Iterator[Mistake]:
        """Some of them by their numbers, in this order."""
        for start in range(0, len(chosen), WINDOW):
            numbers = self.numbers[np.array(chosen[start : start + WINDOW], dtype=int)]
            answers, rows = self.answers.at(numbers)
            for mistake in self.answers.task.mistakes(answers, rows):
                yield mistake._replace(row=int(numbers[mistake.row]))
            touched(WINDOW)


def decoded(task: Task, outputs: np.ndarray, features: Dataset, rows: Dataset) -> Sequence[Any]:
    """One answer per row, as `Task.decode`."""
    apart = task.rows_apart and len(outputs) == len(features) == len(rows)
    if apart and len(rows) > MANY:
        return Answers(task, outputs, features, rows)
    return task.decode(outputs, features, rows)


def judged_from(task: Task, answers: Sequence[Any], rows: Dataset) -> dict[str, np.ndarray]:
    """As `Task.judged`; of many rows window by window, on the disk.

    Raises:
        ValueError: where a task gives windows arrays that do not go together.
    """
    if not isinstance(answers, Answers):
        return task.judged(answers, rows)
    found: dict[str, np.ndarray] = {}
    for start, some, its in answers.windows():
        for name, values in task.judged(some, its).items():
            if name not in found:
                found[name] = scratch.table((len(answers), *values.shape[1:]), values.dtype)
            if (values.dtype, values.shape[1:]) != (found[name].dtype, found[name].shape[1:]):
                raise ValueError(f"{task.name} judges rows by {name} of several types or shapes.")
            found[name][start : start + len(values)] = values
    return found


def mistakes_in(task: Task, answers: Sequence[Any], rows: Dataset) -> Sequence[Mistake]:
    """As `Task.mistakes`."""
    return Mistakes.among(answers) if isinstance(answers, Answers) else task.mistakes(answers, rows)


def answers_at(answers: Sequence[Any], numbers: Sequence[int]) -> list[Any]:
    """The answers to some rows by their numbers."""
    return answers.at(numbers)[0] if isinstance(answers, Answers) else [answers[i] for i in numbers]


def places_of(rows: Dataset) -> Sequence[Any] | np.ndarray:
    """Where in its file each row stands."""
    if len(rows) > MANY and pyarrow.types.is_integer(rows.data.schema.field(PLACE).type):
        return scratch.filled(cells(rows, PLACE), len(rows), np.int64)
    return list(cells(rows, PLACE))


def surest(wrong: Sequence[Mistake], count: int | None = None) -> Iterator[Mistake]:
    """Mistakes, the surest first, equally sure ones as their rows stand: all, or so many."""
    if not isinstance(wrong, Mistakes):
        yield from sorted(wrong, key=lambda mistake: -mistake.confidence)[:count]
    elif count is None:
        yield from wrong.at(np.argsort(-wrong.confidences, kind="stable"))
    else:
        yield from wrong.at(heapq.nsmallest(count, range(len(wrong)), key=lambda i: -wrong.confidences[i]))


def predictions(answers: Iterable[Any], split: Split, task: Task) -> Iterator[dict[str, Any]]:
    """One line per row: the place in its file, the answer, and the truth, so that any figure can be rebuilt."""
    given = iter(answers)
    for _, window in windows(split.rows, [PLACE, *task.answer_columns]):
        for row in window.to_pylist():
            gold = {name: row[name] for name in task.answer_columns}
            yield {
                "place": row[PLACE],
                **asdict(next(given)),
                "gold": next(iter(gold.values())) if len(gold) == 1 else gold,
            }
