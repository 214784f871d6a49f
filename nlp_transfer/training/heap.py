"""Memory that a process on a CPU holds for nothing: what lies free between what is used, and code for shapes gone by."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

EVERY = 100
"""Steps of training after which free memory is handed back: each time costs milliseconds, and pages to be fetched again."""

KEPT = 256
"""Matrix products in bf16, each of another shape, for which code is kept; a step of an encoder has a dozen or two."""

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""What bounds it: of oneDNN, and of what stands between it and PyTorch; both keep 1,024 where nobody says otherwise."""


def keep_little_code() -> None:
    """Bound the code that products in bf16 leave behind, unless the environment does already.

    Works in a process that has multiplied nothing in bf16 yet: the bounds are read once.
    """
    for name in CACHES:
        os.environ.setdefault(name, str(KEPT))


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
