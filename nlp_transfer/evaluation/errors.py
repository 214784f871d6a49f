"""Error analysis: which rows were answered wrongly, how, and how sure of it the model was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.tasks import Mistake, Task, column

SHOWN = 10
"""Wrong answers in the report: those the model was surest of."""

CONFUSIONS = 20
"""Pairs of gold and answer in the report: the most frequent ones."""

CHARACTERS = 300
"""Of a text in the report."""


def analysis(task: Task, judged: Mapping[str, np.ndarray], mistakes: Sequence[Mistake], split: Split) -> dict[str, Any]:
    """The errors of a split, for the report.

    Args:
        task: fitted.
        judged: as `Task.judged` gave it.
        mistakes: as `Task.mistakes` gave them.
        split: the rows.

    Returns:
        `wrong` (how many rows), `most_confident` (place, texts, gold, answer, confidence), `confusions` (gold, answer,
        count; none of numbers) and `by_length` (the task's primary score in quarters of the rows by characters of their texts).
    """
    names = task.asked_columns
    shown = [
        {
            "place": split.rows[mistake.row][PLACE],
            **{name: _cut(split.rows[mistake.row][name]) for name in names},
            **mistake.said(),
        }
        for mistake in by_confidence(mistakes)[:SHOWN]
    ]
    # numbers are hardly ever the same twice
    named = [mistake for mistake in mistakes if not isinstance(mistake.gold, float)]
    pairs = Counter((str(mistake.gold), str(mistake.answer)) for mistake in named).most_common(CONFUSIONS)
    return {
        "wrong": len(mistakes),
        "most_confident": shown,
        "confusions": [{"gold": gold, "answer": answer, "count": count} for (gold, answer), count in pairs],
        "by_length": by_length(
            task, judged, np.sum([[len(str(text)) for text in column(split.rows, name)] for name in names], 0)
        ),
    }


def by_confidence(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """The surest first; equally sure ones as their rows stand."""
    return sorted(mistakes, key=lambda mistake: -mistake.confidence)


def by_length(task: Task, judged: Mapping[str, np.ndarray], lengths: np.ndarray) -> list[dict[str, Any]]:
    """The primary score in up to four bins of about equally many rows, from short texts to long ones.

    Args:
        task: fitted.
        judged: as `Task.judged` gave it.
        lengths: characters of each row (rows,). Rows of one length stay together, so that bins may be fewer or uneven.
    """
    edges = np.unique(np.quantile(lengths, (0.25, 0.5, 0.75), method="inverted_cdf"))
    bins = np.searchsorted(edges, lengths)
    found = []
    for number in np.unique(bins):
        members = bins == number
        score = task.metrics({name: values[members] for name, values in judged.items()})[task.primary.metric]
        inside = lengths[members]
        found.append(
            {
                "characters": [int(inside.min()), int(inside.max())],
                "rows": len(inside),
                task.primary.metric: score,
            }
        )
    return found


def _cut(text: Any) -> str:
    text = str(text)
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
