"""CoNLL files: a token and its columns on each line, a blank line between sentences."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

CONLL = (".conll", ".bio", ".iob")
"""Endings of such files."""

DOCUMENT = "-DOCSTART-"
"""The token that stands alone where a document begins, as in CoNLL 2003."""

Sentence = list[tuple[int, str]]
"""The lines of a sentence, with their numbers."""


SAMPLE = 2**10
"""Lines of tokens, from the first one on, that say how many columns a file has."""

NAMED = re.compile(r"# *\S+( \S+)? = ")
"""Comments of CoNLL-U, which may have as many words as a line of tokens has columns."""


def sentences(lines: Iterable[str], bad: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The sentences of such a file, each with the number of its first line: `tokens`, and `tags` where there are any.

    A line's first column is its token, its last the tag; tabs stand between columns where a line has one, else any white
    space. There are as many columns as most of the first lines have. Lines that begin with # before the tokens of a sentence,
    or without any, are comments if they have more or fewer, or read `# name = value`.

    Args:
        lines: of the file, with their ends.
        bad: sentences with a line of more or fewer columns than the others; added to, with the place of that line.
    """
    blocks = _blocks(lines)
    width, first = _width(blocks)
    for sentence in itertools.chain(first, blocks):
        rows = [(place, _columns(line)) for place, line in itertools.dropwhile(partial(_is_comment, width), sentence)]
        if not rows:
            continue
        odd = next(((place, len(cells)) for place, cells in rows if len(cells) != width), None)
        if odd:
            bad.append((odd[0], f"{odd[1]} column{'s' * (odd[1] > 1)} where most lines have {width}"))
        elif empty := next((place for place, cells in rows if not cells[0]), None):
            bad.append((empty, "a line without a token"))
        else:
            record: dict[str, Any] = {"tokens": [cells[0] for _, cells in rows]}
            if width > 1:
                record["tags"] = [cells[-1].strip() for _, cells in rows]
            yield rows[0][0], record


def _width(blocks: Iterator[Sentence]) -> tuple[int, list[Sentence]]:
    """How many columns most lines of tokens have, and the sentences that were read to know it."""
    counts, first = Counter[int](), []
    for sentence in blocks:
        first.append(sentence)
        counts.update(len(_columns(line)) for _, line in sentence if not line.startswith("#"))
        if counts.total() >= SAMPLE:
            break
    if not counts:
        counts.update(len(_columns(line)) for sentence in first for _, line in sentence)
    return max(counts, key=counts.__getitem__, default=0), first


def _is_comment(width: int, line: tuple[int, str]) -> bool:
    """Whether a line before the tokens of a sentence is a comment."""
    text = line[1].lstrip()
    return text.startswith("#") and (len(_columns(line[1])) != width or NAMED.match(text) is not None)


def _columns(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))


def _blocks(lines: Iterable[str]) -> Iterator[Sentence]:
    """Lines between blank ones; one that begins a document stands alone."""
    held: Sentence = []
    for place, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text.strip() or text.split()[0] == DOCUMENT:
            if held:
                yield held
            held = []
        else:
            held.append((place, text))
    if held:
        yield held
