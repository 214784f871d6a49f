"""Writers: rows with answers, in the forms that are read, written as they come."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow
import pyarrow.parquet

from nlp_transfer.data import column_types
from nlp_transfer.data.files import form
from nlp_transfer.data.streams import STANDARD
from nlp_transfer.data.targets import failing, refuse_place
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.training.signals import raised_signals

FORMS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

Write = Callable[[Sequence[Mapping[str, Any]]], None]
"""Writes some rows after those before."""


def check(path: Path) -> str:
    """The form of a file that is to be written; refused before work is done for it.

    Raises:
        RequestError: for an unknown ending, a folder, or a place that does not exist.
    """
    kind = form(path)
    packed = path.suffix.lower() == ".gz"
    if kind not in FORMS or (packed and kind == ".parquet"):
        hint = " Parquet is packed already: leave .gz away." if packed and kind == ".parquet" else ""
        raise RequestError(
            f"{path} has an ending that says nothing about its form: expected {listing(FORMS)}, "
            f"the texts also with .gz.{hint}"
        )
    refuse_place(path)
    return str(kind)


def beside(names: Iterable[str], added: Iterable[str]) -> dict[str, str]:
    """What added columns are called beside those of a file: with `predicted_` before them until the name is free."""
    taken, found = set(names), {}
    for name in added:
        free = name
        while free in taken:
            free = f"predicted_{free}"
        taken.add(free)
        found[name] = free
    return found


@contextmanager
def writing(
    target: Path | str, kind: str, names: Sequence[str], types: Mapping[str, pyarrow.DataType] | None = None
) -> Iterator[Write]:
    """Write rows as they come; the file has its name only once it is whole.

    Until then it lies beside its place as `.NAME.PROCESS.part`, which goes when anything is raised inside, SIGTERM, SIGINT
    and SIGHUP included. Standard output, called `-`, gets every piece at once.

    Args:
        target: the file.
        kind: its form, as `check` gives it.
        names: its columns. JSON lines may have others; elsewhere a row that lacks one has an empty cell.
        types: types of columns, where they are known; Parquet takes the others from the first rows.

    Raises:
        RequestError: where nothing can be written.
        Interrupted: for a signal.
    """
    if str(target) == STANDARD:
        if sys.stdout is None:
            raise RequestError("there is no standard output: name a file.")
        out = sys.stdout.buffer
        with raised_signals():
            writer = WRITERS[kind](out, names, types or {})

            def show(rows: Sequence[Mapping[str, Any]]) -> None:
                writer.write(rows)
                out.flush()

            yield show
            writer.close()
            out.flush()
        return
    # a link stays a link: what it points to is replaced
    path = Path(os.path.realpath(target))
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    with raised_signals(), ExitStack() as stack:
        stack.callback(half.unlink, missing_ok=True)
        with failing(path):
            file = stack.enter_context(half.open("wb"))
            packed = Path(target).suffix.lower() == ".gz"  # as it was named, whatever a link points to
            # no name and no time inside: equal rows make equal files
            content = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) if packed else file
            stack.callback(_let_go, content)
            writer = WRITERS[kind](cast("BinaryIO", content), names, types or {})
            stack.callback(_let_go, writer)

        def write(rows: Sequence[Mapping[str, Any]]) -> None:
            with failing(path):
                writer.write(rows)

        yield write
        with failing(path):
            writer.close()
            if packed:
                content.close()
            file.close()
            half.replace(path)


def _let_go(content: Any) -> None:
    """Close what may be closed already, or on a disk that is full: it goes anyway."""
    with suppress(OSError):
        content.close()


class Writer(ABC):
    """Writes rows in one form."""

    def __init__(self, content: BinaryIO, names: Sequence[str], types: Mapping[str, pyarrow.DataType]) -> None:
        self.content, self.names, self.types = content, list(names), types

    @abstractmethod
    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write some rows after those before."""

    @abstractmethod
    def close(self) -> None:
        """Write what must stand at the end."""


