"""A quick start: nobody looks for garbage while libraries are imported."""

from __future__ import annotations

import gc
import importlib
import sys


def at_once(*names: str) -> None:
    """Import modules, where they are not there yet, without looking for garbage among what they bring.

    All of it stays: of torch and transformers half a million objects, and looking through them again and again, now and while
    the program runs, costs a quarter of its start. For programs of our own: in one of others, who imports a part of this
    package has garbage of his own.
    """
    missing = [name for name in names if name not in sys.modules]
    if not missing or not gc.isenabled():
        return
    gc.disable()
    try:
        for name in missing:
            importlib.import_module(name)
    finally:
        gc.enable()
    gc.freeze()
