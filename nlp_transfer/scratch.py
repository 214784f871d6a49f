"""Room on a disk for what only this process needs, and memory should not hold."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow
import xxhash
from datasets import Dataset
from datasets.table import InMemoryTable

from nlp_transfer.rows import SPAN, Writer, cells, mapped_numbers, replaced, touched

CACHE = "NLP_TRANSFER_CACHE"
"""The variable that names the folder of what is kept between runs; `off`: nothing is."""

MANY = 2**22
"""Bytes of numbers above which they lie in a file."""


def cache() -> Path | None:
    """The folder of what is kept between runs, as the environment says; None where nothing is to be kept."""
    named = os.environ.get(CACHE)
    if named is not None and named.strip().lower() in ("", "0", "off"):
        return None
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(named or f"{home}/nlp_transfer").expanduser()


def scratch() -> Path:
    """The folder of what is kept, which lies on a disk; where nothing is kept there, that of temporary files."""
    with suppress(OSError):
        if folder := cache():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # as private as the texts it comes from
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.gettempdir())


def take(file: IO[bytes], size: int) -> None:
    """Make a file so long, and take its bytes from the disk at once where the system can: a mapped page for which there is no
    room later ends the process.

    Raises:
        OSError: where there is no room.
    """
    file.truncate(size)
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)


def numbers(count: int, kind: Any) -> np.ndarray:
    """Room for so many numbers (count,): in memory, or, where they are many, in a mapped file without a name.

    In memory, too, where the disk has not several times the room, or the system cannot promise it.
    """
    size = count * np.dtype(kind).itemsize
    with suppress(OSError):
        # a promise is not kept by every file system, and a page for which there is no room ends the process
        if size >= MANY and hasattr(os, "posix_fallocate") and shutil.disk_usage(scratch()).free > 4 * size:
            with tempfile.TemporaryFile(dir=scratch()) as file:
                os.posix_fallocate(file.fileno(), 0, size)
                return mapped_numbers(file, kind)
    return np.empty(count, kind)


def table(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """Room for a table of numbers, as `numbers`."""
    return numbers(math.prod(shape), kind).reshape(shape)


def chosen(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The rows of a table of which a mask (rows,) says so, as `numbers`."""
    found, begun = table((int(mask.sum()), *values.shape[1:]), values.dtype), 0
    for some, here in spans(values, mask):
        part = some[here]
        found[begun : begun + len(part)] = part
        begun += len(part)
    return found


def spans(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Some rows of each array after the other, so that what is computed of them needs little room.

    Raises:
        ValueError: where one has more rows than another.
    """
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"arrays of {', '.join(str(len(array)) for array in arrays)} rows where they belong together.")
    for start in range(0, len(arrays[0]), SPAN):
        yield tuple(array[start : start + SPAN] for array in arrays)
        if len(arrays[0]) > SPAN:
            touched(SPAN)


def moments(values: np.ndarray) -> tuple[float, float]:
    """The mean of numbers and their standard deviation; no number where one is too large to be squared."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean())
        return mean, float(np.sqrt(sum(((some - mean) ** 2).sum() for (some,) in spans(values)) / len(values)))


def filled(coming: Iterable[Any], count: int, kind: Any) -> np.ndarray:
    """So many numbers that come one after the other (count,).

    Raises:
        ValueError: where more or fewer come.
    """
    found, coming = numbers(count, kind), iter(coming)
    for start in range(0, count, SPAN):
        span = found[start : start + SPAN]
        span[:] = np.fromiter(islice(coming, len(span)), kind, len(span))
    if next(coming, coming) is not coming:
        raise ValueError(f"more than {count} values.")
    return found


def where(coming: Iterable[bool], count: int) -> np.ndarray:
    """Which of so many that come one after the other are true: their numbers."""
    return np.flatnonzero(filled(coming, count, np.bool_))


def ordered(values: np.ndarray) -> np.ndarray:
    """Numbers from the least to the greatest, as `numbers`."""
    found = numbers(len(values), values.dtype)
    found[:] = values
    found.sort()
    return found


def selected(rows: Dataset, indices: np.ndarray) -> Dataset:
    """Rows by their numbers (rows,), an array that belongs to the selection from now on.

    `select` of datasets makes an object of Python of every number, 40 bytes each.
    """
    digest, chosen = xxhash.xxh3_64(), indices.astype(np.int64, copy=False)
    beneath = None if rows._indices is None else rows._indices.column(0)
    if beneath is not None:
        chosen = numbers(len(indices), np.int64)
    for start in range(0, len(indices), SPAN):
        span = indices[start : start + SPAN]
        digest.update(span.astype(np.int64, copy=False).tobytes())
        if beneath is not None:
            chosen[start : start + SPAN] = beneath.take(pyarrow.array(span)).to_numpy()
    table = InMemoryTable.from_arrays([pyarrow.array(chosen.view(np.uint64))], names=["indices"])
    name = f"{rows._fingerprint[:32]}-{digest.hexdigest()}"
    return Dataset(rows.data, rows.info, rows.split, table, fingerprint=name)


def with_cells(
    rows: Dataset, name: str, read: Callable[[Dataset], Iterator[Any]], kind: pyarrow.DataType | None = None
) -> Dataset:
    """Rows with other cells in one of their columns, texts or of another kind: themselves, where these stand there already."""
    if all(new == cell for new, cell in zip(read(rows), cells(rows, name), strict=True)):
        return rows
    if len(rows) > SPAN:
        with suppress(OSError), tempfile.TemporaryFile(dir=scratch()) as file:
            coming, writer = read(rows), Writer(file, pyarrow.schema({name: kind or pyarrow.string()}))
            for _ in range(0, len(rows), SPAN):
                writer.write({name: list(islice(coming, SPAN))})
            return replaced(rows, name, writer.mapped().data.column(name))
    return replaced(rows, name, list(read(rows)))
