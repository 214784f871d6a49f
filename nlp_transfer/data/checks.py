"""Checks: tables become rows that a task can use, or a message that names file, row and column."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from datasets import Dataset

from nlp_transfer.data.files import Table, form
from nlp_transfer.data.findings import Finding, Place, plural
from nlp_transfer.data.large import PLACE as PLACE
from nlp_transfer.data.large import usable_rows
from nlp_transfer.errors import RequestError, RowError, did_you_mean, listing, nearest
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


def choose_columns(
    table: Table, given: Mapping[str, str], task: Task, needed: Sequence[str], also: Sequence[str] = ()
) -> dict[str, str]:
    """Which column of a table is which of the task's: as the recipe says, else by its usual names.

    Args:
        table: rows as their file has them.
        given: from the task's names to the file's, for columns that the recipe maps.
        task: whose columns are wanted.
        needed: of these, the ones that must be there; others are taken along where they are.
        also: of the optional ones, those that are looked for.

    Raises:
        RequestError: for a name that the task or the table does not have, or a needed column that is not found.
    """
    for name in given:
        if name not in task.columns:
            raise RequestError(
                f'columns.{name}: {task.name} has no column "{name}". {did_you_mean(name, task.columns)}'
            )
        _refuse_absent(table, name, given[name], spread=name in task.spread_columns)
    by_column: dict[str, str] = {}
    for name, column in given.items():
        if (other := by_column.setdefault(column, name)) != name:
            raise RequestError(f'--columns.{other} and --columns.{name} both name "{column}": expected two columns.')
    folded: dict[str, str] = {}
    for name in table.columns:
        folded.setdefault(name.strip().lower(), name)
    chosen: dict[str, str] = {}
    together = _together(folded, given, task, [*needed, *also])
    for name, usual in task.columns.items():
        if name in given:
            chosen[name] = given[name]
            continue
        if name in together:
            chosen[name] = together[name]
            continue
        if name in task.optional_columns and name not in needed:
            continue
        free = [
            folded[word] for word in usual if word in folded and folded[word] not in {*given.values(), *chosen.values()}
        ]
        if free:
            chosen[name] = free[0]
        elif name in needed:
            raise RequestError(
                f"{table.origin} has no column that is known as {name}. {_missing(table, name, usual, task)}"
            )
    return chosen


def _refuse_absent(table: Table, name: str, column: str, spread: bool) -> None:
    """Refuse a column that a table does not have, or the first of several that are named with commas."""
    if column in table.columns:
        return
    names = parts(column) if spread else [column]
    if not all(names):
        raise RequestError(
            f'--columns.{name}: "{column}" has a comma with no name beside it: expected names such as a,b,c.'
        )
    for i, each in enumerate(names):
        if each not in table.columns:
            hint = did_you_mean(each, table.columns)
            raise RequestError(f'--columns.{name}: {table.origin} has no column "{each}". {hint}')
        if each in names[:i]:
            raise RequestError(f'--columns.{name}: "{column}" names "{each}" twice: expected each column once.')


def _together(folded: Mapping[str, str], given: Mapping[str, str], task: Task, wanted: Sequence[str]) -> dict[str, str]:
    """Columns that are known together, by the task's names: the first such group that a table has whole.

    Who names a column that is needed says what is meant; optional ones beside it are then not looked for.
    """
    for group in task.known_together:
        named = given.keys() & group.keys()
        if named <= {*task.optional_columns} and group.keys() <= {*wanted}:
            found = {name: folded.get(word, "") for name, word in group.items()}
            if all(found.values()) and all(given[name] == found[name] for name in named):
                return found
    return {}


def has(table: Table, column: str, spread: bool) -> bool:
    """Whether a table has a column, or all of several that are named with commas where that is allowed."""
    return column in table.columns or (spread and all(name in table.columns for name in parts(column)))


def parts(column: str) -> list[str]:
    """The columns over which one is spread."""
    return [name.strip() for name in column.split(",")]


def _cells(table: Table, column: str) -> list[Any]:
    """A column's cells; of one that is spread, dicts of texts by the names of its parts."""
    if column in table.columns:
        return table.columns[column]
    names = parts(column)
    texts = [[None if cell is None else str(cell) for cell in table.columns[name]] for name in names]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*texts, strict=True)]


def same_columns(table: Table, chosen: Mapping[str, str], other: str, task: Task) -> None:
    """See that a table has the columns that were chosen in another.

    Raises:
        RequestError: for the first that it lacks.
    """
    for name, column in chosen.items():
        if not has(table, column, spread=name in task.spread_columns):
            raise RequestError(
                f'{table.origin} has no column "{column}", which is the {name} of {other}. '
                f"{did_you_mean(column, table.columns)} Give the column one name in all files."
            )


def columns_of_all(
    tables: Sequence[Table], given: Mapping[str, str], task: Task, needed: Sequence[str]
) -> dict[str, str]:
    """Which columns are which of the task's in several tables: as in the first, and the further ones that any of them has.

    Raises:
        RequestError: as `choose_columns` and `same_columns`.
    """
    first, *others = tables
    chosen = choose_columns(first, given, task, needed, also=task.optional_columns)
    required = {name: column for name, column in chosen.items() if name not in task.further_columns}
    for table in others:
        same_columns(table, required, first.origin, task)
        for name, column in choose_columns(table, {**required, **given}, task, ()).items():
            known = chosen.setdefault(name, column)
            same_columns(table, {name: known}, next(each.origin for each in tables if has(each, known, True)), task)
    return chosen


def held(table: Table, chosen: Mapping[str, str], task: Task) -> dict[str, str]:
    """Those of the chosen columns that a table has: further ones it may lack."""
    return {
        name: column for name, column in chosen.items() if name not in task.further_columns or column in table.columns
    }


def _missing(table: Table, name: str, usual: Sequence[str], task: Task) -> str:
    """What to do where no column has a usual name: the nearest one, or all there are."""
    near = nearest(usual, table.columns)
    hint = f'Did you mean column "{near}"? ' if near else ""
    several = (
        f", or --columns.{name} A,B,C where each of them has a column of 0 and 1" if name in task.spread_columns else ""
    )
    first_line = form(Path(table.origin)) in (".csv", ".tsv") and not near
    return (
        f"{hint}Say which with --columns.{name} {near or 'NAME'}{several}. There is: {listing(table.columns)}. "
        f"Usual names are {listing(usual)}.{' The first line of the file must name its columns.' if first_line else ''}"
    )


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
    each = tuple(Place(table.origin, f"{table.unit} {place}{bad[place]}") for place in places)
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
