"""Where files are to be written: what cannot be there is refused, and said in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def refuse_sources(targets: Iterable[Path | None], source: str) -> None:
    """Refuse to write over what is read, or twice over the same file.

    Raises:
        RequestError: for a file that is the source or lies in it, or that two targets name.
    """
    there, seen = Path(source).resolve(), set()
    for path in filter(None, targets):
        found = path.resolve()
        if found == there or (path.exists() and there in found.parents):
            raise RequestError(f"{path} is what is read: name another file to write.")
        if found in seen:
            raise RequestError(f"{path} is named twice: what is written first would be lost.")
        seen.add(found)


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
