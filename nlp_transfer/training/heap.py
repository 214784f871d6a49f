"""Memory of a process on a CPU: what it holds for nothing, between what is used or for shapes gone by, and what it keeps."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

import psutil

EVERY = 100
"""Steps of training after which is looked how much a process holds."""

GROWN = 2**27
"""Bytes by which it must have grown for free memory to be handed back: that costs milliseconds, and pages to be fetched again."""

KEPT = 2048
"""Operations of oneDNN, each of another shape, whose code is kept: an encoder has 30 for each length of its texts. With AMX,
writing it again takes one to three milliseconds, longer than the product itself."""

CACHES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"
"""What bounds them, by its new and its old name; 1,024 where nobody says otherwise."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What `mallopt` calls them."""

LARGEST = 2**25
"""Bytes of a piece that glibc takes from the system, and hands back, by itself: it begins with 128 KiB, and goes up to this."""

FREE = 2**28
"""Bytes at the end of the heap that may lie free."""

BOUNDS = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
"""Where the environment may have said otherwise."""


def keep_code() -> None:
    """Have oneDNN keep the code of as many operations as texts of all lengths need, unless the environment has a bound.

    Works in a process that has multiplied nothing by oneDNN yet: the bound is read once.
    """
    if not any(name in os.environ for name in CACHES):
        os.environ[CACHES[0]] = str(KEPT)


def keep_freed() -> None:
    """Have the process keep what it frees for what comes next, unless the environment has bounds of its own.

    Until something large has been freed, glibc hands all back after every batch, and the next one finds it again page by page.
    """
    if not BOUNDS & {*os.environ} and (bound := _glibc("mallopt")):
        bound(M_MMAP_THRESHOLD, LARGEST)
        bound(M_TRIM_THRESHOLD, FREE)


class Holes:
    """Free memory between what is used, handed back when a training holds more than it did.

    Batches of ever other shapes leave it between the small things that stay, and glibc fills it again only with what fits.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._steps = 0
        self._before: int | None = None

    def step(self) -> None:
        """A step is done."""
        self._steps += 1
        if self._steps % EVERY:
            return
        now = self._process.memory_info().rss
        if self._before is None:
            self._before = now  # with all that a step needs: nothing has been handed back since the step before
        elif now > self._before + GROWN:
            give_back()
            self._before = None


def give_back() -> None:
    """Hand memory that lies free back to the system."""
    if trim := _glibc("malloc_trim"):
        trim(0)


@cache
def _glibc(name: str) -> Any:
    """A function of glibc; None where another library of C is in its place."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return getattr(library, name, None) if hasattr(library, "gnu_get_libc_version") else None
