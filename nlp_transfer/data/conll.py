"""CoNLL files: a token and its columns on each line, a blank line between sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

CONLL = (".conll", ".bio", ".iob")
"""Endings of such files."""

DOCUMENT = "-DOCSTART-"
"""The token that stands alone where a document begins, as in CoNLL 2003."""

Sentence = list[tuple[int, str]]
"""The lines of a sentence, with their numbers."""


def sentences(lines: Iterable[str], bad: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The sentences of such a file, each with the number of its first line: `tokens`, and `tags` where there are any.

    A line's first column is its token, its last the tag; tabs stand between columns where a line has one, else any white
    space. Lines that begin with # before the tokens of a sentence are comments if they have not the columns of its tokens.

    Args:
        lines: of the file, with their ends.
        bad: sentences with a line of more or fewer columns than the others; added to, with the place of that line.
    """
    width: int | None = None
    for sentence in _blocks(lines):
        rows = [(place, _columns(line)) for place, line in sentence]
        expected = width or len(rows[-1][1])
        while len(rows) > 1 and rows[0][1][0].startswith("#") and len(rows[0][1]) != expected:
            rows.pop(0)
        if rows[0][1][0] == DOCUMENT or (len(rows[0][1]) != expected and rows[0][1][0].startswith("#")):
            continue
        width = expected
        odd = next(((place, len(cells)) for place, cells in rows if len(cells) != width), None)
        if odd:
            bad.append((odd[0], f"{odd[1]} column{'s' * (odd[1] > 1)} where other lines have {width}"))
        elif empty := next((place for place, cells in rows if not cells[0]), None):
            bad.append((empty, "a line without a token"))
        else:
            record: dict[str, Any] = {"tokens": [cells[0] for _, cells in rows]}
            if width > 1:
                record["tags"] = [cells[-1].strip() for _, cells in rows]
            yield rows[0][0], record


def _columns(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


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
