"""Checks: tables become rows that a task can use, or a message that names file, row and column."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow
from datasets import Dataset

from nlp_transfer.data.choices import parts
from nlp_transfer.data.files import Table
from nlp_transfer.data.findings import Finding, Place, plural
from nlp_transfer.data.large import PLACE as PLACE
from nlp_transfer.data.large import usable_rows
from nlp_transfer.errors import RequestError, RowError, listing
from nlp_transfer.tasks import Task


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


def _cells(table: Table, column: str) -> list[Any]:
    """A column's cells; of one that is spread, dicts of texts by the names of its parts."""
    if column in table.columns:
        return table.columns[column]
    names = parts(column)
    texts = [[None if cell is None else str(cell) for cell in table.columns[name]] for name in names]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*texts, strict=True)]


def checked(
    table: Table, chosen: Mapping[str, str], task: Task, skip_bad_rows: bool | None, warnings: list[Finding]
) -> Split:
    """The chosen columns of a table, every row usable.

    Args:
        table: rows as their file has them.
        chosen: from the task's column names to the table's.
        task: says what a cell may hold; once it is fitted, which answers there are.
        skip_bad_rows: leave bad rows out and list them among the warnings, instead of an error; None where nobody can ask.
        warnings: findings for the report; added to.

    Raises:
        RequestError: for rows that cannot be used, naming the first and how many there are.
    """
    bad = {place: f": {reason}" for place, reason in table.bad}
    faults = {name: _remembering(task, name) for name in chosen}
    if task.rows_apart and (rows := usable_rows(table, chosen, faults, bad, skip=bool(skip_bad_rows))) is not None:
        _refuse_or_tell(table, bad, len(rows), skip_bad_rows, warnings)
        return Split(rows, table.origin, table.unit)
    cells = {name: _cells(table, column) for name, column in chosen.items()}
    for name, column in chosen.items():
        fault = faults[name]
        for place, cell in zip(table.places, cells[name], strict=True):
            if place not in bad and (reason := fault(cell)):
                bad[place] = f', column "{column}": {reason}'
    kept = [i for i, place in enumerate(table.places) if place not in bad]
    found = task.faults({name: [cells[name][i] for i in kept] for name in chosen})
    if found:
        bad |= {table.places[kept[i]]: f', column "{chosen[name]}": {reason}' for i, (name, reason) in found.items()}
        kept = [i for row, i in enumerate(kept) if row not in found]
    _refuse_or_tell(table, bad, len(kept), skip_bad_rows, warnings)
    fitting = task.uniform({name: [cells[name][i] for i in kept] for name in chosen})
    columns = {name: _uniform(list(each)) for name, each in fitting.items()}
    places = [table.places[i] for i in kept]
    try:
        rows = Dataset.from_dict({**columns, PLACE: places})
    except (pyarrow.ArrowException, OverflowError) as error:
        raise RequestError(f"{table.origin}{_odd_one(columns, places, table.unit, chosen, error)}") from error
    return Split(rows, table.origin, table.unit)


def _refuse_or_tell(
    table: Table, bad: Mapping[int, str], kept: int, skip_bad_rows: bool | None, warnings: list[Finding]
) -> None:
    """Rows that cannot be used are an error, or a warning; `checked` has the arguments, `kept` is how many can."""
    if not bad:
        return
    places = sorted(bad)
    first = f"{table.origin}, {table.unit} {places[0]}{bad[places[0]].rstrip('.')}"
    if not skip_bad_rows:
        more = f" {len(places)} {table.unit}s are bad: {listing(places, 6)}." if len(places) > 1 else ""
        leave = ", or leave such rows out with --data.skip_bad_rows true" if skip_bad_rows is not None else ""
        raise RequestError(f"{first}.{more} Correct the file{leave}.")
    if not kept:
        raise RequestError(f"{table.origin}: every row is bad. {first}.")
    message = f"{plural(len(places), 'bad row')} of {table.origin} left out."
    each = tuple(Place(table.origin, f"{table.unit} {place}", bad[place].lstrip(":, ")) for place in places)
    warnings.append(Finding("bad_rows", message, len(places), each))


def _odd_one(
    columns: Mapping[str, list[Any]], places: Sequence[int], unit: str, chosen: Mapping[str, str], error: Exception
) -> str:
    """Where a cell is of another kind than the first of its column, which no table can hold."""
    for name, cells in columns.items():
        try:
            pyarrow.array(cells)
        except (pyarrow.ArrowException, OverflowError):
            before, first = next((place, cell) for place, cell in zip(places, cells, strict=True) if cell is not None)
            for place, cell in zip(places, cells, strict=True):
                try:
                    pyarrow.array([first, cell])
                except (pyarrow.ArrowException, OverflowError):
                    one, other = type(first).__name__, type(cell).__name__
                    kinds = f"a {other}, where {unit} {before} has a {one}"
                    if one == other:
                        kinds = f"a {one} with values of another kind than in that of {unit} {before}"
                    return f', {unit} {place}, column "{chosen[name]}": {kinds}. Write both in one form.'
    return f": {listing(chosen.values())} hold cells of different kinds: {str(error).splitlines()[0]}."


def _remembering(task: Task, name: str) -> Callable[[Any], str | None]:
    """What is wrong with cells of a column, remembered for answers, of which there are few."""
    remembered = lru_cache(maxsize=10_000, typed=True)(partial(task.fault, name))
    repeats = name in task.answer_columns

    def fault(cell: Any) -> str | None:
        plain = repeats and isinstance(cell, str | int | float)
        return (remembered(cell) if plain else task.fault(name, cell)) or _fault(cell)

    return fault


def _fault(cell: Any) -> str | None:
    """What no file of ours can hold, whatever the task."""
    if isinstance(cell, list | dict):
        inside = [*cell, *cell.values()] if isinstance(cell, dict) else cell
        return next((fault for inner in inside if (fault := _fault(inner))), None)
    if isinstance(cell, str):
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError:
            return "half of a surrogate pair, which is no character"
    return None


def _uniform(cells: list[Any]) -> list[Any]:
    """Cells that one column can hold: numbers beside words, and those beyond 64 bits, become words; in lists too."""
    kinds = {type(cell) for cell in cells} - {type(None)}
    if kinds == {list}:
        inner = [word for cell in cells for word in cell or ()]
        if len({type(word) for word in inner}) > 1 and not any(isinstance(word, list | dict) for word in inner):
            ends = np.cumsum([0, *(len(cell or ()) for cell in cells)])
            uniform = _uniform(inner)
            return [uniform[start:end] for start, end in itertools.pairwise(ends)]
    fit = len(kinds) <= 1 or kinds <= {int, float} or list in kinds
    large = int in kinds and any(isinstance(cell, int) and abs(cell) >= 2**63 for cell in cells)
    return cells if fit and not large else [cell if cell is None else str(cell) for cell in cells]
