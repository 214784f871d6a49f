"""Records: a broken quote costs a row, little memory and little time."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest

from nlp_transfer.data import records
from nlp_transfer.data.records import SWALLOWED
from nlp_transfer.errors import RequestError

Read = tuple[list[tuple[int, dict[str, object]]], list[tuple[int, str]]]


def read(text: str, kind: str = ".csv") -> Read:
    bad: list[tuple[int, str]] = []
    return list(records.records("a.csv", kind, io.BytesIO(text.encode()), bad)), bad


def test_after_a_quote_that_is_never_closed_every_line_is_a_row_again() -> None:
    found, bad = read('text,label\na,x\n"never closed,x\n' + "b,y\n" * 9)
    assert [place for place, _ in found] == [2, *range(4, 13)]
    assert [place for place, _ in bad] == [3]


def test_broken_quotes_beside_quoted_line_breaks_keep_all_places() -> None:
    found, bad = read('text,label\n"a\nb",x\n"c"d,x\n"e\r\nf",y\n"g,x\n"h\n",y\nlast,x\n')
    assert [(place, record["text"]) for place, record in found] == [
        (2, "a\nb"), (5, "e\r\nf"), (8, "h\n"), (10, "last")
    ]  # fmt: skip
    assert [place for place, _ in bad] == [4, 7]


@pytest.mark.parametrize("size", [SWALLOWED - 10, SWALLOWED + 10])
def test_a_quoted_cell_may_go_on_for_many_lines_but_not_for_ever(size: int) -> None:
    cell = "line\n" * (size // 5)
    found, bad = read(f'text,label\n"{cell}",x\nlast,y\n')
    if size < SWALLOWED:
        assert [record["text"] for _, record in found] == [cell, "last"]
        assert not bad
    else:
        assert [record["text"] for _, record in found] == ["last"]
        assert bad[0] == (2, f"a quote is opened and not closed in {SWALLOWED:,} characters")


def test_a_line_alone_may_be_of_any_length() -> None:
    cell = "a, " * SWALLOWED
    [(_, record)], bad = read(f'text,label\n"{cell}",x\n')
    assert record["text"] == cell
    assert not bad


def test_no_more_is_held_than_the_bound_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SWALLOWED", 100)
    monkeypatch.setattr(records, "LEAST", 10)
    text = ["text,label\n", '"never closed,x\n', *["b,y\n"] * 10_000]
    taken = 0

    def watched() -> Iterator[str]:
        nonlocal taken
        for line in text:
            taken += 1
            yield line

    bad: list[tuple[int, str]] = []
    found = records._separated("a.csv", watched(), ",", bad)
    assert next(found) == (3, {"text": "b", "label": "y"})
    assert bad == [(2, "a quote is opened and not closed in 100 characters")]
    assert taken <= 2 + 100 / 4 + 1
    assert sum(1 for _ in found) == 10_000 - 1
    assert taken == len(text)


def test_a_header_whose_quote_goes_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SWALLOWED", 100)
    monkeypatch.setattr(records, "LEAST", 10)
    with pytest.raises(RequestError, match=r"^a\.csv, line 2: a quote is opened and not closed in 100 characters\.$"):
        read('\n"text,label\n' + "b,y\n" * 1000)


@pytest.mark.parametrize("line", ['a","b\n', '"a\n', 'a,"b\n', '""a\n'])
def test_a_file_full_of_broken_quotes_takes_no_time(line: str) -> None:
    started = time.perf_counter()
    found, bad = read("text,label\nfine,x\n" + line * 20_000)
    assert found[0] == (2, {"text": "fine", "label": "x"})
    assert len(bad) > 5_000
    assert time.perf_counter() - started < 60
