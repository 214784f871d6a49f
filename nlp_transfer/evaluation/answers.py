"""Answers to the rows of a split: a list, or, where there are many, decoded again whenever they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from datasets import Dataset

from nlp_transfer.tasks import Task

MANY = 2**16
"""Rows whose answers are not held: each is an object of hundreds of bytes, and the outputs that it is made of have a few."""

WINDOW = 2**12
"""Rows whose answers are decoded together."""


@dataclass(frozen=True)
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
        return self._decoded(chosen) if isinstance(chosen, range) else self._decoded(range(chosen, chosen + 1))[0]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), WINDOW):
            yield from self._decoded(range(start, min(start + WINDOW, len(self))))

    def _decoded(self, chosen: range) -> list[Any]:
        outputs = self.outputs[np.array(chosen, dtype=int)]
        return self.task.decode(outputs, self.features.select(chosen), self.rows.select(chosen))


def decoded(task: Task, outputs: np.ndarray, features: Dataset, rows: Dataset) -> Sequence[Any]:
    """One answer per row, as `Task.decode`."""
    apart = task.rows_apart and len(outputs) == len(features) == len(rows)
    if apart and len(rows) > MANY:
        return Answers(task, outputs, features, rows)
    return task.decode(outputs, features, rows)
