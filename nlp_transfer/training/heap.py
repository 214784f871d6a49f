"""Memory that a process on a CPU holds for nothing: what lies free between what is used, and products of shapes gone by."""

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


def keep_few_products() -> None:
    """Bound what products in bf16 leave behind, unless the environment does already.

    Works in a process that has multiplied nothing in bf16 yet: the bound is read once.
    """
    os.environ.setdefault(CACHE, str(KEPT))


def give_back() -> None:
    """Hand memory that lies free back to the system.

    Batches of ever other shapes leave holes between the small things that stay, which glibc fills again only with what fits.
    """
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Any:
    """`malloc_trim`, which only glibc has."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
