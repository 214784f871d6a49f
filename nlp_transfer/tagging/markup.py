"""Entities as files write them: tokens with tags, or a text with spans of its characters, in the forms of annotation tools."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nlp_transfer.written import listed

Span = tuple[int, int, str]
"""Characters of a text from and to (that one is none of it), and a type."""

TEXTS = ("text", "sentence", "content", "document", "message")
TOKENS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "ner", "labels")
SPANS = ("entities", "spans", "label", "labels", "annotations")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "text": (*TOKENS, *TEXTS),
    "entities": tuple(dict.fromkeys((*SPANS, *TAGS))),
}
"""A text or its tokens, and its entities, with their usual names in files."""

TOGETHER: tuple[Mapping[str, str], ...] = tuple(
    {"text": text, "entities": found}
    for texts, answers in ((TOKENS, TAGS), (TEXTS, SPANS), (TEXTS, TAGS))
    for text in texts
    for found in answers
)
"""Names that are recognised together: tags stand beside tokens, spans beside a text."""

STARTS = ("start", "start_offset", "begin")
ENDS = ("end", "end_offset")
TYPES = ("label", "labels", "type", "tag", "entity_group", "entity_type")
"""What the parts of a span are called in the files of annotation tools."""

FORMS = 'expected tags ("O", "B-PER"), one per token, or spans ({"start": 0, "end": 5, "label": "PER"})'


def text_or_tokens(cell: Any) -> Any:
    """A text as it stands; tokens as a list, which CSV holds as text."""
    found = _listed(cell)
    return list(found) if found and all(isinstance(token, str) for token in found) else cell


def tags_or_spans(cell: Any) -> list[str] | list[Span]:
    """The tags in a cell, or the spans; an empty list may be both.

    Args:
        cell: a list of words, or words with blanks between them; a list of objects or of triples (start, end, type); JSON of
            these.

    Raises:
        ValueError: for anything else, with a clause that says what is wrong.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        raise ValueError("no entities: expected an empty list where a text has none")
    found = _listed(cell)
    if found is None:
        if not isinstance(cell, str) or not cell.strip():
            raise ValueError(f"{str(cell)[:40]!r} ({type(cell).__name__}) where entities are expected: {FORMS}")
        if cell.strip().startswith("["):
            raise ValueError(f"{cell.strip()[:40]} begins like a list and cannot be read as JSON: {FORMS}")
        return cell.split()
    if all(isinstance(each, str) for each in found):
        if blank := [i for i, tag in enumerate(found, 1) if not tag.strip()]:
            raise ValueError(f"tag {blank[0]} is empty: expected O where a token is in no entity")
        return [tag.strip() for tag in found]
    if all(isinstance(each, dict | list | tuple) for each in found):
        return [_span(each) for each in found]
    if odd := [each for each in found if not isinstance(each, str | dict | list | tuple)]:
        names = "; numbers need their names" if isinstance(odd[0], int | float) else ""
        raise ValueError(f"{str(odd[0])[:40]} ({type(odd[0]).__name__}) among entities: {FORMS}{names}")
    raise ValueError(f"tags and spans stand in one list: {FORMS}")


def row(text: Any, found: Any) -> tuple[str | list[str], list[str] | list[Span]]:
    """A row's text with its spans, or its tokens with their tags; tags beside a text make what stands between white space tokens.

    Raises:
        ValueError: as `tags_or_spans`.
    """
    text, entities = text_or_tokens(text), tags_or_spans(found)
    tagged = bool(entities) and isinstance(entities[0], str)
    return text.split() if tagged and isinstance(text, str) else text, entities


def objects(found: Sequence[str] | Sequence[Span]) -> list[Any]:
    """Tags as they are, or spans as objects with `start`, `end` and `label`."""
    return [
        each if isinstance(each, str) else dict(zip(("start", "end", "label"), each, strict=True)) for each in found
    ]


def spans(cell: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Spans from such objects."""
    return [(span["start"], span["end"], span["label"]) for span in cell]


def fault(text: str | Sequence[str], found: Sequence[str] | Sequence[Span]) -> str | None:
    """What is wrong with the entities of a row beside its text or tokens, as a clause; None where they fit.

    Tags need a token each. Spans need a text, must lie within it, hold more than white space, and must not overlap.
    """
    given = [each for each in found if isinstance(each, tuple)]
    if not isinstance(text, str):
        if given:
            return "spans of characters stand beside tokens: expected them beside a text, or tags"
        counts = [f"{len(each)} {word}{'s' * (len(each) != 1)}" for each, word in ((found, "tag"), (text, "token"))]
        return None if len(text) == len(found) else " for ".join(counts)
    for start, end, kind in given:
        if end > len(text):
            return f"the span {start} to {end} ({kind}) ends outside the text, which has {len(text)} characters"
        if not text[start:end].strip():
            return f"the span {start} to {end} ({kind}) holds no character but white space"
    for one, other in itertools.pairwise(sorted(given)):
        if other[0] < one[1]:
            both = " and ".join(f"{start} to {end} ({kind})" for start, end, kind in (one, other))
            return f"the spans {both} overlap: expected at most one entity at every character"
    return None


def misquoted(text: Any, cell: Any) -> str | None:
    """Of spans that say their words as well, what is wrong where other words stand there, as when a tool counts bytes."""
    for each in _listed(cell) or ():
        value = each.get("value", each) if isinstance(each, dict) else {}
        words = value.get("text") if isinstance(value, dict) else None
        if isinstance(text, str) and isinstance(words, str):
            start, end, kind = _span(each)
            if words.strip() != text[start:end].strip():
                return f'at {start} to {end} ({kind}) stands "{text[start:end][:40]}", and the span says "{words[:40]}"'
    return None


def trimmed(text: str, span: Span) -> Span:
    """A span without the white space at its edges."""
    start, end, kind = span
    inside = text[start:end]
    return start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip()), kind


def _span(cell: Any) -> Span:
    """A span of one entity."""
    if isinstance(cell, dict):
        inner = cell.get("value", cell)  # in the results of Label Studio
        cell = inner if isinstance(inner, dict) else cell
        parts: list[Any] = [
            next((cell[name] for name in names if cell.get(name) is not None), None) for names in _NAMES
        ]
    else:
        parts = list(cell)
    if len(parts) != 3 or None in parts:
        raise ValueError(f"{_shown(cell)} is no span: {FORMS}")
    start, end, kind = parts
    if isinstance(kind, list) and len(kind) == 1:
        [kind] = kind
    if not isinstance(kind, str) or not kind.strip():
        raise ValueError(f"{_shown(cell)} has no type behind its start and end: {FORMS}")
    if kind.strip() == "O":
        raise ValueError(f"{_shown(cell)} has the type O, which means no entity: leave such spans out")
    for place in (start, end):
        number = isinstance(place, int | float) and not isinstance(place, bool) and math.isfinite(place)
        if not number or place != int(place) or place < 0:
            raise ValueError(f"{_shown(cell)}: {place!r} is no place of a character: expected a whole number from 0")
    if start >= end:
        raise ValueError(
            f"the span {int(start)} to {int(end)} ({kind}) is empty: its end is the character after its last"
        )
    return int(start), int(end), kind.strip()


_NAMES = (STARTS, ENDS, TYPES)


def _shown(cell: Any) -> str:
    return str(cell)[:60]


def _listed(cell: Any) -> Sequence[Any] | None:
    """The list that a cell is, or that its text writes as JSON and Python do; None where it is none."""
    if isinstance(cell, list | tuple):
        return cell
    return listed(cell) if isinstance(cell, str) else None
