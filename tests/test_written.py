"""Lists in one cell: what JSON, Python and numpy write, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_transfer.written import listed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", null]', ["a", None]),
        ("['a', 'b']", ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),
        ("['it\\'s' \"it's\"]", ["it's", "it's"]),
        ("[ 1  2.]", [1, 2.0]),
        ("[1e-3 2]", [0.001, 2]),
        (" [] ", []),
        ("a", None),
        ("[a b]", None),
        # numbers to a careless eye
        ("[1.2.3 4]", None),
        ("[... 5]", None),
        ("[007 2]", None),
        ("[24.12.2020 18.30]", None),
        (r"['\x' 'b']", None),
    ],
)
def test_what_is_a_list_is_read_and_nothing_else_breaks(text: str, expected: list[Any] | None) -> None:
    assert listed(text) == expected


@given(st.text(alphabet="'\"\\.0127e-+ ,ab\n", max_size=12))
def test_no_text_in_brackets_breaks_the_reader(text: str) -> None:
    found = listed(f"[{text}]")
    assert found is None or isinstance(found, list)


@pytest.mark.parametrize("part", ["1", "1 ", " ", "'", "'a' ", "1.", "\\", '"a"'])
def test_a_long_text_takes_no_longer_than_its_length(part: str) -> None:
    found = listed(f"[{part * 200_000}x]")
    assert found is None or isinstance(found, list)
