"""Files of rows: CSV, TSV, JSON, JSON lines and Parquet, plain or compressed with gzip."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from nlp_transfer.data.decoding import decoded, opened
from nlp_transfer.errors import RequestError, listing

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")

Record = tuple[int, dict[str, Any]]
"""The number of the line (or row) where a record begins, and its cells."""


@dataclass
class Table:
    """Rows as they stand in their file: columns of cells, and for each row the place where it stands."""

    origin: str
    unit: str
    columns: dict[str, list[Any]]
    places: list[int]
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Rows that could not be read at all: where, and why."""

    def __len__(self) -> int:
        return len(self.places)


def form(path: Path) -> str | None:
    """The suffix that says how a file is written, without a `.gz`; None where it is none of ours."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def read(path: Path) -> Table:
    """The rows of one file.

    Raises:
        RequestError: for a file that is missing, unreadable, of an unknown form, or empty.
    """
    if not path.is_file():
        raise RequestError(f"{path} does not exist or is no file.")
    kind = form(path)
    if kind is None:
        raise RequestError(
            f"{path} has an ending that says nothing about its form: expected {listing(SUFFIXES)}, or .gz."
        )
    try:
        with opened(path) as (content, _):
            table = _parquet(path, content.read()) if kind == ".parquet" else _table(str(path), kind, content)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not table.places:
        raise RequestError(f"{path} holds no rows.")
    return table


def unit(kind: str) -> str:
    """What places count in files of this form."""
    return "row" if kind in (".json", ".parquet") else "line"


def records(origin: str, kind: str, content: BinaryIO, bad: list[tuple[int, str]]) -> Iterator[Record]:
    """The records of a text file, one after another, each with its place; of a `.json` file only once it is read whole.

    Args:
        origin: what messages call the file.
        kind: its form, as `form` gives it; not Parquet.
        content: its bytes.
        bad: rows that cannot be read, with their places; added to.

    Raises:
        RequestError: for a file that is empty, of an unknown encoding, or broken.
    """
    # in JSON lines a text may hold other line separators
    with decoded(origin, content, newline="\n" if kind in (".jsonl", ".ndjson") else "") as text:
        head = []
        for line in text:
            head.append(line)
            if line.strip():
                break
        else:
            raise RequestError(f"{origin} is empty.")
        lines = itertools.chain(head, text)
        if kind in (".csv", ".tsv"):
            # spreadsheets of many countries write semicolons into a .csv
            marks = "\t" if kind == ".tsv" else ",;\t"
            yield from _csv(origin, lines, max(marks, key=lambda mark: (head[-1].count(mark), mark == ",")), bad)
        elif kind == ".json":
            yield from _json(origin, "".join(lines), bad)
        else:
            yield from _json_lines(lines, bad)


def _table(origin: str, kind: str, content: BinaryIO) -> Table:
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
        raise RequestError(f"{origin}, {unit(kind)} {bad[0][0]}: {bad[0][1]}. No row of this file can be read.")
    return Table(origin, unit(kind), columns, places, bad)


def _csv(origin: str, lines: Iterable[str], delimiter: str, bad: list[tuple[int, str]]) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            place, line = line, reader.line_num + 1
            if not cells:
                continue
            if names is None:
                names = [name.strip() for name in cells]
                if repeated := {name for name in names if names.count(name) > 1}:
                    raise RequestError(f"{origin}, line {place}: the header names {listing(sorted(repeated))} twice.")
            elif len(cells) != len(names):
                bad.append((place, f"{len(cells)} cells where the header has {len(names)}"))
            else:
                yield place, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        reason = "a quote is opened and never closed" if "unexpected end of data" in str(error) else str(error)
        raise RequestError(f"{origin}, line {line}: {reason}.") from error


def _json(origin: str, text: str, bad: list[tuple[int, str]]) -> Iterator[Record]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        hint = " For one object per line, name the file .jsonl." if error.msg == "Extra data" else ""
        raise RequestError(f"{origin}, line {error.lineno}: broken JSON: {error.msg}.{hint}") from error
    except ValueError as error:  # a number of thousands of digits
        raise RequestError(f"{origin}: broken JSON: {error}.") from error
    except RecursionError as error:
        raise RequestError(f"{origin}: JSON nested too deeply to be rows.") from error
    if not isinstance(rows, list):
        raise RequestError(f"{origin} holds one JSON {type(rows).__name__}: expected a list of objects, one per row.")
    for i, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield i, row
        else:
            bad.append((i, f"a JSON {type(row).__name__} where an object is expected"))


def _json_lines(lines: Iterable[str], bad: list[tuple[int, str]]) -> Iterator[Record]:
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            bad.append((i, f"broken JSON: {error.msg} at character {error.pos + 1}"))
        except ValueError as error:  # a number of thousands of digits
            bad.append((i, f"broken JSON: {error}"))
        except RecursionError:
            bad.append((i, "JSON nested too deeply"))
        else:
            if isinstance(row, dict):
                yield i, row
            else:
                bad.append((i, f"a JSON {type(row).__name__} where an object is expected"))


def _parquet(path: Path, content: bytes) -> Table:
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
        raise RequestError(f"{path} is no Parquet file that can be read: {str(error).splitlines()[0]}.") from error
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    return Table(str(path), "row", columns, list(range(1, table.num_rows + 1)))
