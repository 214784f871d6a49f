"""Drawing: the scores of runs, and the same on test rows that are drawn again, the same rows for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

DRAWS = 1000
"""Bootstrap samples."""

Judged = Mapping[str, np.ndarray]
"""Arrays of one run, rows first, from which `Task.metrics` computes every score."""


@dataclass(frozen=True)
class Scores:
    """The scores of one candidate, or the differences of two, by seed; and the same on rows that were drawn again."""

    seeds: tuple[int, ...]
    scores: np.ndarray
    """(seeds,)"""
    drawn: np.ndarray
    """(draws, seeds): of a draw all have the same rows, and so have all candidates."""
    rows: int
    """Test rows."""

    def of(self, seeds: Sequence[int]) -> Scores:
        """Those of some of the seeds."""
        at = [self.seeds.index(seed) for seed in seeds]
        return replace(self, seeds=tuple(seeds), scores=self.scores[at], drawn=self.drawn[:, at])

    def for_all(self, seeds: Sequence[int]) -> Scores:
        """One run that knows no seed, beside runs of every seed."""
        at = [0] * len(seeds)
        return replace(self, seeds=tuple(seeds), scores=self.scores[at], drawn=self.drawn[:, at])

    def less(self, other: Scores) -> Scores:
        """Differences by seed, of the seeds that both have."""
        seeds = [seed for seed in self.seeds if seed in other.seeds]
        ours, theirs = self.of(seeds), other.of(seeds)
        return replace(ours, scores=ours.scores - theirs.scores, drawn=ours.drawn - theirs.drawn)


def draw(
    judged: Mapping[str, Mapping[int, Judged]],
    metrics: Callable[[Judged], Mapping[str, float]],
    metric: str,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Scores]:
    """Scores of every candidate and seed, and the same on rows drawn with replacement: the same rows for all.

    Args:
        judged: arrays by candidate and seed; all of the same test rows in the same order.
        metrics: of the fitted task.
        metric: which of its scores is compared.
        draws: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: where the arrays are of different numbers of rows, or a score is no number.
    """
    runs = [(name, key, arrays) for name, seeds in judged.items() for key, arrays in seeds.items()]
    if not runs:
        return {}
    rows = len(next(iter(runs[0][2].values())))
    for name, key, arrays in runs:
        if any(len(array) != rows for array in arrays.values()):
            raise ValueError(f"{name}, seed {key}: its arrays do not have the {rows} rows that others have.")
    generator = np.random.default_rng(seed)
    every = [np.arange(rows), *(generator.integers(rows, size=rows) for _ in range(draws))]
    table = np.array(
        [
            [metrics({key: array[picked] for key, array in arrays.items()})[metric] for *_, arrays in runs]
            for picked in every
        ]
    )
    scores, drawn = table[0], table[1:]
    if not np.isfinite(scores).all():
        name, key, _ = runs[int(np.flatnonzero(~np.isfinite(scores))[0])]
        raise ValueError(f"{name}, seed {key}: {metric} is no number.")
    # rows among which a score has no value say nothing of how it varies
    drawn = drawn[np.isfinite(drawn).all(1)]
    found = {}
    for name, seeds in judged.items():
        at = [i for i, run in enumerate(runs) if run[0] == name]
        found[name] = Scores(tuple(seeds), scores[at], drawn[:, at], rows)
    return found
