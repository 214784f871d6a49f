"""Tag schemes: how tags of tokens say where entities begin and end, recognised, read, and written as BIO2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nlp_transfer.errors import RowError, did_you_mean, listing

OUTSIDE = "O"

LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
"""Letters before a type, and which of BIOES each means: BILOU, BMES and BMEWO have others for end and single."""

PREFIXED = re.compile(r"(.)[-_](?!O\Z)(.+)", re.DOTALL)
"""A letter before a type; O is no type."""

NAMES = {
    "iob1": "IOB1: B- only where an entity follows another of its type",
    "bio2": "BIO2: every entity begins with B-",
    "bioes": "BIOES or BILOU: begin, inside, end and single",
    "plain": "plain types without a prefix: neighbours of one type are one entity",
}


WHOLE = "Where tags are whole types, say --task.scheme plain"


class Chunks(NamedTuple):
    """Entities of a tagged row, and whether tags had to be read otherwise than their scheme has them."""

    spans: list[tuple[int, int, str]]
    """Tokens from and to (that one is none of it), and the type."""
    repaired: bool
    """Whether I- or E- began an entity that should begin with B-."""
    endless: bool = False
    """Whether an entity of more than one token has no E-, or one of a single token no S-."""


def of_training(rows: Sequence[Sequence[str]], scheme: str) -> str:
    """The scheme of the tags of training, one of `NAMES`: the one asked for, or, for `auto`, the one that they have.

    Raises:
        RowError: for a row that has another.
    """
    for i, wrong in misfits(dict(enumerate(rows)), scheme).items():
        raise RowError(i, wrong)
    return recognised(rows) if scheme == "auto" else scheme


def misfits(rows: Mapping[int, Sequence[str]], scheme: str) -> dict[int, str]:
    """What is wrong with rows of tags that are not of the scheme asked for or, for `auto`, not of the kind that most rows have.

    There are two kinds: tags with a letter that a scheme knows before each type, and tags that are whole types.
    """
    if scheme != "auto":
        every = ((i, fault(tags, scheme, ())) for i, tags in rows.items())
        return {i: wrong for i, wrong in every if wrong}
    lettered: dict[int, list[str]] = {}
    whole: dict[int, list[str]] = {}
    for i, tags in rows.items():
        for tag in dict.fromkeys(tags):
            if tag != OUTSIDE:
                (lettered if _is_lettered(tag) else whole).setdefault(i, []).append(tag)
    only_whole = whole.keys() - lettered.keys()
    # where every type has a letter before it, these are of a scheme that nobody knows
    types = any(not PREFIXED.fullmatch(tag) for i in only_whole for tag in whole[i])
    if types and len(only_whole) > len(lettered.keys() - whole.keys()):
        why = "begins as those of a scheme do, and tags of most rows are whole types: expected one kind in all rows"
        return {i: f'the tag "{tags[0]}" {why}. {WHOLE}' for i, tags in lettered.items()}
    beside = f' beside "{next(iter(lettered.values()))[0]}"' if lettered else ""
    why = f"is of no scheme{beside}: expected {listing(LETTERS)} and a hyphen before a type"
    return {i: f'the tag "{tags[0]}" {why}. {WHOLE}' for i, tags in whole.items()}


def recognised(rows: Sequence[Sequence[str]]) -> str:
    """The scheme of tags that are all of one kind, one of `NAMES`."""
    letters = {tag[0] for tag in {tag for tags in rows for tag in tags} if _is_lettered(tag)}
    if not letters:
        return "plain"
    if not letters <= {"B", "I"}:
        return "bioes"
    # B- after no entity of its type is BIO2; I- there is IOB1, unless both occur, and then BIO2 with slips
    begins, continues = False, False
    for tags in rows:
        before = ""
        for tag in tags:
            if tag != OUTSIDE and tag[2:] != before:
                begins, continues = begins or tag[0] == "B", continues or tag[0] == "I"
            before = "" if tag == OUTSIDE else tag[2:]
    return "iob1" if continues and not begins else "bio2"


@lru_cache(maxsize=10_000)
def _is_lettered(tag: str) -> bool:
    """Whether a letter that some scheme knows stands before a type."""
    match = PREFIXED.fullmatch(tag)
    return match is not None and match[1] in LETTERS


@lru_cache(maxsize=10_000)
def parts(tag: str, scheme: str) -> tuple[str, str]:
    """A tag's letter of BIOES (O for none) and its type; of a tag that the scheme does not have two empty texts."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if scheme == "plain":
        return "I", tag
    match = PREFIXED.fullmatch(tag)
    letter = LETTERS.get(match[1], "") if match else ""
    if not match or (letter != match[1] if scheme != "bioes" else not letter) or letter not in _ALLOWED[scheme]:
        return "", ""
    return letter, match[2].strip()


