"""Words: where they stand in a text, their pieces, and windows of as many words as a model reads at once."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from nlp_transfer.errors import RequestError

Places = list[tuple[int, int]]
"""Where words begin and end in a text."""

Splitting = Literal["space", "punctuation"]

ROOM = 8
"""Tokens that a window must have room for."""

# scripts that write no blanks between words (Thai to Khmer, kana, Han): each character is a word
SINGLE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"

# vowel signs and accents, which Python's \w leaves out
MARKS = "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0dff\u200c\u200d"

LETTER = rf"(?:(?![{SINGLE}])[\w{MARKS}])"

WORD = re.compile(rf"{LETTER}+|\S")
"""Letters and digits in a row, or any one other character."""

CORE = re.compile(rf"{LETTER}(?:(?:(?![{SINGLE}])\S)*{LETTER})?|\S")
"""From a letter to the last one before white space, with all between; or any one other character."""


def places(text: str | Sequence[str], splitting: Splitting) -> Places:
    """Where the words of a text stand, or of tokens, between which one reads blanks.

    Args:
        text: a text, or tokens, each of which is a word.
        splitting: `punctuation`: letters and digits in a row are a word, every other character is one; `space`: only the
            characters around a word are apart, not those inside it ("Moscow-based", "U.S").
    """
    if isinstance(text, str):
        return [match.span() for match in (CORE if splitting == "space" else WORD).finditer(text)]
    ends = itertools.accumulate(len(token) + 1 for token in text)
    return [(end - 1 - len(token), end - 1) for token, end in zip(text, ends, strict=True)]


def joined(text: str | Sequence[str]) -> str:
    """A text, or tokens with blanks between them: what `places` speaks of."""
    return text if isinstance(text, str) else " ".join(text)


def touched(places: Places, start: int, end: int) -> tuple[int, int]:
    """Which words have a character of a span, from and to (that one has none); equal where none has."""
    return bisect_right(places, start, key=lambda word: word[1]), bisect_right(
        places, end - 1, key=lambda word: word[0]
    )


def inside(places: Places, spans: Sequence[tuple[int, int, str]]) -> bool:
    """Whether a span begins or ends inside a word."""
    edges = {start for start, _ in places}, {end for _, end in places}
    return any(start not in edges[0] or end not in edges[1] for start, end, _ in spans)


def tagged(places: Places, spans: Sequence[tuple[int, int, str]], types: Mapping[str, int]) -> np.ndarray:
    """The number of each word's tag of BIO2 (words,): 0 outside, of type i 2i + 1 where it begins and 2i + 2 inside.

    A word that two spans share belongs to the first.
    """
    numbers = np.zeros(len(places), dtype=np.int64)
    after = 0
    for start, end, kind in sorted(spans):
        first, last = touched(places, start, end)
        first = max(first, after)
        numbers[first:last] = 2 * types[kind] + 2
        numbers[first : min(first + 1, last)] = 2 * types[kind] + 1
        after = max(after, last)
    return numbers


def encoded(
    texts: Sequence[str | Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    splitting: Splitting,
    stride: int,
    last_piece: bool,
) -> dict[str, list[Any]]:
    """Windows over the words of some texts, in columns.

    Every word is tokenized by itself, with a blank before it where white space is, so that no piece belongs to two words. A
    word stands whole in its windows, and is answered in one of them: where it has most around it.

    Args:
        texts: texts, or tokens.
        tokenizer: its `model_max_length` is the length of a window.
        splitting: of texts into words, as `places` takes it.
        stride: tokens that a window shares with the one before, or one word less; at most half of what it has room for.
        last_piece: whether a word is answered at its last piece, instead of at its first.

    Returns:
        `input_ids`; `row`, whose window it is; `first`, the first word that it answers; `answered`, the tokens where it
        answers its words, in their order; `tokens` and `lost`, how many tokens the row has and how many no window holds, in
        its first window, with 0 in the others.

    Raises:
        RequestError: for a window that is too small.
    """
    before, after = _around(tokenizer)
    room = tokenizer.model_max_length - len(before) - len(after)
    if room < ROOM:
        least = ROOM + len(before) + len(after)
        raise RequestError(f"data.max_length is {tokenizer.model_max_length}: expected {least} or more.")
    columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "row", "first", "answered", "tokens", "lost")}
    for row, pieces in enumerate(_pieces(texts, tokenizer, splitting)):
        # of a word that no window holds only the beginning is read
        ends = [0, *itertools.accumulate(min(len(each), room) for each in pieces)]
        for start, end, first, stop in windows(ends, room, min(stride, room // 2)):
            inside = [number for each in pieces[start:end] for number in each[:room]]
            columns["input_ids"].append([*before, *inside, *after])
            columns["row"].append(row)
            columns["first"].append(first)
            whole = 0 if start else sum(map(len, pieces))
            columns["tokens"].append(0 if start else whole + len(before) + len(after))
            columns["lost"].append(0 if start else whole - ends[-1])
            at = [end - 1 for end in ends[first + 1 : stop + 1]] if last_piece else ends[first:stop]
            columns["answered"].append([token - ends[start] + len(before) for token in at])
    return columns


def windows(ends: Sequence[int], room: int, stride: int) -> list[tuple[int, int, int, int]]:
    """Windows of whole words: their first word, the one after their last, and the same of the words that each answers.

    Args:
        ends: 0, and the tokens up to the end of each word; no word has more than `room`.
        room: tokens of a window.
        stride: tokens that neighbours share, at most.
    """
    count = len(ends) - 1
    spans, start = [], 0
    while True:
        end = bisect_right(ends, ends[start] + room) - 1
        spans.append((start, end))
        if end >= count:
            break
        # the next window shares what it may, as long as the next word is in it
        least = max(ends[end] - stride, ends[end + 1] - room)
        start = bisect_left(ends, least)
    found, first = [], 0
    for (start, end), following in itertools.zip_longest(spans, spans[1:]):
        stop = count if following is None else max(first + 1, (following[0] + end + 1) // 2)
        found.append((start, end, first, stop))
        first = stop
    return found


def _pieces(
    texts: Sequence[str | Sequence[str]], tokenizer: PreTrainedTokenizerBase, splitting: Splitting
) -> list[list[list[int]]]:
    """The token ids of each word of each text; a word that the tokenizer drops has the unknown token."""
    rows = [_strings(text, places(text, splitting)) for text in texts]
    every = list(dict.fromkeys(word for words in rows for word in words))
    options = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    found: Any = tokenizer(every, **options)["input_ids"] if every else []
    nothing = tokenizer.pad_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    pieces = {word: ids or [nothing] for word, ids in zip(every, found, strict=True)}
    return [[pieces[word] for word in words] for words in rows]


def _strings(text: str | Sequence[str], where: Places) -> list[str]:
    """The words of a text as they are tokenized: with a blank before each that follows white space."""
    if not isinstance(text, str):
        return [f" {token}" if i else token for i, token in enumerate(text)]
    return [f" {text[a:b]}" if a and text[a - 1].isspace() else text[a:b] for a, b in where]


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    one: Any = tokenizer("a", return_special_tokens_mask=True)
    text = [i for i, special in enumerate(one["special_tokens_mask"]) if not special]
    return one["input_ids"][: text[0]], one["input_ids"][text[-1] + 1 :]
