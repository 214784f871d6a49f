"""Checks: tables become rows that a task can use, or a message that names file, row and column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from nlp_transfer.data.files import Table
from nlp_transfer.errors import RequestError, RowError, did_you_mean, listing
from nlp_transfer.tasks import Task

PLACE = "place"
"""The column that remembers where in its file a row stands."""


@dataclass(frozen=True)
class Split:
    """Checked rows of one split, with the task's own column names, and where they come from."""

    rows: Dataset
    origin: str
    unit: str

    def error(self, error: RowError) -> RequestError:
        """An error about one of these rows, with the place in the file where that row stands."""
        return RequestError(f"{self.origin}, {self.unit} {self.rows[PLACE][error.row]}: {error.message}")

    def __len__(self) -> int:
        return len(self.rows)


def choose_columns(table: Table, given: Mapping[str, str], task: Task, needed: Sequence[str]) -> dict[str, str]:
    """Which column of a table is which of the task's: as the recipe says, else by its usual names.

    Args:
        table: rows as their file has them.
        given: from the task's names to the file's, for columns that the recipe maps.
        task: whose columns are wanted.
        needed: of these, the ones that must be there; others are taken along where they are.

    Raises:
        RequestError: for a name that the task or the table does not have, or a needed column that is not found.
    """
    for name in given:
        if name not in task.columns:
            raise RequestError(
                f'columns.{name}: {task.name} has no column "{name}". {did_you_mean(name, task.columns)}'
            )
    folded: dict[str, str] = {}
    for name in table.columns:
        folded.setdefault(name.strip().lower(), name)
    chosen: dict[str, str] = {}
    for name, usual in task.columns.items():
        if name in given:
            if given[name] not in table.columns:
                hint = did_you_mean(given[name], table.columns)
                raise RequestError(f'--columns.{name}: {table.origin} has no column "{given[name]}". {hint}')
            chosen[name] = given[name]
            continue
        free = [
            folded[word] for word in usual if word in folded and folded[word] not in {*given.values(), *chosen.values()}
        ]
        if free:
            chosen[name] = free[0]
        elif name in needed:
            raise RequestError(
                f"{table.origin} has no column that is known as {name} ({listing(usual)}). "
                f"There is: {listing(table.columns)}. Say which with --columns.{name} NAME."
            )
    return chosen


def checked(
    table: Table, chosen: Mapping[str, str], task: Task, skip_bad_rows: bool | None, warnings: list[str]
) -> Split:
    """The chosen columns of a table, every row usable.

    Args:
        table: rows as their file has them.
        chosen: from the task's column names to the table's.
        task: says which columns are answers; the others must hold texts.
        skip_bad_rows: leave bad rows out and count them among the warnings, instead of an error; None where nobody can ask.
        warnings: sentences for the report; added to.

    Raises:
        RequestError: for rows that cannot be used, naming the first and how many there are.
    """
    bad = dict(table.bad)
    for name, column in chosen.items():
        is_text = name not in task.answer_columns
        for place, cell in zip(table.places, table.columns[column], strict=True):
            if place not in bad and (reason := _fault(cell, is_text)):
                bad[place] = f'the cell of column "{column}" {reason}'
    kept = [i for i, place in enumerate(table.places) if place not in bad]
    if bad:
        places = sorted(bad)
        first = f"{table.origin}, {table.unit} {places[0]}: {bad[places[0]]}"
        if not skip_bad_rows:
            more = f" {len(places)} {table.unit}s are bad: {listing(places, 6)}." if len(places) > 1 else ""
            leave = ", or leave such rows out with --data.skip_bad_rows" if skip_bad_rows is not None else ""
            raise RequestError(f"{first}.{more} Correct the file{leave}.")
        warnings.append(f"{len(places)} bad rows of {table.origin} left out ({table.unit}s {listing(places, 20)}).")
        if not kept:
            raise RequestError(f"{table.origin}: every row is bad. {first}.")
    columns = {name: _uniform([table.columns[column][i] for i in kept]) for name, column in chosen.items()}
    rows = Dataset.from_dict({**columns, PLACE: [table.places[i] for i in kept]})
    return Split(rows, table.origin, table.unit)


def _fault(cell: Any, is_text: bool) -> str | None:
    """What is wrong with a cell, or None."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
        return "is empty"
    if is_text and not isinstance(cell, str):
        return f"holds {str(cell)[:40]} ({type(cell).__name__}) where a text is expected"
    if isinstance(cell, str):
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which is no character"
    if not is_text and isinstance(cell, dict):
        return "holds a JSON object where a label is expected"
    return None


def _uniform(cells: list[Any]) -> list[Any]:
    """Cells that one column can hold: numbers beside words, and those beyond 64 bits, become words."""
    kinds = {type(cell) for cell in cells}
    fit = len(kinds) <= 1 or kinds <= {int, float}
    large = int in kinds and any(isinstance(cell, int) and abs(cell) >= 2**63 for cell in cells)
    return cells if fit and not large else [str(cell) for cell in cells]
