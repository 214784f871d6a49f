"""Manifests: the sizes and hashes of the files of a checkpoint, by which one that is not whole is known."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

NAME = "manifest.json"


def write(folder: Path) -> None:
    """Write the manifest of what a folder holds, and have all of it on the disk."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in folder.iterdir()}
    (folder / NAME).write_text(json.dumps(files, indent=2), encoding="utf-8")
    flush(folder / NAME)
    flush(folder)


def whole(folder: Path) -> bool:
    """Whether a folder has a manifest, and every file in it has the size and hash that the manifest says."""
    try:
        manifest = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return bool(manifest) and all(
            (folder / name).stat().st_size == told["bytes"] and _sha256(folder / name) == told["sha256"]
            for name, told in manifest.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def flush(path: Path) -> None:
    """Have the operating system put a file or folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
