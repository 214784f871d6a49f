"""Cuts: many rows are sorted, drawn and compared part by part, and as few rows are at once."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_transfer import scratch
from nlp_transfer.data import cuts, grouping, repeats
from nlp_transfer.data.cuts import _others, drawn
from nlp_transfer.data.grouping import grouped
from nlp_transfer.data.repeats import Looked, Repeats
from nlp_transfer.scratch import filled, selected

SMALL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is done in parts of three rows, and lies in files."""
    for module in (cuts, grouping, scratch):
        monkeypatch.setattr(module, "SPAN", 3)
    monkeypatch.setattr(repeats, "PART", 3)
    monkeypatch.setattr(scratch, "MANY", 1)


@SMALL
@given(codes=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_grouped_rows_are_those_of_a_stable_sort(parts: None, codes: list[int]) -> None:
    members, starts = grouped(np.array(codes), 5)
    assert members.tolist() == np.argsort(codes, kind="stable").tolist()
    assert np.diff(starts).tolist() == np.bincount(codes, minlength=5).tolist()


def plainly_drawn(strata: Sequence[str], count: int, seed: int) -> list[int]:
    generator = np.random.default_rng([seed, len(strata)])
    order: list[int] = []
    for name in sorted(set(strata)):
        order += generator.permutation([i for i, each in enumerate(strata) if each == name])[1:].tolist()
    count = min(count, len(order))
    places = (np.arange(count) + generator.random()) * len(order) / count
    return sorted(order[int(place)] for place in places)


@SMALL
@given(
    strata=st.lists(st.sampled_from("abc"), min_size=2, max_size=40), count=st.integers(1, 20), seed=st.integers(0, 9)
)
def test_rows_are_drawn_in_parts_as_at_once(parts: None, strata: list[str], count: int, seed: int) -> None:
    if len(set(strata)) < len(strata):
        assert drawn(iter(strata), len(strata), count, seed).tolist() == plainly_drawn(strata, count, seed)


@SMALL
@given(rows=st.integers(2, 30), data=st.data())
def test_the_others_are_all_that_are_not_taken_and_selections_lie_on_each_other(
    parts: None, rows: int, data: st.DataObject
) -> None:
    taken = np.array(sorted(data.draw(st.sets(st.integers(0, rows - 1), max_size=rows - 1))), dtype=int)
    rest = _others(taken, rows)
    assert rest.tolist() == [i for i in range(rows) if i not in taken]
    again = np.array(data.draw(st.lists(st.integers(0, len(rest) - 1), min_size=1)))
    numbered = Dataset.from_dict({"number": list(range(rows))})
    assert selected(selected(numbered, rest), again)["number"][:] == rest[again].tolist()


@pytest.mark.parametrize("rows", [5, 7])
def test_a_stratum_for_every_row_is_asked_for(parts: None, rows: int) -> None:
    with pytest.raises(ValueError, match=r"more than 5|too short"):
        drawn(iter("aabbcc"), rows, 2, 0)


IN_FILES = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no promise of room on this system's disks")

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=12)


@SMALL
@given(train=ROWS, test=ROWS)
def test_repeats_are_those_that_a_look_at_all_pairs_finds(
    parts: None, train: list[tuple[int, int]], test: list[tuple[int, int]]
) -> None:
    splits = {"train": train, "test": test}
    found = Repeats.among({name: looked(rows) for name, rows in splits.items()})
    for name, rows in splits.items():
        again = [i for i, row in enumerate(rows) if row in rows[:i]]
        assert (found.copies[name].count, found.copies[name].first) == (len(again), [(i,) for i in again[:3]])
    texts = [text for text, _ in train]
    seen = [(i, texts.index(text)) for i, (text, _) in enumerate(test) if text in texts]
    assert (found.seen["test"].count, found.seen["test"].first) == (len(seen), seen[:3])
    everything = {*train, *test}
    unlike = {text for text, _ in everything if sum(text == other for other, _ in everything) > 1}
    assert found.texts == len(unlike)
    for name, rows in splits.items():
        these = [(i,) for i, (text, _) in enumerate(rows) if text in unlike]
        assert (found.unlike[name].count, found.unlike[name].first) == (len(these), these[:3])


def looked(rows: list[tuple[int, int]]) -> Looked:
    return Looked(
        np.array([text for text, _ in rows], dtype=np.uint64),
        np.array([10 * text + answer for text, answer in rows], dtype=np.uint64),
    )


@IN_FILES
def test_many_numbers_lie_in_a_file_that_nobody_sees(
    parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "scratch", lambda: tmp_path)
    numbers = filled(range(10), 10, np.int32)
    assert isinstance(numbers.base, memoryview)
    assert isinstance(numbers.base.obj, mmap.mmap)
    assert numbers.tolist() == list(range(10))
    assert not any(tmp_path.iterdir())


@IN_FILES
def test_numbers_stay_in_memory_where_the_disk_is_full(parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    numbers = filled(range(10), 10, np.int32)
    assert numbers.base is None
    assert numbers.tolist() == list(range(10))
