"""Files of rows: CSV, TSV, JSON, JSON lines, Parquet and CoNLL, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow

from nlp_transfer.data import parquet
from nlp_transfer.data.conll import CONLL
from nlp_transfer.data.decoding import opened
from nlp_transfer.data.records import records
from nlp_transfer.environment import homely
from nlp_transfer.errors import RequestError, listing

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", *CONLL)

CONLL_ENDING = f"A CoNLL file needs the ending {CONLL[0]}."
"""What those must know who have one under its usual name: train.txt, eng.train."""


@dataclass
class Table:
    """Rows as they stand in their file: columns of cells, and for each row the place where it stands."""

    origin: str
    unit: str
    columns: Mapping[str, list[Any]]
    """Of a large table `LargeColumns`, which reads them when they are asked for."""
    places: Sequence[int]
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Rows that could not be read at all: where, and why."""
    types: Mapping[str, pyarrow.DataType] = field(default_factory=dict)
    """Of the columns, where the file says them."""

    def __len__(self) -> int:
        return len(self.places)


def form(path: Path) -> str | None:
    """The suffix that says how a file is written, without a `.gz`; None where it is none of ours."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def known_form(path: Path) -> str:
    """The same, where it must be one of ours.

    Raises:
        RequestError: for an ending that says nothing.
    """
    if (kind := form(path)) is None:
        endings = listing(SUFFIXES)
        raise RequestError(
            f"{path} has an ending that says nothing about its form: expected {endings}, or .gz. {CONLL_ENDING}"
        )
    return kind


def unit(kind: str) -> str:
    """What places count in files of this form."""
    return "row" if kind in (".json", ".parquet") else "line"


def read(path: Path) -> Table:
    """The rows of one file.

    Raises:
        RequestError: for a file that is missing, unreadable, of an unknown form, or empty.
    """
    if not path.is_file():
        raise RequestError(f"{path} does not exist or is no file.")
    kind = known_form(path)
    try:
        with opened(path) as (content, _):
            origin = homely(path)
            table = _parquet(origin, path, content) if kind == ".parquet" else _texts(origin, kind, content)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not table.places:
        raise RequestError(f"{path} holds no rows.")
    return table


def _texts(origin: str, kind: str, content: BinaryIO) -> Table:
    bad: list[tuple[int, str]] = []
    columns: dict[str, list[Any]] = {}
    places: list[int] = []
    for place, record in records(origin, kind, content, bad):
        for name in record:
            if name not in columns:
                columns[name] = [None] * len(places)
        for name, cells in columns.items():
            cells.append(record.get(name))
        places.append(place)
    if bad and not places:
        raise unreadable(origin, unit(kind), bad)
    return Table(origin, unit(kind), columns, places, bad)


def unreadable(origin: str, unit: str, bad: Sequence[tuple[int, str]]) -> RequestError:
    """That a file holds bad rows alone."""
    place, reason = bad[0]
    return RequestError(f"{origin}, {unit} {place}: {reason}. No row of this file can be read.")


def _parquet(origin: str, path: Path, content: BinaryIO) -> Table:
    large = None
    if not isinstance(content, gzip.GzipFile) and os.fstat(content.fileno()).st_size > parquet.LEAST:
        file = parquet.opened(origin, content)
        large = parquet.Columns(origin, path, file) if parquet.are_large([file]) else None
        content.seek(0)
    if large is not None:
        return Table(origin, unit(".parquet"), large, range(1, large.rows + 1), types=large.types)
    file = parquet.opened(origin, pyarrow.BufferReader(content.read()))
    with parquet.refused(origin):
        table = file.read()
    columns = {name: parquet.cells(table.column(name)) for name in table.column_names}
    types = dict(zip(table.column_names, table.schema.types, strict=True))
    return Table(origin, unit(".parquet"), columns, list(range(1, table.num_rows + 1)), types=types)
