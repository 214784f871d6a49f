"""Streams: files of rows, or standard input, read window by window in constant memory."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow

from nlp_transfer.data import files, parquet
from nlp_transfer.data.decoding import opened
from nlp_transfer.data.files import Table
from nlp_transfer.data.records import Record, records
from nlp_transfer.environment import homely
from nlp_transfer.errors import RequestError

STANDARD = "-"
"""What standard input and standard output are called among names of files."""

ROWS = 4096
"""Rows of a window."""

CHARACTERS = 2**23
"""Characters after which a window ends before it has all its rows."""


@dataclass
class Window:
    """Some rows of a file, one after another, each with its place; and those among them that cannot be read."""

    records: list[dict[str, Any]]
    places: list[int]
    bad: list[tuple[int, str]]

    def names(self) -> list[str]:
        """The names of all columns, in the order of their first rows."""
        return list({name: None for record in self.records for name in record})

    def place_of(self, name: str) -> int:
        """The place of the first row that has a column."""
        return next(place for place, record in zip(self.places, self.records, strict=True) if name in record)


@dataclass
class Stream:
    """The rows of one file, to be read once."""

    origin: str
    unit: str
    windows: Iterator[Window]
    types: Mapping[str, pyarrow.DataType] = field(default_factory=dict)
    """Types of the columns, where the file has them."""
    share: Callable[[], float | None] = lambda: None
    """How much of the file has been read, 0 to 1; None where nobody knows."""

    def table(self, window: Window, names: Iterable[str]) -> Table:
        """Some columns of a window, as `checks` takes them; a cell that a row does not have is None."""
        columns = {name: [record.get(name) for record in window.records] for name in names}
        return Table(self.origin, self.unit, columns, window.places, window.bad)


@contextmanager
def stream(source: Path | str, kind: str) -> Iterator[Stream]:
    """The rows of a file, or of standard input where it is called `-`, window by window.

    Memory holds a window, except that a `.json` file (one list) is read whole.

    Args:
        source: the file.
        kind: its form, as `files.form` gives it.

    Raises:
        RequestError: for a file that is missing, unreadable or broken, some of it only while windows are read.
    """
    if str(source) == STANDARD:
        if sys.stdin is None:
            raise RequestError("there is no standard input: name a file.")
        with _read_from("standard input", kind, sys.stdin.buffer, lambda: None) as found:
            yield found
        return
    path = Path(source)
    if not path.is_file():
        raise RequestError(f"{path} does not exist or is no file.")
    with ExitStack() as stack:
        try:
            content, file = stack.enter_context(opened(path))
            size = max(os.fstat(file.fileno()).st_size, 1)
        except OSError as error:
            raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from error
        yield stack.enter_context(_read_from(homely(path), kind, content, lambda: min(file.tell() / size, 1.0)))


@contextmanager
def _read_from(origin: str, kind: str, content: BinaryIO, share: Callable[[], float | None]) -> Iterator[Stream]:
    if kind == ".parquet":
        with _seekable(content) as file:
            yield _parquet(origin, file)
        return
    bad: list[tuple[int, str]] = []
    unit = files.unit(kind)
    yield Stream(origin, unit, _windows(origin, unit, records(origin, kind, content, bad), bad), share=share)


def _windows(origin: str, unit: str, found: Iterable[Record], bad: list[tuple[int, str]]) -> Iterator[Window]:
    held: list[dict[str, Any]] = []
    place = None
    places: list[int] = []
    characters = 0
    try:
        for place, record in found:
            held.append(record)
            places.append(place)
            characters += sum([len(cell) for cell in record.values() if isinstance(cell, str)])
            if len(held) >= ROWS or characters >= CHARACTERS:
                yield Window(held, places, bad.copy())
                held, places, characters = [], [], 0
                bad.clear()
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise RequestError(f"{origin} cannot be read: {error.strerror or error}.") from error
    if bad and place is None:
        raise files.unreadable(origin, unit, bad)
    if held or bad:
        yield Window(held, places, bad.copy())


@contextmanager
def _seekable(content: BinaryIO) -> Iterator[BinaryIO]:
    """The same bytes where one can jump about, as Parquet must: in a temporary file, if they come from a pipe."""
    # what is packed can jump too, but only by unpacking all over again
    if content.seekable() and not isinstance(content, gzip.GzipFile):
        yield content
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(content, copy)
        copy.seek(0)
        yield copy


def _parquet(origin: str, content: BinaryIO) -> Stream:
    file = parquet.opened(origin, content)
    names, rows, read = file.schema_arrow.names, max(file.metadata.num_rows, 1), 0

    def rows_of() -> Iterator[Record]:
        nonlocal read
        with parquet.refused(origin):
            for batch in file.iter_batches(batch_size=ROWS // 4, use_threads=False):
                for cells in zip(*map(parquet.cells, batch.columns), strict=True):
                    read += 1
                    yield read, dict(zip(names, cells, strict=True))

    types = {column.name: column.type for column in file.schema_arrow}
    unit = files.unit(".parquet")
    return Stream(origin, unit, _windows(origin, unit, rows_of(), []), types, lambda: read / rows)
