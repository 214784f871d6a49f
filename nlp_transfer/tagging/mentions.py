"""Mentions of entities in a text: those of an answer, what is said of them, and how they miss the true ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Mention = tuple[int, int, str]
"""Characters of a text from and to (that one is none of it), and a type."""

LENGTHS = ((1, "1 word"), (2, "2 words"), (4, "3 to 4 words"))
"""Kinds of entities by their words; longer ones are of a kind of their own."""

LENGTHS_NAMED = (*(name for _, name in LENGTHS), f"more than {LENGTHS[-1][0]} words")

BETWEEN = " | "
"""What stands between mentions where a person reads them."""


@dataclass(frozen=True)
class Entity:
    """An entity in a text: its words, its characters from and to, its type, and the probability of that."""

    text: str
    start: int
    end: int
    label: str
    probability: float
    """That a word of it is of this type, B- and I- together; the mean over its words."""

    @property
    def mention(self) -> Mention:
        """Where it stands, and its type."""
        return self.start, self.end, self.label


@dataclass(frozen=True)
class Answer:
    """The entities of a text in their order, and what was given to each of its words."""

    entities: tuple[Entity, ...]
    tags: tuple[str, ...]
    """BIO2, after repair."""
    probabilities: tuple[float, ...]
    """Of each word's tag, as the model gave it."""
    repaired: int
    """How many entities began with I-."""
    of_tokens: bool
    """Whether the words are tokens of the row, and no splitting of ours."""

    @property
    def mentions(self) -> list[Mention]:
        """Where the entities stand, and their types."""
        return [entity.mention for entity in self.entities]

    def cells(self) -> dict[str, Any]:
        """The entities as a list of objects; of tokens their tags as well."""
        found = [asdict(entity) for entity in self.entities]
        return {"entities": found, **({"tags": list(self.tags)} if self.of_tokens else {})}

    def words(self, digits: int = 4) -> list[str]:
        """The entities with their types, and their probabilities."""
        sure = BETWEEN.join(f"{entity.probability:.{digits}f}" for entity in self.entities)
        return [said((entity.text, entity.label) for entity in self.entities), sure]


def said(named: Any) -> str:
    """Pairs of words and type as a person reads them."""
    return BETWEEN.join(f"{words} ({kind})" for words, kind in named) or "(none)"


def counts(
    answers: Sequence[Sequence[Mention]], golds: Sequence[Sequence[Mention]], types: Sequence[str]
) -> dict[str, np.ndarray]:
    """How many mentions of each type are right, given and true in each row, as `right`, `given`, `true` (rows, types).

    A mention is right where a true one has its characters and its type.
    """
    number = {kind: i for i, kind in enumerate(types)}
    found = {name: np.zeros((len(answers), len(types)), dtype=np.int64) for name in ("right", "given", "true")}
    for i, (answer, gold) in enumerate(zip(answers, golds, strict=True)):
        for name, mentions in (("right", {*answer} & {*gold}), ("given", answer), ("true", gold)):
            for _, _, kind in mentions:
                found[name][i, number[kind]] += 1
    return found


def f1(right: Any, given: Any, true: Any) -> Any:
    """F1 from counts; 0 where there is nothing to find and nothing was found."""
    return 2 * right / np.maximum(given + true, 1)


def scores(counted: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Precision, recall and F1 over all mentions, and the mean F1 of the types that occur, from what `counts` gave."""
    right, given, true = (counted[name].sum(0) for name in ("right", "given", "true"))
    seen = given + true > 0
    return {
        "f1": float(f1(right.sum(), given.sum(), true.sum())),
        "precision": float(right.sum() / max(given.sum(), 1)),
        "recall": float(right.sum() / max(true.sum(), 1)),
        "macro_f1": float(f1(right, given, true)[seen].mean()) if seen.any() else 0.0,
    }


def per_type(counted: Mapping[str, np.ndarray], types: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each type."""
    found = {}
    for i, kind in enumerate(types):
        each = scores({name: values[:, [i]] for name, values in counted.items()})
        found[kind] = {name: each[name] for name in ("precision", "recall", "f1")}
        found[kind]["support"] = int(counted["true"][:, i].sum())
    return found


def misses(answers: Sequence[Sequence[Mention]], golds: Sequence[Sequence[Mention]]) -> dict[str, int]:
    """How wrong mentions are wrong, and how many true ones have none near them.

    `type`: the right characters of another type; `boundary`: the right type, some of its characters; `type_and_boundary`;
    `invented`: it overlaps no true one; `missed`: a true one that nothing overlaps.
    """
    kinds = ("type", "boundary", "type_and_boundary", "invented", "missed")
    found = Counter(dict.fromkeys(kinds, 0))
    for answer, gold in zip(answers, golds, strict=True):
        found.update(_kind(mention, gold) for mention in {*answer} - {*gold})
        found["missed"] += sum(not _near(mention, answer) for mention in gold)
    return dict(found)


def _near(mention: Mention, others: Sequence[Mention]) -> list[Mention]:
    """The mentions that overlap one."""
    return [other for other in others if other[0] < mention[1] and mention[0] < other[1]]


def _kind(mention: Mention, gold: Sequence[Mention]) -> str:
    near = _near(mention, gold)
    if any(other[:2] == mention[:2] for other in near):
        return "type"
    if not near:
        return "invented"
    return "boundary" if any(other[2] == mention[2] for other in near) else "type_and_boundary"


def length(words: int) -> str:
    """Of what kind an entity is by its words."""
    return next((name for most, name in LENGTHS if words <= most), LENGTHS_NAMED[-1])
