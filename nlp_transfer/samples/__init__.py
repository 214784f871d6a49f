"""Small data sets written for this project, shipped with it: they work without a network and without files of yours."""

from __future__ import annotations

from pathlib import Path

from nlp_transfer.errors import RequestError, did_you_mean

HERE = Path(__file__).parent


def names() -> list[str]:
    """The tasks that have a sample."""
    return sorted(path.name for path in HERE.iterdir() if any(path.glob("train.*")))


def path(task: str) -> Path:
    """The folder of a task's sample, with train, validation and test files.

    Raises:
        RequestError: for a task without one.
    """
    if task not in names():
        raise RequestError(f'there is no sample for "{task}". {did_you_mean(task, names())}')
    return HERE / task
