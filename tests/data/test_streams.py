"""Streams: window by window a file holds what it holds when it is read whole, and what is refused is refused alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlp_transfer.data import files, streams
from nlp_transfer.errors import RequestError
from tests.data.test_hostile import MALFORMED, VALID, put

Rows = tuple[list[dict[str, Any]], list[int], list[tuple[int, str]]]

BROKEN = [case for case in MALFORMED if len(case.files) == 1 and files.form(Path(next(iter(case.files))))]


def streamed(path: Path) -> Rows:
    with streams.stream(path, files.known_form(path)) as stream:
        windows = list(stream.windows)
    records = [record for window in windows for record in window.records]
    return (
        records,
        [place for window in windows for place in window.places],
        [b for window in windows for b in window.bad],
    )


def whole(path: Path) -> Rows:
    table = files.read(path)
    rows = zip(*table.columns.values(), strict=True)
    return [dict(zip(table.columns, row, strict=True)) for row in rows], table.places, table.bad


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
def test_what_is_valid_streams(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ROWS", 8)
    put(tmp_path, {case.file: case.content})
    assert streamed(tmp_path / case.file) == whole(tmp_path / case.file)


def answer(read: Callable[[Path], Rows], path: Path) -> Rows | str:
    """What reading gives: rows, or a message."""
    try:
        found = read(path)
    except RequestError as error:
        return str(error)
    return found if found[0] or found[2] else f"{path} holds no rows."


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_what_is_malformed_is_refused_alike(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ROWS", 8)
    put(tmp_path, case.files)
    path = tmp_path / next(iter(case.files))
    expected, found = answer(whole, path), answer(streamed, path)
    if isinstance(expected, tuple) and isinstance(found, tuple):
        names = list(expected[0][0])
        found = ([{name: record.get(name) for name in names} for record in found[0]], *found[1:])
    assert found == expected


def test_there_is_something_to_stream() -> None:
    assert len(BROKEN) > 30
