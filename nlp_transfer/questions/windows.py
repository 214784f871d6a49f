"""Windows: a question and as much of its context as a model reads at once, as many as the context needs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from nlp_transfer.errors import RequestError
from nlp_transfer.texts import Frame, groups

TEMPLATE = "Question: {question}\nContext:\n"
"""What stands before the context where a tokenizer has no separator; an end token stands behind it, and before it all what
the tokenizer has texts begin with, once."""

QUESTION = 64
"""Tokens of a question that are read, or half a window if that is less (Devlin et al. 2019 read 64)."""

ROOM = 8
"""Tokens of context that a window must have room for, whatever the question."""


def encoded(
    questions: Sequence[str], contexts: Sequence[str], tokenizer: PreTrainedTokenizerBase, stride: int
) -> dict[str, list[Any]]:
    """The windows of some questions, in columns.

    Args:
        questions: any texts.
        contexts: one per question.
        tokenizer: fast; its `model_max_length` is the length of a window.
        stride: tokens of context that a window shares with the one before; at most half of what it has room for.

    Returns:
        `input_ids`; `token_type_ids` where the tokenizer gives them; `row`, whose window it is; `cut`, whether the question
        was; `null`, the token that stands for "no answer"; `first`, the first token of the context; `starts` and `ends`, the
        characters of the context where each of its tokens begins and ends.

    Raises:
        RequestError: for a tokenizer without offsets, or a window that is too small.
    """
    if not tokenizer.is_fast:
        raise RequestError(
            "the tokenizer of this backbone does not say where its tokens stand in a text: take another."
        )
    questions, cut = _cut([question.lstrip() for question in questions], tokenizer, longest_question(tokenizer))
    before, after = around(tokenizer)
    columns: dict[str, list[Any]] = {name: [] for name in ("row", "cut", "input_ids", "token_type_ids", "null")}
    columns |= {name: [] for name in ("first", "starts", "ends")}
    done = 0
    for texts in groups(contexts):
        batch = tokenizer(
            [prompt(question, tokenizer) for question in questions[done : done + len(texts)]],
            texts,
            truncation="only_second",
            max_length=tokenizer.model_max_length - len(before) - len(after),
            stride=overlap(tokenizer, stride),
            add_special_tokens=separates(tokenizer),
            return_overflowing_tokens=True,
            return_attention_mask=False,
        )
        owners = batch["overflow_to_sample_mapping"]
        for encoding, owner in zip(batch.encodings or [], owners, strict=True):
            first, starts, ends = _context(encoding, texts[owner])
            types = encoding.type_ids
            columns["row"].append(done + owner)
            columns["cut"].append(cut[done + owner])
            columns["input_ids"].append([*before, *encoding.ids, *after])
            columns["token_type_ids"].append([*types[:1] * len(before), *types, *types[-1:] * len(after)])
            columns["null"].append(_null(columns["input_ids"][-1], tokenizer))
            columns["first"].append(len(before) + first)
            columns["starts"].append(starts)
            columns["ends"].append(ends)
        done += len(texts)
    if "token_type_ids" not in tokenizer.model_input_names:
        del columns["token_type_ids"]
    return columns


def targets(
    windows: dict[str, list[Any]], answers: Sequence[tuple[int, int] | None], longest: int
) -> dict[str, list[Any]]:
    """The tokens where the answer of each window's row begins and ends; both `null` where the window does not hold it all.

    Args:
        windows: as `encoded` gave them, all of each row.
        answers: characters of each row's answer, from and to; None where it has none.
        longest: tokens of an answer that may be given.

    Returns:
        `start`, `end`, and `unheld`: whether the row has an answer that no window holds all of, or a longer one.
    """
    found: dict[str, list[Any]] = {"start": [], "end": []}
    held: set[int] = set()
    columns = (windows[name] for name in ("row", "null", "first", "starts", "ends"))
    for row, null, first, starts, ends in zip(*columns, strict=True):
        answer, start, end = answers[row], null, null
        if answer is not None and len(starts) and starts[0] <= answer[0] and answer[1] <= ends[-1]:
            # of tokens of the same characters, bytes of one, the first and the last
            start = first + int(np.searchsorted(ends, answer[0], side="right"))
            end = first + int(np.searchsorted(starts, answer[1], side="left")) - 1
            # an answer of characters that are in no token
            start, end = (start, end) if start <= end else (null, null)
            if start != null and end - start < longest:
                held.add(row)
        found["start"].append(start)
        found["end"].append(end)
    found["unheld"] = [answers[row] is not None and row not in held for row in windows["row"]]
    return found


def separates(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has tokens of its own around and between two texts."""
    return tokenizer.sep_token_id is not None and tokenizer.cls_token_id is not None


