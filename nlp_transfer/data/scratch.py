"""Room on a disk for what only this process needs, and memory should not hold."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from nlp_transfer.data.store import Store


def scratch() -> Path:
    """The store's folder, which lies on a disk; where nothing is kept there, that of temporary files."""
    store = Store.of_user()
    with suppress(OSError):
        if store:
            store.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # as private as the texts it comes from
            if os.access(store.folder, os.W_OK):
                return store.folder
    return Path(tempfile.gettempdir())
