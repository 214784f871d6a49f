"""Parquet files, whole or by batches, in cells that Python can hold."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from nlp_transfer.data import columns
from nlp_transfer.data.columns import LargeColumns
from nlp_transfer.errors import RequestError, listing


@contextmanager
def refused(origin: str) -> Iterator[None]:
    """What goes wrong inside becomes a message about the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{origin} is no Parquet file that can be read: a name in it is no UTF-8, {error}."
        ) from error
    except (pyarrow.ArrowException, OSError) as error:
        raise RequestError(f"{origin} is no Parquet file that can be read: {str(error).splitlines()[0]}.") from error


def opened(origin: str, content: Any) -> pyarrow.parquet.ParquetFile:
    """A file of which nothing but the footer has been read.

    Args:
        origin: what messages call the file.
        content: its bytes, in which one can jump about.

    Raises:
        RequestError: for bytes that are no Parquet file, and for one that names a column twice.
    """
    with refused(origin):
        file = pyarrow.parquet.ParquetFile(content, buffer_size=2**20, pre_buffer=False)
        names = file.schema_arrow.names
    _refuse_bombs(origin, file, content)
    if repeated := {name for name, times in Counter(names).items() if times > 1}:
        raise RequestError(f"{origin} names the columns {listing(sorted(repeated))} twice.")
    return file


UNPACKED, RATIO = 2**28, 200
"""Bytes that any file may hold once unpacked, and how many times its size a larger one may: as for gzip (`decoding`)."""

ROWS = 2**24
"""Rows that any file may have; a larger one has as many bytes."""


def _refuse_bombs(origin: str, file: pyarrow.parquet.ParquetFile, content: Any) -> None:
    """Refuse a file whose footer speaks of more than its bytes explain, before any of it is unpacked."""
    content.seek(0, 2)
    size = content.tell()
    content.seek(0)
    with refused(origin):
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        unpacked = sum(max(0, group.total_byte_size) for group in groups)
    if unpacked > max(UNPACKED, RATIO * size) or file.metadata.num_rows > max(ROWS, size):
        raise RequestError(
            f"{origin} has {size:,} bytes and speaks of {file.metadata.num_rows:,} rows and {unpacked:,} bytes unpacked, as no "
            "data of texts does."
        )


def cells(column: pyarrow.ChunkedArray | pyarrow.Array) -> list[Any]:
    """A column's cells; bytes that are UTF-8 throughout are texts, as older programs write them."""
    if pyarrow.types.is_binary(column.type) or pyarrow.types.is_large_binary(column.type):
        with contextlib.suppress(pyarrow.ArrowInvalid):
            column = column.cast(pyarrow.large_string())
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # what Python cannot hold
        return [_cell(scalar) for scalar in column]


def _cell(scalar: pyarrow.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()
    except (ValueError, OverflowError):  # a date beyond the year 9999
        return scalar.cast(pyarrow.string()).as_py()


LEAST = 2**20
"""Bytes below which no file is large: of these the footer is read only once."""


class Columns(LargeColumns):
    """The columns of a large file."""

    def __init__(self, origin: str, path: Path, file: pyarrow.parquet.ParquetFile) -> None:
        self.origin, self.path = origin, path
        self.rows = file.metadata.num_rows
        self.types = {field.name: field.type for field in file.schema_arrow}

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.types:
            raise KeyError(name)
        with self._opened() as file:
            found = cells(file.read([name]).column(name))
        self._see_all(len(found))
        return found

    def windows(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """As it is promised."""
        first = 1
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=columns.WINDOW, columns=list(names), use_threads=False):
                yield first, {name: cells(batch.column(name)) for name in names}
                first += batch.num_rows
        self._see_all(first - 1)

    def _see_all(self, rows: int) -> None:
        """Refuse a file whose footer speaks of other rows than its columns have."""
        if rows != self.rows:
            raise RequestError(f"{self.origin} speaks of {self.rows:,} rows, and has {rows:,}.")

    @contextmanager
    def _opened(self) -> Iterator[pyarrow.parquet.ParquetFile]:
        with refused(self.origin), self.path.open("rb") as content:
            yield opened(self.origin, content)


def are_large(files: Sequence[pyarrow.parquet.ParquetFile]) -> bool:
    """Whether memory should not hold the rows of some files."""
    footers = [file.metadata for file in files]
    groups = (footer.row_group(i) for footer in footers for i in range(footer.num_row_groups))
    rows = sum(footer.num_rows for footer in footers)
    return rows > columns.MANY or sum(group.total_byte_size for group in groups) > columns.LARGE
