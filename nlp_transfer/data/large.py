"""Large tables: rows that memory does not hold are checked window by window, and laid out in a file that is mapped into it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow
from datasets import Dataset

from nlp_transfer.data.columns import LargeColumns, plain
from nlp_transfer.data.files import Table
from nlp_transfer.errors import RequestError
from nlp_transfer.rows import Writer
from nlp_transfer.scratch import scratch

PLACE = "place"
"""The column that remembers where in its file a row stands."""

Fault = Callable[[Any], str | None]


def usable_rows(
    table: Table, chosen: Mapping[str, str], faults: Mapping[str, Fault], bad: dict[int, str], skip: bool
) -> Dataset | None:
    """The usable rows of a large table, each with its place; None where it must be read whole.

    Args:
        table: large or not.
        chosen: from the names that columns get to the table's.
        faults: of each of them what is wrong with a cell.
        bad: places of rows that are not usable, and why; added to.
        skip: whether such rows are left out; else no rows are given where there are any.

    Raises:
        RequestError: for a file that breaks off, and where there is no room for the rows.
    """
    columns = table.columns
    if not isinstance(columns, LargeColumns) or not all(column in columns for column in chosen.values()):
        return None
    types = {name: plain(columns.types[column]) for name, column in chosen.items()}
    if any(kind is None for kind in types.values()):
        return None
    schema = pyarrow.schema([*types.items(), (PLACE, pyarrow.int64())])
    folder = scratch()
    try:
        # a file without a name: it is gone when this process is, however it ends
        with tempfile.TemporaryFile(dir=folder) as file:
            writer = Writer(file, schema)
            for first, window in columns.windows([*chosen.values()]):
                cells = {name: window[column] for name, column in chosen.items()}
                kept = _kept(first, cells, chosen, faults, bad)
                if skip or not bad:
                    found = {name: [each[i] for i in kept] for name, each in cells.items()}
                    writer.write({**found, PLACE: [first + i for i in kept]})
            return writer.mapped()
    except OSError as error:
        raise RequestError(
            f"{table.origin} is laid out in {folder}, which cannot be written: {error.strerror or error}. Name a folder on "
            "a larger disk with NLP_TRANSFER_CACHE or TMPDIR."
        ) from error


def _kept(
    first: int,
    cells: Mapping[str, list[Any]],
    chosen: Mapping[str, str],
    faults: Mapping[str, Fault],
    bad: dict[int, str],
) -> list[int]:
    """Which rows of a window are usable, by index; the others are added to the bad ones."""
    rows = len(next(iter(cells.values())))
    for name, each in cells.items():
        fault = faults[name]
        for place, cell in enumerate(each, first):
            if place not in bad and (reason := fault(cell)):
                bad[place] = f', column "{chosen[name]}": {reason}'
    return [i for i in range(rows) if first + i not in bad] if bad else list(range(rows))
