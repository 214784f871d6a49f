"""Vectors of rows: how they lie in memory, in a file, and in the store."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlp_transfer.data.store import Entry, NoRoom
from nlp_transfer.scratch import take

LARGE = 2**28
"""Bytes above which the vectors lie in a file that is mapped into memory, instead of in memory."""

HALF = np.dtype(np.uint16)
"""What the bits of bf16 lie in."""

VALUES = "values.bin"
"""The file of an entry of the store: the vectors of all rows as they lie in memory, without a header."""


@dataclass(frozen=True)
class Vectors:
    """The vectors of all rows, one row after the other: row i has values[starts[i]:starts[i + 1]].

    Values are fp32, or the bits of bf16, which numpy has not, as `HALF`.
    """

    values: np.ndarray
    starts: np.ndarray

    def padded(self, indices: np.ndarray) -> Tensor:
        """The vectors of some rows (rows, most vectors of these, width), zeros behind the shorter ones."""
        counts = self.starts[indices + 1] - self.starts[indices]
        longest = int(counts.max())
        values = np.asarray(self.values)  # of a mapped file every slice would be a mapping by itself
        if (counts == longest).all():
            return _numbers(values[self.starts[indices][:, None] + np.arange(longest)])
        padded = np.zeros((len(indices), longest, values.shape[1]), dtype=values.dtype)
        for i, index in enumerate(indices):
            padded[i, : counts[i]] = values[self.starts[index] : self.starts[index + 1]]
        return _numbers(padded)


def room(shape: tuple[int, int], dtype: np.dtype[Any], folder: Path) -> np.ndarray:
    """Room for vectors (vectors, width): in memory, or, where they are large, in a mapped file of a folder.

    Raises:
        NoRoom: where the disk has none.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= LARGE:
        return np.empty(shape, dtype=dtype)
    free = shutil.disk_usage(folder).free
    try:
        if size > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # a file without a name: it is gone when this process is, however it ends
        with tempfile.TemporaryFile(dir=folder) as file:
            take(file, size)
            return np.memmap(file, mode="r+", dtype=dtype, shape=shape)
    except OSError as error:
        raise NoRoom(
            f"{folder} has room for {free // 2**20} MiB, and its activations would take {size // 2**20} ({error.strerror})"
        ) from error


def as_bits(values: np.ndarray) -> np.ndarray:
    """The bits of numbers as bf16."""
    return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()


def _numbers(values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.view(torch.bfloat16).float() if values.dtype == HALF else tensor


def read(entry: Entry | None) -> np.ndarray | None:
    """The values of an entry: in memory, or mapped into it where they are large; None where it has just gone."""
    if entry is None:
        return None
    dtype = HALF if entry.told["half"] else np.dtype(np.float32)
    shape = (int(entry.told["shape"][0]), int(entry.told["shape"][1]))
    with suppress(OSError):
        if (entry.path / VALUES).stat().st_size > LARGE:
            return np.memmap(entry.path / VALUES, mode="r", dtype=dtype, shape=shape)
        return np.fromfile(entry.path / VALUES, dtype=dtype).reshape(shape)
    return None
