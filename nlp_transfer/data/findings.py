"""Findings: what a reader of the report must know about rows, each with a count and the places of some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SHOWN = 3
"""Rows of a finding that are named."""


class Place(NamedTuple):
    """Where a row stands: "reviews.csv", "line 3"; and what is wrong with it, which may quote it."""

    origin: str
    where: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.origin}, {self.where}"


@dataclass(frozen=True)
class Finding:
    """A sentence about rows: of what kind, how many there are, and where the first of them stand."""

    kind: str
    message: str
    count: int
    places: tuple[Place, ...] = ()
    """The first rows; of rows that were left out, all."""

    def to_json(self) -> dict[str, Any]:
        """The finding as the report holds it; `reasons`, where there are any, are of the rows in their order."""
        reasons = [place.reason for place in self.places]
        return {
            "kind": self.kind,
            "message": self.message,
            "count": self.count,
            "rows": [str(place) for place in self.places],
            **({"reasons": reasons} if any(reasons) else {}),
        }

    def __str__(self) -> str:
        """The message and the first rows, each file named once."""
        words, before = [], None
        for place in self.places[:SHOWN]:
            where = place.where if place.origin == before else str(place)
            words.append(f"{where} ({place.reason})" if place.reason else where)
            before = place.origin
        return (
            f"{self.message} {'First' if self.count > len(words) else 'That is'}: {'; '.join(words)}."
            if words
            else self.message
        )


def some(places: Iterable[Place]) -> tuple[Place, ...]:
    """The first of these places, as many as a finding names."""
    return tuple(place for place, _ in zip(places, range(SHOWN), strict=False))


def plural(count: int, word: str = "row") -> str:
    """A number and its noun: "1 row", "1,200 rows"."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """A share in percent, and never a rounded nothing: "12 %", "0.3 %", "less than 0.1 %"."""
    percent = 100 * part / whole
    return "less than 0.1 %" if 0 < percent < 0.1 else f"{percent:.{0 if percent >= 10 else 1}f} %"


def sentences(findings: Sequence[Finding]) -> list[str]:
    """Findings as a person reads them."""
    return [str(finding) for finding in findings]