def prompt(question: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """What stands before the context."""
    return question if separates(tokenizer) else TEMPLATE.format(question=question)


def around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What stands before a prompt and behind a context that are joined without a separator; nothing where there is one.

    Behind the context always something does: a model that reads from left to right knows only there that there is no answer.
    """
    if separates(tokenizer):
        return [], []
    before, _, after = Frame.of(tokenizer, paired=False).ids
    return before, after or [tokenizer.pad_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id]


def _null(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> int:
    return ids.index(tokenizer.cls_token_id) if separates(tokenizer) else len(ids) - 1


def longest_question(tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of a question that are read."""
    return _room(tokenizer)[0]


def overlap(tokenizer: PreTrainedTokenizerBase, stride: int) -> int:
    """Tokens of context that neighbouring windows share: as asked for, and at most half of what a window has room for."""
    return min(stride, _room(tokenizer)[1] // 2)


def _room(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Tokens of a question that are read, and tokens of context for which a window has room beside it."""
    length = tokenizer.model_max_length
    template = tokenizer(prompt("", tokenizer), "", add_special_tokens=separates(tokenizer))["input_ids"]
    needed = len(template) + sum(map(len, around(tokenizer)))
    longest = min(QUESTION, length // 2 - needed)
    room = length - needed - longest
    if longest < 1 or room < ROOM:
        raise RequestError(
            f"data.max_length is {length}, which leaves no room for a question and its context: expected "
            f"{max(2 * ROOM, 2 * needed + 2)} or more."
        )
    return longest, room


def _cut(questions: list[str], tokenizer: PreTrainedTokenizerBase, longest: int) -> tuple[list[str], list[bool]]:
    """Questions of at most so many tokens, and which of them were longer."""
    batch = tokenizer(
        questions, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, truncation=False
    )
    kept = [
        question if len(offsets) <= longest else question[: offsets[longest - 1][1]]
        for question, offsets in zip(questions, batch["offset_mapping"], strict=True)
    ]
    return kept, [len(offsets) > longest for offsets in batch["offset_mapping"]]


def _take_in(starts: list[int], ends: list[int], text: str) -> None:
    """Give characters that a tokenizer drops, accents and joiners say, to the word they stand in: to the token before them,
    or, behind white space, to the one after them.
    """
    for i in range(1, len(starts)):
        while ends[i - 1] < starts[i] and not text[ends[i - 1]].isspace():
            ends[i - 1] += 1
        while ends[i - 1] < starts[i] and not text[starts[i] - 1].isspace():
            starts[i] -= 1
    # before the first token and behind the last one, other characters are another window's
    while starts and ends[-1] < len(text) and _dropped(text[ends[-1]]):
        ends[-1] += 1
    if starts:
        begins = starts[0]
        while begins and _dropped(text[begins - 1]):
            begins -= 1
        starts[0] = starts[0] if begins and not text[begins - 1].isspace() else begins


def _dropped(character: str) -> bool:
    """Whether it is a mark or a format character, which tokenizers may drop."""
    return unicodedata.category(character) in ("Mn", "Me", "Cf")


def _context(encoding: Any, text: str) -> tuple[int, np.ndarray, np.ndarray]:
    """Of a window the first token of the context, and where each of its tokens begins and ends, without white space."""
    inside = np.array([sequence == 1 for sequence in encoding.sequence_ids], dtype=bool)
    first, count = (int(inside.argmax()), int(inside.sum())) if inside.any() else (len(inside), 0)
    starts, ends = [], []
    for start, end in encoding.offsets[first : first + count]:
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        starts.append(start)
        ends.append(end)
    _take_in(starts, ends, text)
    # a token of white space begins where the next one does, and ends where the one before it does
    for i in range(count - 2, -1, -1):
        if starts[i] == ends[i]:
            starts[i] = starts[i + 1]
    for i in range(1, count):
        if text[ends[i] - 1 : ends[i]].isspace():
            ends[i] = ends[i - 1]
    return first, np.array(starts, dtype=np.int32), np.array(ends, dtype=np.int32)