_ALLOWED = {"iob1": "BI", "bio2": "BI", "bioes": "BIES"}


def fault(tags: Sequence[str], scheme: str, types: Sequence[str]) -> str | None:
    """What is wrong with tags for who knows the scheme and, if any are given, the types; None where nothing is."""
    for tag in dict.fromkeys(tags):
        letter, kind = parts(tag, scheme)
        if not letter:
            read = "as which those of training are read: expected one scheme in all files"
            asked = f"as --task.scheme {scheme} says: name the scheme of the file, or auto"
            return f'the tag "{tag}" is none of {NAMES[scheme].partition(":")[0]}, {read if types else asked}'
        if kind and types and kind not in types:
            return f'the type "{kind}" is not one of training. {did_you_mean(kind, types)}'
    return None


def chunks(tags: Sequence[str], scheme: str) -> Chunks:
    """The entities of a row of tags.

    Read as it is by `conlleval` (Tjong Kim Sang and De Meulder 2003) where tags break their scheme: I- or E- that continues
    no entity of its type begins one, and an entity that has no end goes to where another tag stands.
    """
    found: list[tuple[int, int, str]] = []
    repaired, endless, begun, before = False, False, 0, ("O", "")
    for i, tag in enumerate([*tags, OUTSIDE]):
        letter, kind = parts(tag, scheme)
        inside = before[0] in "BI" and letter in "IE" and kind == before[1]
        if before[1] and not inside:
            found.append((begun, i, before[1]))
            endless |= scheme == "bioes" and before[0] in "BI"
        if kind and not inside:
            begun = i
            repaired |= letter in "IE" and scheme in ("bio2", "bioes")
        before = (letter, kind)
    return Chunks(found, repaired, endless)


def names(types: Sequence[str]) -> list[str]:
    """The tags of BIO2 that a model knows, by their numbers: outside, and of each type begin and inside."""
    return [OUTSIDE, *(f"{letter}-{kind}" for kind in types for letter in "BI")]


class Runs(NamedTuple):
    """Entities in the words of many rows, one row after the other."""

    first: np.ndarray
    """Their first words (entities,)."""
    length: np.ndarray
    """How many words each has."""
    kind: np.ndarray
    """Numbers of their types."""
    repaired: np.ndarray
    """Whether each began with I-."""
    member: np.ndarray
    """The entity of each word (words,), -1 for none."""


def runs(labels: np.ndarray, starts: np.ndarray) -> Runs:
    """The entities that numbered tags of BIO2 say; I- that continues no entity of its type begins one.

    Args:
        labels: numbers of tags as `names` has them, all words of all rows (words,).
        starts: the first word of each row.
    """
    kind = (labels - 1) // 2  # -1 outside
    letter_i = (labels > 0) & (labels % 2 == 0)
    continues = letter_i & np.concatenate([[False], kind[1:] == kind[:-1]])
    continues[starts[starts < len(labels)]] = False
    begins = (labels > 0) & ~continues
    member = np.where(labels > 0, np.cumsum(begins) - 1, -1)
    first = np.flatnonzero(begins)
    count = np.bincount(member[member >= 0], minlength=len(first))
    return Runs(first, count, kind[first], letter_i[first], member)
