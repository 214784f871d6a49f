"""Where files are to be written: what cannot be there is refused, and said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nlp_transfer.errors import RequestError


def refuse_place(path: Path) -> None:
    """Refuse to write what could have no place there.

    Raises:
        RequestError: for a folder, or a place that does not exist.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise RequestError(f"{path} cannot be written: it is a folder, or its folder does not exist.")


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Say what could not be written.

    Raises:
        RequestError: for any OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror or error}.") from error
