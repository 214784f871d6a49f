"""Words: where they stand, the pieces of each, and windows in which every word is answered once."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.errors import RequestError
from nlp_transfer.tagging.words import encoded, inside, joined, places, tagged, touched, windows

relaxed = settings(deadline=None, database=None, max_examples=100)


@pytest.mark.parametrize(
    ("splitting", "text", "expected"),
    [
        ("punctuation", "Moscow-based, U.S.", ["Moscow", "-", "based", ",", "U", ".", "S", "."]),
        ("space", "Moscow-based, U.S.", ["Moscow-based", ",", "U.S", "."]),
        ("space", "(don't)\n--", ["(", "don't", ")", "-", "-"]),
        ("space", "我住在北京。", list("我住在北京。")),
        ("punctuation", "हिन्दी में", ["हिन्दी", "में"]),
        ("space", " \u00a0x ", ["x"]),
    ],
)
def test_words_of_a_text(splitting: Any, text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in places(text, splitting)] == expected


def test_tokens_are_words_as_they_stand() -> None:
    tokens = ["New York", ",", "U.S."]
    text = joined(tokens)
    assert [text[start:end] for start, end in places(tokens, "punctuation")] == tokens


def test_spans_and_words() -> None:
    where = places("Ada Novak-Smith left", "space")
    assert touched(where, 0, 3) == (0, 1)
    assert touched(where, 0, 9) == (0, 2)
    assert touched(where, 3, 4) == (1, 1)
    assert inside(where, [(0, 9, "PER")])
    assert not inside(where, [(0, 15, "PER")])
    assert tagged(where, [(0, 15, "PER"), (16, 20, "LOC")], {"LOC": 0, "PER": 1}).tolist() == [3, 4, 1]
    # a word that two spans share belongs to the first
    assert tagged(where, [(4, 9, "PER"), (10, 15, "LOC")], {"LOC": 0, "PER": 1}).tolist() == [0, 3, 0]


@relaxed
@given(st.lists(st.integers(1, 8), min_size=1, max_size=60), st.integers(8, 24), st.integers(0, 12))
def test_windows_hold_whole_words_and_answer_each_once(pieces: list[int], room: int, stride: int) -> None:
    ends = np.cumsum([0, *pieces]).tolist()
    found = windows(ends, room, min(stride, room // 2))
    answered = [word for _, _, first, stop in found for word in range(first, stop)]
    assert answered == list(range(len(pieces)))
    for start, end, first, stop in found:
        assert start <= first < stop <= end
        assert ends[end] - ends[start] <= room
    for one, other in itertools.pairwise(found):
        assert ends[one[1]] - ends[other[0]] <= stride
    if ends[-1] <= room:
        assert len(found) == 1


def test_pieces_are_those_that_transformers_gives_to_words(tiny_bert: Path) -> None:
    tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(64)
    rows = [["Unbelievably", "good", "soup", "!"], ["I", "cancelled", "yesterday", "."]]
    plain = tokenizer(rows, is_split_into_words=True)
    first = encoded(rows, tokenizer, "space", 8, last_piece=False)
    last = encoded(rows, tokenizer, "space", 8, last_piece=True)
    assert first["input_ids"] == last["input_ids"] == plain["input_ids"]
    for i in range(2):
        words = plain.word_ids(i)
        assert first["answered"][i] == [words.index(word) for word in range(4)]
        assert last["answered"][i] == [len(words) - 1 - words[::-1].index(word) for word in range(4)]
    assert any(first["answered"][i] != last["answered"][i] for i in range(2))
    assert encoded([" ".join(row) for row in rows], tokenizer, "space", 8, last_piece=False) == first


def test_a_word_answers_where_it_has_most_around_it(tiny_gpt2: Path) -> None:
    tokenizer = Backbone.find(ModelSettings(str(tiny_gpt2))).tokenizer(16)
    text = " ".join("soup" if i % 3 else "waiter" for i in range(40))
    found = encoded([text], tokenizer, "space", 8, last_piece=True)
    assert max(map(len, found["input_ids"])) <= 16
    assert set(found["row"]) == {0}
    assert sum(map(len, found["answered"])) == 40
    assert found["first"] == np.cumsum([0, *map(len, found["answered"])])[:-1].tolist()
    whole = tokenizer(text)["input_ids"]
    read = [ids[at] for ids, tokens in zip(found["input_ids"], found["answered"], strict=True) for at in tokens]
    everything = encoded([text], Backbone.find(ModelSettings(str(tiny_gpt2))).tokenizer(1000), "space", 8, True)
    assert everything["input_ids"] == [whole]
    assert read == [whole[at] for at in everything["answered"][0]]
    # in the middle nothing is answered at the very edge of a window
    for ids, tokens in list(zip(found["input_ids"], found["answered"], strict=True))[1:-1]:
        assert tokens[0] > 1
        assert tokens[-1] < len(ids) - 1


def test_a_word_longer_than_a_window_and_one_that_is_dropped(tiny_bert: Path) -> None:
    tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(12)
    found = encoded([["soup", "x" * 100, "\u0007", "soup"]], tokenizer, "space", 4, last_piece=False)
    assert sum(map(len, found["answered"])) == 4
    assert max(map(len, found["input_ids"])) == 12
    with pytest.raises(RequestError, match="expected 10 or more"):
        encoded(["soup"], Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(9), "space", 4, last_piece=False)
