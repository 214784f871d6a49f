"""Rows in memory, or in a file that is mapped into it: their columns, whole or window by window."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow
from datasets import Dataset
from datasets.table import InMemoryTable

ROWS = 4096
"""Rows of a window."""

SPAN = 2**16
"""Cells of one column, or numbers, that are handled at once."""

APART = 2**8
"""Rows of a selection that are fetched at once where they lie far from each other."""

WRITTEN = 2**22
"""Bytes of a batch in a file, at least: to map a file, some pages of each of its batches are read."""

AGAIN = 10_000
"""Different texts of a column that are held once, however often they come: labels, above all."""

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_touched = 0


def windows(rows: Dataset, names: Sequence[str], size: int = ROWS) -> Iterator[tuple[int, pyarrow.Table]]:
    """Some columns of rows, a window after the other: the index of its first row, and its cells."""
    where = None if rows._indices is None else rows._indices.column(0)
    for start in range(0, len(rows), size):
        if where is None:
            found = rows.data.fast_slice(start, min(size, len(rows) - start)).select(names)
        else:
            found = _taken(rows, where.slice(start, size).to_numpy().astype(np.int64), names)
        touched(found.num_rows)
        yield start, found


def _taken(rows: Dataset, indices: np.ndarray, names: Sequence[str]) -> pyarrow.Table:
    """Some rows of the table that lies beneath a selection."""
    first, last = int(indices.min()), int(indices.max())
    if last - first < 4 * len(indices):  # as a cut leaves them: one copy is faster than one of each row
        return rows.data.fast_slice(first, last - first + 1).select(names).take(pyarrow.array(indices - first))
    found = []
    for start in range(0, len(indices), APART):
        found.append(rows.data.fast_gather(indices[start : start + APART]).select(names).combine_chunks())
        touched(ROWS)  # with each row come the pages of the file around it
    return pyarrow.concat_tables(found)


def column(rows: Mapping[str, Sequence[Any]] | Dataset, name: str) -> list[Any]:
    """All cells of a column, as a list."""
    return list(cells(rows, name))


def cells(rows: Mapping[str, Sequence[Any]] | Dataset, name: str) -> Iterator[Any]:
    """The cells of a column one by one. A Dataset whose column is iterated hands them out a hundred times slower."""
    if not isinstance(rows, Dataset):
        yield from rows[name][:]
        return
    seen: dict[str, str] = {}
    for _, window in windows(rows, [name], SPAN):
        found = window.column(0).to_pylist()
        if pyarrow.types.is_string(window.schema.types[0]):
            found = [seen.get(cell, cell) if len(seen) >= AGAIN else seen.setdefault(cell, cell) for cell in found]
        yield from found


def replaced(rows: Dataset, name: str, cells: Any) -> Dataset:
    """Rows with other cells in one of their columns."""
    # a name of its own: by default datasets makes one of a hash of all cells
    return rows.remove_columns(name).add_column(name, cells, new_fingerprint=f"{rows._fingerprint[:32]}-{name[:24]}")


def mapped(file: BinaryIO) -> Dataset:
    """The rows of a file that `datasets` or `Writer` wrote, mapped into memory.

    The file may be closed, and its name may go. What is read of it is memory that the system can take back at any time;
    `touched` gives it back after every few rows, so that a process does not look as large as all that it has read.
    """
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(pages)
    table = pyarrow.ipc.open_stream(pyarrow.BufferReader(pyarrow.py_buffer(pages))).read_all()
    touched(table.num_rows)  # to find its batches
    # with a name of its own: by default datasets makes one of a hash of all bytes
    return Dataset(InMemoryTable(table), fingerprint=f"mapped-{id(pages):x}")


def mapped_numbers(file: BinaryIO, kind: Any) -> np.ndarray:
    """The numbers of a file, to be read and written in their place; the file may be closed, and its name may go."""
    pages = mmap.mmap(file.fileno(), 0)
    _maps.add(pages)
    return np.frombuffer(pages, kind)


def touched(rows: int) -> None:
    """So many rows of mapped files may have been read or written; now and then their pages are given back."""
    global _touched
    _touched += rows
    if _touched >= ROWS:
        _touched = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            for pages in _maps:
                pages.madvise(mmap.MADV_DONTNEED)  # what was written stands in the file


class Writer:
    """Rows written into a file, some after the other, to be mapped into memory when all are there."""

    def __init__(self, file: BinaryIO, schema: pyarrow.Schema) -> None:
        self.file, self.schema = file, schema
        self.stream = pyarrow.ipc.new_stream(file, schema)
        self.held: list[pyarrow.RecordBatch] = []

    def write(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add rows."""
        cells = [pyarrow.array(columns[field.name], type=field.type) for field in self.schema]
        self.held.append(pyarrow.record_batch(cells, schema=self.schema))
        if sum(batch.nbytes for batch in self.held) >= WRITTEN:
            self._flush()

    def _flush(self) -> None:
        self.stream.write_table(pyarrow.Table.from_batches(self.held, self.schema).combine_chunks())
        self.held = []

    def mapped(self) -> Dataset:
        """All rows that were written."""
        self._flush()
        self.stream.close()
        self.file.flush()
        return mapped(self.file)
