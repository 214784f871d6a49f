"""Repeats: rows that read as others do, found among more rows than memory should hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nlp_transfer.data.findings import SHOWN
from nlp_transfer.data.grouping import grouped
from nlp_transfer.rows import touched
from nlp_transfer.scratch import numbers

PART = 2**17
"""Rows, about, that are compared at once."""


class Looked(NamedTuple):
    """What the inspection keeps of rows."""

    texts: np.ndarray
    """Of each row a number that equal folded cells of the columns that a model reads share, and others do not (rows,)."""
    whole: np.ndarray
    """The same of these and the answers (rows,)."""


class Some:
    """How many rows there are of a kind, and the first of them as they are told."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, ...]] = []

    def add(self, *columns: np.ndarray) -> None:
        """More rows: their numbers, ascending, and whatever else is told of each, all (rows,)."""
        self.count += len(columns[0])
        found = zip(*(each[:SHOWN].tolist() for each in columns), strict=True)
        self.first = sorted([*self.first, *found])[:SHOWN]


@dataclass
class Repeats:
    """Rows that read as others do."""

    copies: dict[str, Some]
    """By split: rows that an earlier one of their split equals, answer and all."""
    seen: dict[str, Some]
    """By split, but training: rows that training has too, whatever their answer, each with the index of its twin."""
    unlike: dict[str, Some]
    """By split: rows that read as another of any split which has a different answer."""
    texts: int
    """How many texts these are."""

    @classmethod
    def among(cls, read: Mapping[str, Looked]) -> Repeats:
        """Of the rows of all splits. Those that read the same meet in a part of all rows: where texts differ, about `PART`."""
        found = cls({name: Some() for name in read}, {}, {name: Some() for name in read}, 0)
        found.seen = {name: Some() for name in read if name != "train"}
        parts = 1 + sum(len(each.texts) for each in read.values()) // PART
        members = {name: _by_part(each.texts, parts) for name, each in read.items()}
        for part in range(parts):
            rows = {name: each[starts[part] : starts[part + 1]] for name, (each, starts) in members.items()}
            found._add(rows, {name: Looked(read[name].texts[i], read[name].whole[i]) for name, i in rows.items()})
            touched(sum(map(len, rows.values())))
        return found

    def _add(self, rows: Mapping[str, np.ndarray], read: Mapping[str, Looked]) -> None:
        """What is among some rows of each split, all that have one of some texts."""
        for name, each in read.items():
            again = np.ones(len(each.whole), dtype=bool)
            again[np.unique(each.whole, return_index=True)[1]] = False
            self.copies[name].add(rows[name][again])
        known, first = np.unique(read["train"].texts, return_index=True)
        for name, seen in self.seen.items():
            among = np.flatnonzero(np.isin(read[name].texts, known))
            twins = first[np.searchsorted(known, read[name].texts[among])]
            seen.add(rows[name][among], rows["train"][twins])
        texts = np.concatenate([each.texts for each in read.values()])
        different = texts[np.unique(np.concatenate([each.whole for each in read.values()]), return_index=True)[1]]
        found, answers = np.unique(different, return_counts=True)
        found = found[answers > 1]
        self.texts += len(found)
        for name, each in read.items():
            self.unlike[name].add(rows[name][np.isin(each.texts, found)])


def _by_part(texts: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each part, by the numbers of their texts, and where each part begins, as `grouped`."""
    codes = numbers(len(texts), np.int32)
    for start in range(0, len(texts), PART):
        codes[start : start + PART] = texts[start : start + PART] % np.uint64(parts)
    return grouped(codes, parts)
