"""Files of rows: CSV, TSV, JSON, JSON lines and Parquet, plain or compressed with gzip."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from nlp_transfer.data.findings import plural
from nlp_transfer.errors import RequestError, listing

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")

LINE_END = re.compile("\r\n|\r|\n")

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


BINARY = {
    b"\x1f\x8b": "is compressed with gzip: give it the ending .gz ({name}.gz)",
    b"PK\x03\x04": "is a zip archive, as spreadsheets are: unpack it, or save the sheet as CSV in UTF-8",
    b"PAR1": "is a Parquet file: give it the ending .parquet",
}
"""What a file is that begins so and is no text."""


def _decoded(path: Path, content: bytes) -> str:
    """Text from bytes: UTF-8, or UTF-16 and UTF-32 where a byte order mark says so."""
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif (start := content[:1000]).count(0) > len(start) / 3:
        raise RequestError(f"{path} is UTF-16 or UTF-32 without a byte order mark, or no text. Save it as UTF-8.")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        for mark, what in BINARY.items():
            if content.startswith(mark):
                raise RequestError(f"{path} {what.format(name=path.name)}.") from error
        line = len(LINE_END.findall(content[: error.start].decode(encoding, "ignore"))) + 1
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
    lines = list(io.StringIO(text, newline=""))
    if delimiter is None:
        # spreadsheets of many countries write semicolons into a .csv
        head = re.sub('"[^"]*"', "", next(line for line in lines if line.strip()))
        delimiter = max(",;\t", key=lambda mark: (head.count(mark), mark == ","))
    names: list[str] | None = None
    start = 0
    while start < len(lines):
        reader = csv.reader((lines[i] for i in range(start, len(lines))), delimiter=delimiter, strict=True)
        line = start + 1
        try:
            for cells in reader:
                place, line = line, start + reader.line_num + 1
                blank = not any(cell.strip() for cell in cells)
                if names is None:
                    names = None if blank else _header(path, place, cells)
                elif not cells or (blank and len(cells) == 1 < len(names)):
                    continue
                elif len(cells) != len(names):
                    bad.append((place, f"{plural(len(cells), 'cell')} where the header has {len(names)}"))
                else:
                    yield place, dict(zip(names, cells, strict=True))
            return
        except csv.Error as error:
            reason = "a quote is opened and never closed"
            if "unexpected end of data" not in str(error):
                reason = f"broken quotes ({error}): a quote inside a quoted cell is written twice"
            if names is None:
                raise RequestError(f"{path}, line {line}: {reason}.") from error
            # whatever the quote has swallowed, the next line may be a row again
            bad.append((line, reason))
            start = line


def _header(path: Path, place: int, cells: list[str]) -> list[str]:
    """The names of the columns; those without one are numbered."""
    names = [cell.strip() or f"column {i}" for i, cell in enumerate(cells, 1)]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise RequestError(f"{path}, line {place}: the header names {listing(sorted(repeated))} twice.")
    return names


def _json(path: Path, text: str, bad: list[tuple[int, str]]) -> Iterator[Record]:
    try:
        rows = json.loads(text, object_pairs_hook=_object)
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
        if reason := _no_record(row):
            bad.append((i, reason))
        else:
            yield i, row


def _json_lines(text: str, bad: list[tuple[int, str]]) -> Iterator[Record]:
    # not splitlines(): a text may hold line separators of Unicode
    for i, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            bad.append((i, f"broken JSON: {error.msg} at character {error.pos + 1}"))
        except ValueError as error:  # a number of thousands of digits
            bad.append((i, f"broken JSON: {error}"))
        except RecursionError:
            bad.append((i, "JSON nested too deeply"))
        else:
            if reason := _no_record(row):
                bad.append((i, reason))
            else:
                yield i, row


class _Repeating(dict[str, Any]):
    """A JSON object that names a key twice, of which one value would be lost."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        row = _Repeating(row)
        keys = [key for key, _ in pairs]
        row.key = next(key for key in keys if keys.count(key) > 1)
    return row


def _no_record(row: Any) -> str | None:
    """Why a JSON value is no row, or None."""
    if isinstance(row, _Repeating):
        return f'a JSON object that names "{row.key}" twice'
    return None if isinstance(row, dict) else f"a JSON {type(row).__name__} where an object is expected"


def _parquet(path: Path, content: bytes) -> Table:
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        names = file.schema_arrow.names
        if repeated := {name for name in names if names.count(name) > 1}:
            raise RequestError(f"{path} names the columns {listing(sorted(repeated))} twice.")
        table = file.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise RequestError(f"{path} is no Parquet file that can be read: {str(error).splitlines()[0]}.") from error
    columns = {name: _cells(table.column(name)) for name in names}
    return Table(str(path), "row", columns, list(range(1, table.num_rows + 1)))


def _cells(column: pyarrow.ChunkedArray) -> list[Any]:
    """A column's cells; bytes that are UTF-8 throughout are texts, as older programs write them."""
    if pyarrow.types.is_binary(column.type) or pyarrow.types.is_large_binary(column.type):
        with contextlib.suppress(pyarrow.ArrowInvalid):
            column = column.cast(pyarrow.large_string())
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):  # what Python cannot hold
        return [_cell(scalar) for scalar in column]


def _cell(scalar: pyarrow.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()
    except (ValueError, OverflowError):  # a date beyond the year 9999
        return scalar.cast(pyarrow.string()).as_py()
