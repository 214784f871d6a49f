"""Folders that exports are written to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nlp_transfer.errors import RequestError


def refuse_existing(output: Path) -> None:
    """Refuse a folder that is there already.

    Raises:
        RequestError: saying so.
    """
    if output.exists():
        raise RequestError(f"{output} exists: name a new folder with --output.")


@contextmanager
def written(output: Path) -> Iterator[Path]:
    """A folder that gets its name when it is whole.

    Raises:
        RequestError: where it cannot be written.
    """
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        part.rename(output)
    except OSError as error:
        raise RequestError(f"{output} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
