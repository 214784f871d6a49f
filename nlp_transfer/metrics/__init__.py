"""Metrics: one file each, a plain function of the file's name; `load` wraps it as an `evaluate.Metric`.

scikit-learn gives the same numbers and is what the tests hold these against. A bootstrap calls a metric thousands of
times, and there scikit-learn's checks of its arguments take far longer than the sums.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import numpy as np

from nlp_transfer import members
from nlp_transfer.scratch import spans

if TYPE_CHECKING:
    import evaluate

Labels = Annotated[np.ndarray, "labels"]
"""Label ids (rows,), integers."""

Probabilities = Annotated[np.ndarray, "probabilities"]
"""Probability of every label (rows, labels)."""

Sets = Annotated[np.ndarray, "sets"]
"""Whether a row has each label (rows, labels), 0 or 1."""

Numbers = Annotated[np.ndarray, "numbers"]
"""Numbers (rows,), in any unit."""

Text = Annotated[Sequence[str], "text"]
"""One text per row, "" for none."""

Texts = Annotated[Sequence[Sequence[str]], "texts"]
"""Any number of texts per row."""


def function(name: str) -> Callable[..., float]:
    """The plain function of a metric: `(predictions, references) -> number`."""
    if name not in members.names(sys.modules[__name__]):
        raise members.RequestError(f'there is no metric "{name}". {members.did_you_mean(name, names())}')
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)


def names() -> list[str]:
    """All metrics, by file name."""
    return members.names(sys.modules[__name__])


def load(name: str) -> evaluate.Metric:
    """A metric for code that works with `evaluate`: `load("macro_f1").compute(predictions=..., references=...)`.

    Nothing is fetched and nothing is written: predictions stay in memory.
    """
    import datasets
    import evaluate

    cells = {
        "labels": datasets.Value("int64"),
        "probabilities": datasets.List(datasets.Value("float64")),
        "sets": datasets.List(datasets.Value("int64")),
        "numbers": datasets.Value("float64"),
        "text": datasets.Value("string"),
        "texts": datasets.List(datasets.Value("string")),
    }
    plain = function(name)
    kinds = get_type_hints(plain, include_extras=True)
    kinds = {key: kinds[key].__metadata__[0] for key in ("predictions", "references")}
    features = datasets.Features({key: cells[kind] for key, kind in kinds.items()})
    # texts of different counts make no array
    plain_from = list if {"text", "texts"} & set(kinds.values()) else np.asarray

    class Wrapped(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description=plain.__doc__ or "", citation="", inputs_description="", features=features
            )

        def _build_data_dir(self) -> str:
            # evaluate makes a folder in the home here, even for what it keeps in memory; homes may be read-only
            return self._data_dir_root

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            return {name: plain(plain_from(predictions), plain_from(references))}

    return Wrapped(module_name=name, keep_in_memory=True)


def most_probable(probabilities: Probabilities) -> Labels:
    """The label with the highest probability of each row, in as few bytes as it fits."""
    found = np.empty(len(probabilities), np.min_scalar_type(probabilities.shape[1] - 1))
    for some, room in spans(probabilities, found):
        room[:] = some.argmax(1)
    return found


def confusion(predictions: Labels, references: Labels) -> np.ndarray:
    """Counts (labels, labels): true labels down, predicted across."""
    least = min(0, int(predictions.min()), int(references.min()))
    size = int(max(predictions.max(), references.max())) + 1 - least
    counts = np.zeros(size * size, np.int64)
    for answered, true in spans(predictions, references):
        cells = (true.astype(np.int64, copy=False) - least) * size + (answered.astype(np.int64, copy=False) - least)
        counts += np.bincount(cells, minlength=size * size)
    return counts.reshape(size, size)


def f1_by_label(predictions: Labels, references: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1 of every label, whether it occurs at all (true or predicted), and how many rows truly have it."""
    table = confusion(predictions, references)
    support, both = table.sum(1), table.sum(1) + table.sum(0)
    return 2 * np.diag(table) / np.maximum(both, 1), both > 0, support


def hits(predictions: Sets, references: Sets) -> tuple[np.ndarray, np.ndarray]:
    """For every label how many rows have it both truly and by prediction, and the sum of how many have it each way."""
    both = sum((answered * true).sum(0) for answered, true in spans(predictions, references))
    return np.asarray(both), predictions.sum(0) + references.sum(0)
