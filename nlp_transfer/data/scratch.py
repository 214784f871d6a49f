"""Room on a disk for what only this process needs, and memory should not hold."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nlp_transfer.data.store import Store
from nlp_transfer.rows import SPAN, mapped_numbers

MANY = 2**22
"""Bytes of numbers above which they lie in a file."""


def scratch() -> Path:
    """The store's folder, which lies on a disk; where nothing is kept there, that of temporary files."""
    store = Store.of_user()
    with suppress(OSError):
        if store:
            store.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # as private as the texts it comes from
            if os.access(store.folder, os.W_OK):
                return store.folder
    return Path(tempfile.gettempdir())


def numbers(count: int, kind: Any) -> np.ndarray:
    """Room for so many numbers (count,): in memory, or, where they are many, in a mapped file without a name."""
    size = count * np.dtype(kind).itemsize
    if size >= MANY and hasattr(os, "posix_fallocate"):
        # without room on the disk: in memory
        with suppress(OSError), tempfile.TemporaryFile(dir=scratch()) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return mapped_numbers(file, kind)
    return np.empty(count, kind)


def filled(cells: Iterable[Any], count: int, kind: Any) -> np.ndarray:
    """So many numbers that come one after the other (count,)."""
    found, coming = numbers(count, kind), iter(cells)
    for start in range(0, count, SPAN):
        span = found[start : start + SPAN]
        span[:] = np.fromiter(islice(coming, len(span)), kind, len(span))
    return found
