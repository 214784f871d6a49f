"""Choices: which column of a table is which of a task's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nlp_transfer.data.files import Table, form
from nlp_transfer.errors import RequestError, did_you_mean, listing, nearest
from nlp_transfer.tasks import Task


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
    for name in sorted(table.columns, key=lambda column: column != column.strip().lower()):  # exact names first
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
