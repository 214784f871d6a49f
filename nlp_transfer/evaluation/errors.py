"""Error analysis: which rows were answered wrongly, how, and how sure of it the model was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.evaluation.answers import surest
from nlp_transfer.rows import SPAN, windows
from nlp_transfer.scratch import chosen, numbers
from nlp_transfer.tasks import Mistake, Task

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
        `wrong` (how many rows), `unit` (what a place counts: lines, rows), `most_confident` (place, texts, gold, answer,
        confidence), `confusions` (gold, answer, count; where the task's answers are few), `by_length` (the task's primary
        score in quarters of the rows by characters of their texts) and `by_...` for each of the task's own ways to sort rows.
    """
    names = task.asked_columns
    shown = [
        {
            "place": split.rows[mistake.row][PLACE],
            **{name: _cut(split.rows[mistake.row][name]) for name in names},
            **mistake.said(),
        }
        for mistake in surest(mistakes, SHOWN)
    ]
    return {
        "wrong": len(mistakes),
        "unit": split.unit,
        "most_confident": shown,
        **({"confusions": confusions(mistakes)} if task.closed else {}),
        "by_length": by_length(task, judged, _characters(split, names)),
        **{f"by_{name}": by_group(task, judged, groups) for name, groups in task.groups(split.rows).items()},
    }


def by_length(task: Task, judged: Mapping[str, np.ndarray], lengths: np.ndarray) -> list[dict[str, Any]]:
    """The primary score in up to four bins of about equally many rows, from short texts to long ones.

    Args:
        task: fitted.
        judged: as `Task.judged` gave it.
        lengths: characters of each row (rows,). Rows of one length stay together, so that bins may be fewer or uneven.
    """
    counts: Counter[int] = Counter()
    for start in range(0, len(lengths), SPAN):
        each, times = np.unique(lengths[start : start + SPAN], return_counts=True)
        counts.update(dict(zip(each.tolist(), times.tolist(), strict=True)))
    occurring = sorted(counts)
    reached = np.cumsum([counts[length] for length in occurring])
    # of each quarter the longest texts: the first length by which so many rows are met
    longest = {occurring[np.searchsorted(reached, share * len(lengths))] for share in (0.25, 0.5, 0.75)} | {
        occurring[-1]
    }
    found, shortest = [], occurring[0]
    for most in sorted(longest):
        members = (lengths >= shortest) & (lengths <= most)
        score = _score(task, judged, members)
        found.append({"characters": [shortest, most], "rows": int(members.sum()), task.primary.metric: score})
        shortest = next((length for length in occurring if length > most), most)
    return found


def confusions(mistakes: Iterable[Mistake]) -> list[dict[str, Any]]:
    """Pairs of gold and answer, the most frequent first."""
    pairs = Counter((str(mistake.gold), str(mistake.answer)) for mistake in mistakes).most_common(CONFUSIONS)
    return [{"gold": gold, "answer": answer, "count": count} for (gold, answer), count in pairs]


def by_group(task: Task, judged: Mapping[str, np.ndarray], groups: Sequence[str]) -> list[dict[str, Any]]:
    """The primary score of each group of rows, the largest first; `groups` says which each row is in, "" that it is in none."""
    named, group = np.unique(np.array(groups), return_inverse=True)
    counts = np.bincount(group)
    return [
        {
            "group": str(named[i]),
            "rows": int(counts[i]),
            task.primary.metric: _score(task, judged, group == i),
        }
        for i in np.argsort(-counts, kind="stable")
        if named[i]
    ]


def _score(task: Task, judged: Mapping[str, np.ndarray], members: np.ndarray) -> float:
    """The primary score of the rows of a mask (rows,)."""
    return task.metrics({name: chosen(values, members) for name, values in judged.items()})[task.primary.metric]


def _characters(split: Split, names: Sequence[str]) -> np.ndarray:
    """Characters of all texts of each row (rows,)."""
    counts = numbers(len(split), np.int64)
    for start, window in windows(split.rows, names):
        lengths = [[len(_text(cell)) for cell in cells] for cells in window.to_pydict().values()]
        counts[start : start + window.num_rows] = np.sum(lengths, 0)
    return counts


def _text(cell: Any) -> str:
    """A text, or tokens as one."""
    return " ".join(map(str, cell)) if isinstance(cell, list) else str(cell)


def _cut(cell: Any) -> str:
    text = _text(cell)
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
