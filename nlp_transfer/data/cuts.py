"""Cuts: a share of rows drawn by a seed, so that both sides keep the shares of what the rows are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from nlp_transfer.data.checks import Split
from nlp_transfer.data.findings import plural
from nlp_transfer.data.grouping import grouped
from nlp_transfer.errors import RequestError
from nlp_transfer.rows import SPAN, touched
from nlp_transfer.scratch import filled, numbers, selected
from nlp_transfer.tasks import Task


def cut(split: Split, task: Task, fraction: float, seed: int, exact: int | None = None) -> tuple[Split, Split]:
    """A split without a share of its rows, and that share; both keep the shares of the task's strata.

    Args:
        split: of which rows are taken.
        task: fitted; says what rows are alike, and which must stay together.
        fraction: the share.
        seed: of the draw.
        exact: this many rows instead, and together or not.

    Raises:
        RequestError: for a split of too few rows.
    """
    count = exact or max(1, round(fraction * len(split)))
    together = None if exact else task.together(split.rows)
    if together is None:
        taken, few = drawn(task.strata(split.rows), len(split), count, seed), ""
    else:
        blocks = Blocks.of(together, task.strata(split.rows), len(split))
        taken = blocks.drawn(count, seed)
        few = f" in {plural(blocks.count, 'block')} to be kept whole (the questions about one context, say)"
    if not len(taken) or len(taken) >= len(split):
        raise RequestError(
            f"{split.origin}: {len(split)} rows{few} are too few to cut off a validation and a test split. "
            "Bring more rows, or splits of your own (--data.validation, --data.test)."
        )
    rest = _others(taken, len(split))
    return tuple(Split(selected(split.rows, rows), split.origin, split.unit) for rows in (rest, taken))  # type: ignore[return-value]


def drawn(strata: Iterable[Hashable], rows: int, count: int, seed: int) -> np.ndarray:
    """Sorted indices of about `count` rows: systematic sampling over rows sorted by stratum, in random order inside.

    Every stratum gives its share to within one row. The first row of each stratum, in that random order, is never
    taken, so that no label loses its last training row.
    """
    generator = np.random.default_rng([seed, rows])
    values, members, starts = _members(strata, rows)
    order = sorted(range(len(values)), key=lambda i: str(values[i]))
    for i in order:
        generator.shuffle(members[starts[i] : starts[i + 1]])
    free = np.diff(starts)[order] - 1
    ends = np.cumsum(free)
    count = min(count, int(ends[-1]))
    taken, offset = numbers(count, np.int64), generator.random()
    for start in range(0, count, SPAN):
        numbered = np.arange(start, min(start + SPAN, count))
        positions = ((numbered + offset) * ends[-1] / count).astype(int)
        stratum = np.searchsorted(ends, positions, side="right")
        taken[numbered] = members[starts[:-1][order][stratum] + 1 + positions - (ends - free)[stratum]]
        touched(len(numbered))
    taken.sort()
    return taken


@dataclass(frozen=True)
class Blocks:
    """Rows that must stay together, block by block, and what they are."""

    members: np.ndarray
    """The rows of the first block, of the second and so on (rows,)."""
    starts: np.ndarray
    """Where each begins among them, with an end (blocks + 1,)."""
    kinds: np.ndarray
    """How many rows of each stratum a block has (blocks, strata)."""

    @classmethod
    def of(cls, blocks: Iterable[Hashable], strata: Iterable[Hashable], rows: int) -> Blocks:
        """The blocks of some rows, from a value and a stratum for each."""
        _, members, starts = _members(blocks, rows)
        names: dict[Hashable, int] = {}
        codes = filled((names.setdefault(value, len(names)) for value in strata), rows, np.int32)
        owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        counted = np.bincount(owners * len(names) + codes[members], minlength=(len(starts) - 1) * len(names))
        return cls(members, starts, counted.reshape(len(starts) - 1, len(names)))

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.kinds)

    def drawn(self, count: int, seed: int) -> np.ndarray:
        """Sorted indices of about `count` rows in whole blocks: of at most half of them, and never all rows of a stratum.

        In random order a block is taken if it brings the numbers of rows per stratum nearer to their share.
        """
        order = np.random.default_rng([seed, len(self.members)]).permutation(self.count)
        total = self.kinds.sum(0)
        aim = count * total / len(self.members)
        taken = self._one_of_each(order, aim)
        held = self.kinds[taken].sum(0)
        for block in order[~np.isin(order, taken)]:
            after = held + self.kinds[block]
            if held.sum() >= count or len(taken) >= self.count // 2:
                break
            if (after < total).all() and np.abs(after - aim).sum() < np.abs(held - aim).sum():
                taken.append(block)
                held = after
        chosen = np.zeros(self.count, dtype=bool)
        chosen[taken] = True
        return np.sort(self.members[np.repeat(chosen, np.diff(self.starts))])

    def _one_of_each(self, order: np.ndarray, aim: np.ndarray) -> list[int]:
        """For each stratum, the rarest first, the first block that has it and brings the numbers nearer, or least far off."""
        total, taken = self.kinds.sum(0), list[int]()
        for stratum in np.argsort(aim, kind="stable"):
            held = self.kinds[taken].sum(0)
            after = held + self.kinds[order]
            able = (self.kinds[order, stratum] > 0) & (after < total).all(1)
            if held[stratum] or not able.any() or len(taken) >= self.count // 2:
                continue
            off = np.where(able, np.abs(after - aim).sum(1), np.inf)
            nearer = off < np.abs(held - aim).sum()
            taken.append(int(order[nearer.argmax() if nearer.any() else off.argmin()]))
        return taken


def _members(values: Iterable[Hashable], rows: int) -> tuple[list[Hashable], np.ndarray, np.ndarray]:
    """Values in the order of their first rows; the rows of the first, of the second and so on (rows,); where each begins."""
    known: dict[Hashable, int] = {}
    codes = filled((known.setdefault(value, len(known)) for value in values), rows, np.int32)
    return list(known), *grouped(codes, len(known))


def _others(taken: np.ndarray, rows: int) -> np.ndarray:
    """All indices that are not among some sorted ones."""
    rest, done = numbers(rows - len(taken), np.int64), 0
    for start in range(0, rows, SPAN):
        end = min(start + SPAN, rows)
        first, last = np.searchsorted(taken, [start, end])
        found = np.delete(np.arange(start, end), taken[first:last] - start)
        rest[done : done + len(found)] = found
        done += len(found)
    return rest
