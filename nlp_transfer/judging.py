"""Judging: runs held against the same rows, side by side, and the rows that one of them answers wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nlp_transfer.configurations import Pin
from nlp_transfer.data import writers
from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.data.sources import single
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.evaluation.answers import answers_at, surest
from nlp_transfer.rows import cells
from nlp_transfer.runs import BATCH, Judgement, load_run
from nlp_transfer.tasks import Mistake, Task

PARTS = ("scores", "intervals", "details", "warnings", "tokens")
"""What a file of scores says of a run."""

TOGETHER = 2**16
"""Wrong rows that are written together."""


def evaluate_runs(
    runs: Sequence[str | Path],
    source: Any,
    columns: Mapping[str, str] | None = None,
    batch_size: int = BATCH,
    precision: str = "fp32",
    trust_remote_code: str | Pin | None = None,
) -> dict[str, Judgement]:
    """Scores of several runs on the same rows, by the runs' names as they were given.

    One model is in memory at a time. Intervals are of each run alone; they do not say whether a difference is chance.

    Args:
        runs: folders, or ids of the Hub.
        source: rows with answers, as `Run.evaluate` takes them; read once.
        columns: as in `Run.evaluate`.
        batch_size: rows of the longest texts that a model reads at once.
        precision: as in `Run.predict`.
        trust_remote_code: as in `load_run`.

    Raises:
        RequestError: for rows that cannot be judged, and for runs of other tasks, of other labels, or that read the
            answers of these rows otherwise.
    """
    names = [str(run) for run in runs]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise RequestError(f"{listing(sorted(repeated))} is named twice.")
    tasks = [load_run(name).task for name in names]
    for name, task in zip(names, tasks, strict=True):
        _refuse_other_tasks(names[0], tasks[0], name, task)
    table = single(source)
    found: dict[str, Judgement] = {}
    first: Split | None = None
    for name in names:
        run = load_run(name, trust_remote_code)  # here, so that the model before it can go
        split, warnings = run.read(table, columns)
        first = first or split
        _refuse_other_answers(names[0], first, name, split, run.task)
        found[name] = run.judge_read(split, warnings, batch_size, precision)
    return found


def scores_file(judgements: Mapping[str, Judgement], source: str) -> dict[str, Any]:
    """What is written of judgements: of one run its parts, of several the parts of each under its name."""
    written = {name: {part: getattr(each, part) for part in PARTS} for name, each in judgements.items()}
    return next(iter(written.values())) if len(written) == 1 else {"data": source, "runs": written}


def write_errors(judgement: Judgement, source: Any, target: Path) -> int:
    """Write the rows that were answered wrongly, the surest first; gives their number.

    They have all columns of their file, their `place` in it, `gold` (the true answer as the task reads it) and the answer's
    columns; of these, one whose name the file has already is called `predicted_...`.

    Args:
        judgement: the answers.
        source: the rows that were judged; as a table they are not read again.
        target: a file, in a form that `predict_file` writes.

    Raises:
        RequestError: where nothing can be written.
    """
    kind = writers.check(target)
    table = single(source)
    places = table.places
    rows = {place: i for i, place in enumerate(places)} if not isinstance(places, range) else None
    whole = dict(table.columns)  # a large table reads a column whenever it is asked for it
    known = [answer.cells() for answer in judgement.answers[:1]]
    renamed = writers.beside(table.columns, ["place", "gold", *known[0]])

    def record(mistake: Mistake, answer: Any) -> dict[str, Any]:
        place = judgement.places[mistake.row]
        place = int(place) if isinstance(place, np.integer) else place  # as JSON knows it
        number = places.index(place) if rows is None else rows[place]
        row = {name: column[number] for name, column in whole.items()}
        added = {"place": place, "gold": mistake.gold, **answer.cells()}
        return {**row, **{renamed[name]: cell for name, cell in added.items()}}

    wrong = surest(judgement.mistakes)
    with writers.writing(target, kind, [*table.columns, *renamed.values()], table.types) as write:
        while some := list(islice(wrong, TOGETHER)):
            answers = answers_at(judgement.answers, [mistake.row for mistake in some])
            write([record(*each) for each in zip(some, answers, strict=True)])
    return len(judgement.mistakes)


def _refuse_other_tasks(first: str, its: Task, other: str, task: Task) -> None:
    if task.name != its.name:
        raise RequestError(
            f"{first} is a run of {its.name} and {other} one of {task.name}: judge them apart, since their scores do "
            "not compare."
        )
    labels, others = _labels(its), _labels(task)
    if labels != others:
        raise RequestError(
            f"{first} and {other} know other labels ({listing(sorted(labels))}; {listing(sorted(others))}): judge them "
            "apart, since their scores do not compare."
        )


def _labels(task: Task) -> set[str]:
    """The labels of a task's head, whatever their order; none where it has none."""
    return set(task.head()[1].get("id2label", {}).values())


def _refuse_other_answers(first: str, its: Split, other: str, split: Split, task: Task) -> None:
    names = [PLACE, *task.answer_columns]
    ours, theirs = (zip(*(cells(each.rows, name) for name in names), strict=True) for each in (its, split))
    for mine, yours in zip(ours, theirs, strict=False):
        if [*map(_unordered, mine)] != [*map(_unordered, yours)]:
            raise RequestError(
                f"{its.origin}, {its.unit} {min(mine[0], yours[0])}: {first} and {other} read its answer otherwise; "
                "judge them apart."
            )
    if len(its) != len(split):
        raise RequestError(
            f"{its.origin}: {first} judges {len(its)} of its rows and {other} {len(split)}: judge them apart."
        )


def _unordered(cell: Any) -> Any:
    """A cell whose labels each task lists in its own order."""
    return sorted(cell) if isinstance(cell, list) and all(isinstance(each, str) for each in cell) else cell


def side_by_side(judgements: Mapping[str, Judgement], title: str) -> str:
    """A table for a terminal: a line per score, a column per run."""
    width = max(30, *(len(name) + 2 for name in judgements))
    lines = [
        f"{title}, 95 % intervals in brackets:",
        " " * 30 + "".join(f"{name:<{width}}" for name in judgements).rstrip(),
    ]
    for score in next(iter(judgements.values())).scores:
        told = []
        for judgement in judgements.values():
            low, high = judgement.intervals[score]
            told.append(f"{judgement.scores[score]:.4f} ({low:.4f} to {high:.4f})".ljust(width))
        lines.append(f"  {score.replace('_', ' '):<28}{''.join(told)}".rstrip())
    return "\n".join(lines)
