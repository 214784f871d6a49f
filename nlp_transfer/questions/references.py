"""True answers to questions as files write them, and where they stand in their context."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

FORMS = (
    'expected a text, {"text": [...], "answer_start": [...]}, a list of {"text": ..., "answer_start": ...}, or nothing where '
    "there is no answer"
)


@dataclass(frozen=True)
class Reference:
    """One true answer: its text, and the character of the context where it begins, if the file says so."""

    text: str
    start: int | None = None


@dataclass(frozen=True)
class Found:
    """A true answer in its context."""

    text: str
    start: int
    moved: bool = False
    """Whether the file's offset was another."""
    first: bool = False
    """Whether the file has no offset, and the text stands there several times, as a word of its own or only in others."""


def read(cell: Any, start: Any = None) -> list[Reference]:
    """The true answers in a cell; none where a question has no answer.

    Args:
        cell: a text, columns or a list of answers, or JSON of these; empty for none.
        start: where the one text begins, from a cell beside it.

    Raises:
        ValueError: for anything else, with a clause that says what is wrong.
    """
    if empty(cell):
        if begin := offset(start):
            raise ValueError(f"answer_start is {begin}, and there is no answer: expected both, or neither")
        return []
    # brackets alone mean no answer, unless something says where they stand
    cell = cell if str(cell).strip() == "[]" and not empty(start) else _parsed(cell)
    if isinstance(cell, str):
        return [_reference(cell, start)]
    if isinstance(cell, dict) and set(cell) >= {"text"} and isinstance(cell["text"], list):
        texts, starts = cell["text"], cell.get("answer_start")
        starts = [None] * len(texts) if starts is None else starts
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise ValueError(f"{len(texts)} answers, and not as many in answer_start")
        return [_reference(text, begin) for text, begin in zip(texts, starts, strict=True)]
    if cell == {}:
        raise ValueError(
            "nothing says whether there is an answer: expected answers, or an empty list where there is none"
        )
    if isinstance(cell, dict):
        cell = [cell]
    if isinstance(cell, list):
        every = [answer if isinstance(answer, dict) else {"text": answer} for answer in cell]
        return [_reference(answer.get("text"), answer.get("answer_start")) for answer in every]
    raise ValueError(f"{str(cell)[:40]} ({type(cell).__name__}) is no answer: {FORMS}")


def columns(cell: Any, start: Any = None) -> dict[str, list[Any]]:
    """The same as columns, the one form that every cell is brought to.

    Raises:
        ValueError: as `read`.
    """
    answers = read(cell, start)
    return {"text": [each.text for each in answers], "answer_start": [each.start for each in answers]}


def empty(cell: Any) -> bool:
    """Whether nothing stands in a cell."""
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip())
    )


def offset(cell: Any) -> int | None:
    """A character's number in a cell, which may be empty.

    Raises:
        ValueError: for what is no whole number, or below 0.
    """
    if empty(cell):
        return None
    try:
        if isinstance(cell, bool) or float(cell) != int(float(cell)) or not 0 <= float(cell) < 2**63:
            raise ValueError
        return int(float(cell))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{str(cell)[:40]} is no place of a character: expected a whole number from 0") from None


def impossible(cell: Any) -> bool | None:
    """Whether a cell says that a question has no answer; None where it is empty and says nothing.

    Raises:
        ValueError: for anything but yes and no, with a clause that says so.
    """
    if empty(cell):
        return None
    said = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(
        str(cell).strip().lower()
    )
    if said is None:
        raise ValueError(f"{str(cell)[:40]} ({type(cell).__name__}) where true or false is expected")
    return said


def contradiction(flag: Any, answers: Sequence[Reference]) -> str | None:
    """Why answers cannot be true beside a cell that says whether there is none; None where they can."""
    said = impossible(flag)
    if said and answers:
        return (
            f'is_impossible is true, and there is the answer "{answers[0].text[:60]}": expected no answers where a question has '
            "none (what only looks like one is in plausible_answers)"
        )
    if said is False and not answers:
        return "is_impossible is false, and there is no answer: expected an answer, or true where there is none"
    return None


def found(reference: Reference, context: str) -> Found:
    """Where an answer stands in its context. An offset that is off is put right where the text stands there only once.

    Without an offset it is the first place where the text is no piece of a longer word, or else the first.

    Raises:
        ValueError: with a clause that says why it cannot be told.
    """
    text, start = reference.text, reference.start
    if start is not None and context.startswith(text, start):
        return Found(text, start)
    first = context.find(text)
    if first < 0:
        raise ValueError(f'the answer "{text[:60]}" is not in the context')
    again = context.find(text, first + 1) >= 0
    if start is None:
        whole = [match.start() for match in _whole(text, context)] if again else [first]
        return Found(text, whole[0] if whole else first, first=len(whole) != 1)
    if again:
        outside = " (the text ends before)" if start >= len(context) else ""
        raise ValueError(
            f'the answer "{text[:60]}" does not begin at character {start}{outside}, but at several others: say at which'
        )
    return Found(text, first, moved=True)


def _whole(text: str, context: str) -> Iterator[re.Match[str]]:
    """The first two places where a text is no piece of a longer word."""
    return islice(re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", context), 2)


def every(rows: Mapping[str, Sequence[Any]]) -> list[list[Found] | str]:
    """The true answers of each row where they stand in its context, or what is wrong with them.

    Args:
        rows: columns `context` and `answers`, and `answer_start` where the file has one.
    """
    starts = rows.get("answer_start") or [None] * len(rows["answers"])
    answers: list[list[Found] | str] = []
    for context, cell, start in zip(rows["context"], rows["answers"], starts, strict=True):
        try:
            answers.append([found(reference, context) for reference in read(cell, start)])
        except ValueError as error:
            answers.append(str(error))
    return answers


def _reference(text: Any, start: Any) -> Reference:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"an answer without a text: {FORMS}")
    begin, blanks = offset(start), len(text) - len(text.lstrip())
    return Reference(text.strip(), None if begin is None else begin + blanks)


def _parsed(cell: Any) -> Any:
    """JSON in a cell of text, which is how CSV holds several answers; "[1911]" is a text."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "["):
        try:
            found = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
        return found if isinstance(found, dict) or all(isinstance(each, dict | str) for each in found) else cell
    return cell
