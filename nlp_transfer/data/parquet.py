"""Parquet files, whole or by batches, in cells that Python can hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow
import pyarrow.parquet

from nlp_transfer.errors import RequestError, listing


@contextmanager
def refused(origin: str) -> Iterator[None]:
    """What goes wrong inside becomes a message about the file."""
    try:
        yield
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
    if repeated := {name for name in names if names.count(name) > 1}:
        raise RequestError(f"{origin} names the columns {listing(sorted(repeated))} twice.")
    return file


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
