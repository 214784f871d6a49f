"""Files of rows: CSV, TSV, JSON, JSON lines and Parquet, plain or compressed with gzip."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

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
        content = _content(path)
        table = _parquet(path, content) if kind == ".parquet" else _texts(path, kind, _decoded(path, content))
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not table.places:
        raise RequestError(f"{path} holds no rows.")
    return table


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RequestError(f"{path} ends in .gz but is no complete gzip file: {error}.") from error
    return content


def _decoded(path: Path, content: bytes) -> str:
    """Text from bytes: UTF-8, or UTF-16 and UTF-32 where a byte order mark says so."""
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is not {encoding.removesuffix('-sig').upper()}. "
            "Save the file as UTF-8."
        ) from error


def _texts(path: Path, kind: str, text: str) -> Table:
    if not text.strip():
        raise RequestError(f"{path} is empty.")
    bad: list[tuple[int, str]] = []
    if kind in (".csv", ".tsv"):
        records, unit = _csv(path, text, "\t" if kind == ".tsv" else None, bad), "line"
    elif kind == ".json":
        records, unit = _json(path, text, bad), "row"
    else:
        records, unit = _json_lines(text, bad), "line"
    columns: dict[str, list[Any]] = {}
    places: list[int] = []
    for place, record in records:
        for name in record:
            if name not in columns:
                columns[name] = [None] * len(places)
        for name, cells in columns.items():
            cells.append(record.get(name))
        places.append(place)
    if bad and not places:
        raise RequestError(f"{path}, {unit} {bad[0][0]}: {bad[0][1]}. No row of this file can be read.")
    return Table(str(path), unit, columns, places, bad)


def _csv(path: Path, text: str, delimiter: str | None, bad: list[tuple[int, str]]) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    head = text.lstrip("\r\n").splitlines()[0]
    if delimiter is None:
        # spreadsheets of many countries write semicolons into a .csv
        delimiter = max(",;\t", key=lambda mark: (head.count(mark), mark == ","))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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
                    raise RequestError(f"{path}, line {place}: the header names {listing(sorted(repeated))} twice.")
            elif len(cells) != len(names):
                bad.append((place, f"{len(cells)} cells where the header has {len(names)}"))
            else:
                yield place, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        reason = "a quote is opened and never closed" if "unexpected end of data" in str(error) else str(error)
        raise RequestError(f"{path}, line {line}: {reason}.") from error


def _json(path: Path, text: str, bad: list[tuple[int, str]]) -> Iterator[Record]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        hint = " For one object per line, name the file .jsonl." if error.msg == "Extra data" else ""
        raise RequestError(f"{path}, line {error.lineno}: broken JSON: {error.msg}.{hint}") from error
    except ValueError as error:  # a number of thousands of digits
        raise RequestError(f"{path}: broken JSON: {error}.") from error
    except RecursionError as error:
        raise RequestError(f"{path}: JSON nested too deeply to be rows.") from error
    if not isinstance(rows, list):
        raise RequestError(f"{path} holds one JSON {type(rows).__name__}: expected a list of objects, one per row.")
    for i, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield i, row
        else:
            bad.append((i, f"a JSON {type(row).__name__} where an object is expected"))


def _json_lines(text: str, bad: list[tuple[int, str]]) -> Iterator[Record]:
    # not splitlines(): a text may hold line separators of Unicode
    for i, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
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
