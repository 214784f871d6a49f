"""Splits of checked rows, whatever the source brought: missing ones are cut from the training rows by the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from datasets import Dataset

from nlp_transfer.data.checks import PLACE, Split, checked
from nlp_transfer.data.choices import choose_columns, columns_of_all, has, held
from nlp_transfer.data.cuts import cut
from nlp_transfer.data.files import Table
from nlp_transfer.data.findings import Finding, Place, plural, sentences, some
from nlp_transfer.data.inspection import inspected
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.sources import single, tables
from nlp_transfer.errors import RequestError, RowError
from nlp_transfer.quiet import quiet
from nlp_transfer.rows import cells, windows
from nlp_transfer.tasks import Task

NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Data:
    """Everything that was read: three splits (two where nobody wants a test), the task that fits them, and what a reader of
    the report must know."""

    task: Task
    splits: dict[str, Split]
    columns: dict[str, str]
    notes: list[str]
    warnings: list[Finding]
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    """By split, once it is encoded: its features, its tokens, and how many of these are not read."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all cells of all rows in order: equal data, equal fingerprint, wherever the files lay."""
        return fingerprint([split.rows for split in self.splits.values()])

    def report(self) -> dict[str, Any]:
        """The report's words about the data."""
        return {
            "rows": {name: len(split) for name, split in self.splits.items()},
            "origins": {name: split.origin for name, split in self.splits.items()},
            "columns": self.columns,
            "notes": self.notes,
            "warnings": [finding.to_json() for finding in self.warnings],
            "tokens": self.tokens,
            "fingerprint": self.fingerprint,
        }


def load(settings: DataSettings, columns: Mapping[str, str], task: Task, seed: int) -> Data:
    """Read, check and split the rows of a recipe, and fit its task to the training rows.

    Raises:
        RequestError: for anything that is wrong with the data, naming file, row and column.
    """
    with quiet():
        return _load(settings, columns, task, seed)


def _load(settings: DataSettings, columns: Mapping[str, str], task: Task, seed: int) -> Data:
    found = tables(settings)
    warnings: list[Finding] = []
    needed = [*task.asked_columns, *task.answer_columns]
    first = found.pop("train")
    chosen = columns_of_all([first, *found.values()], columns, task, needed)
    train = checked(first, held(first, chosen, task), task, settings.skip_bad_rows, warnings)
    task = _named(train, task.fit)
    splits = {"train": read(task, train, warnings)}
    for name, table in found.items():
        # by the fitted task: what it cannot read is a bad row too
        rows = checked(table, held(table, chosen, task), task, settings.skip_bad_rows, warnings)
        splits[name] = read(task, rows, warnings)
    notes = [f"column {column!r} read as {name}." for name, column in chosen.items()] + task.notes()
    whole = len(splits["train"])
    for name, fraction in (("test", settings.test_fraction), ("validation", settings.validation_fraction)):
        if name not in splits and fraction:
            share = fraction * whole / len(splits["train"])
            splits["train"], splits[name] = cut(splits["train"], task, share, seed)
            notes.append(f"{name}: {len(splits[name])} rows cut from {splits['train'].origin} by seed {seed}.")
    if settings.limit is not None and settings.limit < len(splits["train"]):
        # what is cut off goes, so that no label loses its last row here either
        surplus = len(splits["train"]) - settings.limit
        if settings.limit < (least := len(set(task.strata(splits["train"].rows)))):
            raise RequestError(
                f"--data.limit is {settings.limit}, fewer rows than classes: training needs a row of each of the {least}."
            )
        kept, left = cut(splits["train"], task, surplus / len(splits["train"]), seed, exact=surplus)
        notes.append(f"train: {len(kept)} of {len(kept) + len(left)} rows, drawn by seed {seed}.")
        splits["train"] = kept
    if len(splits["train"]) < whole:
        task = _named(splits["train"], task.measured)
    warnings += inspected(task, splits)
    return Data(task, {name: splits[name] for name in NAMES if name in splits}, chosen, notes, warnings)


def load_one(
    source: Any,
    task: Task,
    answers: bool,
    warnings: list[str],
    columns: Mapping[str, str],
    remembered: Mapping[str, str],
) -> Split:
    """The rows of one source for a task that is already fitted: to judge (with answers) or to predict.

    Args:
        source: one split, as a recipe's `data.source`.
        task: fitted.
        answers: whether the rows must have answers.
        warnings: sentences for the reader; added to.
        columns: from the task's column names to the source's; must hold.
        remembered: the same as it was in training; holds where the source has these columns.

    Raises:
        RequestError: as `load`.
    """
    table = single(source)
    chosen = likely_columns(table, task, answers, columns, remembered)
    found: list[Finding] = []
    split = checked(table, chosen, task, skip_bad_rows=None, warnings=found)
    if answers:
        with quiet():
            split = read(task, split, found)
    warnings += sentences(found)
    return split


def likely_columns(
    table: Table, task: Task, answers: bool, columns: Mapping[str, str], remembered: Mapping[str, str]
) -> dict[str, str]:
    """From the names of the columns that a fitted task needs to a table's; all but `table` as in `load_one`."""
    read = [*task.asked_columns, *((*task.answer_columns, *task.further_columns) if answers else ())]
    needed = [name for name in read if name not in task.further_columns]
    likely = {
        name: column
        for name, column in remembered.items()
        if name in read and has(table, column, spread=name in task.spread_columns)
    }
    chosen = choose_columns(table, {**likely, **columns}, task, needed)
    return {name: chosen[name] for name in read if name in chosen}


def read(task: Task, split: Split, warnings: list[Finding]) -> Split:
    """A split as the fitted task judges it; rows that the task leaves out are counted among the warnings."""
    try:
        for kind, message, repaired in task.repairs(split.rows):
            places = (Place(split.origin, f"{split.unit} {split.rows[PLACE][row]}") for row in repaired)
            warnings.append(Finding(kind, message, len(repaired), some(places)))
        rows = task.read(split.rows)
    except RowError as error:
        raise split.error(error) from error
    if left := len(split) - len(rows):
        places = (Place(split.origin, f"{split.unit} {place}") for place in _gone(split.rows, rows))
        message = f"{left} of {plural(len(split))} of {split.origin} left out by the task's rule."
        warnings.append(Finding("left_out", message, left, some(places)))
    if not len(rows):
        raise RequestError(f"{split.origin}: the task's rule leaves out every row.")
    return Split(rows, split.origin, split.unit)


def _gone(before: Dataset, after: Dataset) -> Iterator[int]:
    """The places of rows that are no longer there; the others are in their order."""
    left = cells(after, PLACE)
    kept = next(left, None)
    for place in cells(before, PLACE):
        if place == kept:
            kept = next(left, None)
        else:
            yield place


def _named(split: Split, learned: Callable[[Dataset], Task]) -> Task:
    """What a task learns from a split; what is wrong with that is said with the split's name."""
    try:
        return learned(split.rows)
    except RowError as error:
        raise split.error(error) from error
    except RequestError as error:
        raise RequestError(f"{split.origin}: {error}") from error


def fingerprint(splits: Sequence[Dataset]) -> str:
    """A hash of all cells of all rows in order: equal data, equal fingerprint, wherever the files lay."""
    digest = hashlib.sha256()
    for rows in splits:
        for name in sorted(set(rows.column_names) - {PLACE}):
            digest.update(f"\x1e{name}\x1e".encode())
            for _, window in windows(rows, [name]):
                digest.update("".join([f"{cell}\x1f" for cell in window.column(0).to_pylist()]).encode())
    return digest.hexdigest()