class Separated(Writer):
    """Cells between commas, under a header."""

    delimiter = ","

    def __init__(self, content: BinaryIO, names: Sequence[str], types: Mapping[str, pyarrow.DataType]) -> None:
        super().__init__(content, names, types)
        self.lines = _Lines()
        self.writer = csv.writer(self.lines, delimiter=self.delimiter)
        self.writer.writerow(self.names)
        self._flush()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Lists and objects are written as JSON."""
        names = self.names
        self.writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
        self._flush()

    def _flush(self) -> None:
        # half of a surrogate pair, which is no character, is written as its number
        self.content.write("".join(self.lines).encode("utf-8", "backslashreplace"))
        self.lines.clear()

    def close(self) -> None:
        """Nothing stands at the end."""


class _Lines(list[str]):
    """The lines of a text, each ended by one line feed.

    csv.writer ends them in CR LF, so that it quotes both characters in cells: a lone CR would end a row for a reader.
    """

    def write(self, line: str) -> None:
        self.append(f"{line[:-2]}\n")


class Tabbed(Separated):
    """Cells between tabs, under a header."""

    delimiter = "\t"


class JsonLines(Writer):
    """One JSON object per line."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """What JSON has no form for (times, decimals) is written as text."""
        try:
            content = _json_lines(rows, ensure_ascii=False)
        except UnicodeEncodeError:  # half of a surrogate pair
            content = _json_lines(rows, ensure_ascii=True)
        self.content.write(content)

    def close(self) -> None:
        """Nothing stands at the end."""


def _json_lines(rows: Sequence[Mapping[str, Any]], ensure_ascii: bool) -> bytes:
    write = partial(json.dumps, ensure_ascii=ensure_ascii, default=str, allow_nan=False)
    try:
        return "".join([write(row) + "\n" for row in rows]).encode()
    except UnicodeEncodeError:
        raise
    except ValueError:
        return "".join([write(_finite(row)) + "\n" for row in rows]).encode()


def _finite(cell: Any) -> Any:
    """A cell with nothing in place of what is no number, or infinite: JSON has no word for these."""
    if isinstance(cell, Mapping):
        return {name: _finite(each) for name, each in cell.items()}
    if isinstance(cell, list | tuple):
        return [_finite(each) for each in cell]
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


class Parquet(Writer):
    """Columns of one type each, which the first rows decide where it was not known before."""

    ROWS, BYTES = 2**16, 2**26
    """What a row group has, unless it is the last: small ones pack badly and are slow to read."""

    def __init__(self, content: BinaryIO, names: Sequence[str], types: Mapping[str, pyarrow.DataType]) -> None:
        super().__init__(content, names, types)
        self.writer: pyarrow.parquet.ParquetWriter | None = None
        self.held: list[pyarrow.Table] = []

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hold rows until there are enough of them for a row group.

        Raises:
            RequestError: for a cell that its column's type cannot hold.
        """
        if self.writer is None:
            fields = [
                (name, self.types.get(name) or column_types.inferred([row.get(name) for row in rows]))
                for name in self.names
            ]
            self.schema = pyarrow.schema(fields)
            self.writer = pyarrow.parquet.ParquetWriter(self.content, self.schema)
        columns = [self._column(field, [row.get(field.name) for row in rows]) for field in self.schema]
        self.held.append(pyarrow.table(columns, schema=self.schema))
        if sum(map(len, self.held)) >= self.ROWS or sum(table.nbytes for table in self.held) >= self.BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is held, and the footer."""
        if self.writer is None:
            self.write([])
        self._flush()
        if self.writer is not None:
            self.writer.close()  # once more is nothing

    def _flush(self) -> None:
        if self.held and self.writer is not None:
            self.writer.write_table(pyarrow.concat_tables(self.held))
            self.held = []

    def _column(self, field: pyarrow.Field, cells: list[Any]) -> pyarrow.Array:
        if field.name not in self.types and field.type == pyarrow.string():
            cells = [cell if cell is None or isinstance(cell, str) else str(_cell(cell)) for cell in cells]
        try:
            return column_types.column(cells, field.type, known=field.name in self.types)
        except (ValueError, TypeError, OverflowError) as error:
            raise RequestError(
                f'column "{field.name}" began as {field.type}, which cannot hold what comes later: '
                f"{str(error).splitlines()[0]}. A Parquet column keeps one type: write .jsonl or .csv."
            ) from error


WRITERS: dict[str, type[Writer]] = {
    ".csv": Separated,
    ".tsv": Tabbed,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".parquet": Parquet,
}


def _cell(cell: Any) -> Any:
    return json.dumps(cell, ensure_ascii=False, default=str) if isinstance(cell, dict | list) else cell
