"""Cuts: a share of rows drawn by a seed, so that both sides keep the shares of what the rows are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np

from nlp_transfer.data.checks import Split
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
    blocks = None if exact else task.together(split.rows)
    taken = (
        drawn(task.strata(split.rows), len(split), count, seed)
        if blocks is None
        else _drawn_blocks(blocks, len(split), count, seed)
    )
    if not len(taken) or len(taken) >= len(split):
        raise RequestError(
            f"{split.origin}: {len(split)} rows are too few to cut off a validation and a test split. "
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


def _drawn_blocks(blocks: Iterable[Hashable], rows: int, count: int, seed: int) -> np.ndarray:
    """Sorted indices of about `count` rows in whole blocks, in random order; the last block is never taken."""
    values, members, starts = _members(blocks, rows)
    taken: list[int] = []
    for i in np.random.default_rng([seed, rows]).permutation(len(values))[:-1]:
        if len(taken) >= count:
            break
        taken += members[starts[i] : starts[i + 1]].tolist()
    return np.array(sorted(taken), dtype=np.int64)


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
