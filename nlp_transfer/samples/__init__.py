"""Small data sets written for this project, shipped with it: they work without a network and without files of yours."""

from __future__ import annotations

from pathlib import Path

from nlp_transfer.errors import RequestError, did_you_mean

HERE = Path(__file__).parent


def names() -> list[str]:
    """The tasks that have a sample, and `sentence_pairs`, one of classification with two texts."""
    return sorted(path.name for path in HERE.iterdir() if any(path.glob("train.*")))


def path(name: str) -> Path:
    """The folder of a sample, with train, validation and test files.

    Raises:
        RequestError: for a task without one.
    """
    if name not in names():
        raise RequestError(f'there is no sample for "{name}". {did_you_mean(name, names())}')
    return HERE / name
