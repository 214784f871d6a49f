"""Memory of a process on a CPU: what it holds for nothing, between what is used or for shapes gone by, and what it keeps."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

EVERY = 100
"""Steps of training after which free memory is handed back: each time costs milliseconds, and pages to be fetched again."""

KEPT = 256
"""Matrix products in bf16, each of another shape, that are kept ready; a step of an encoder has a dozen or two."""

CACHE = "LRU_CACHE_CAPACITY"
"""What bounds them, between PyTorch and oneDNN; 1,024 where nobody says otherwise. oneDNN itself keeps the code of 1,024,
and must: with AMX, writing it again takes a millisecond for each, longer than its product."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What `mallopt` calls them."""

LARGEST = 2**25
"""Bytes of a piece that glibc takes from the system, and hands back, by itself: it begins with 128 KiB, and goes up to this."""

BOUNDS = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
"""Where the environment may have said otherwise."""


def keep_few_products() -> None:
    """Bound what products in bf16 leave behind, unless the environment does already.

    Works in a process that has multiplied nothing in bf16 yet: the bound is read once.
    """
    os.environ.setdefault(CACHE, str(KEPT))


def keep_freed() -> None:
    """Have the process keep what it frees for what comes next, unless the environment has bounds of its own.

    Until something large has been freed, glibc hands all back after every batch, and the next one finds it again page by page.
    """
    if not BOUNDS & {*os.environ} and (bound := _glibc("mallopt")):
        bound(M_MMAP_THRESHOLD, LARGEST)
        bound(M_TRIM_THRESHOLD, 2 * LARGEST)


def give_back() -> None:
    """Hand memory that lies free back to the system.

    Batches of ever other shapes leave holes between the small things that stay, which glibc fills again only with what fits.
    """
    if trim := _glibc("malloc_trim"):
        trim(0)


@cache
def _glibc(name: str) -> Any:
    """A function of glibc; None where another library of C is in its place."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return getattr(library, name, None) if hasattr(library, "gnu_get_libc_version") else None
