"""Batches: which features go together, and in which step of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from accelerate import Accelerator

from nlp_transfer.data.features import Features, WholeRows
from nlp_transfer.rows import touched
from nlp_transfer.scratch import filled
from nlp_transfer.training.settings import TrainSettings

POOL = 50
"""Steps whose rows are drawn together and sorted by length: larger pads less, smaller mixes lengths more."""

MOST_TOKENS = {"cpu": 4096}
"""Tokens of a batch that is trained on, about, by device. Measured with minilm on a CPU, 32 rows of 512 tokens: 4.4 GB instead of
11.4, in less time; with half as many tokens 2.6 GB, but weights are converted for every part."""


@dataclass(frozen=True)
class Steps(Sequence[list[np.ndarray]]):
    """The steps of an epoch, each put together when it is asked for."""

    rows: np.ndarray
    """The features or rows of all pieces (rows,)."""
    starts: np.ndarray
    """Where each piece begins, and where the last one ends (pieces + 1,)."""
    order: np.ndarray
    """Of the pieces (pieces,)."""
    pieces: int
    """So many are a step."""
    dealt: Callable[[np.ndarray], list[np.ndarray]] = lambda piece: [piece]
    """The batches of a piece."""

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.pieces)

    @overload
    def __getitem__(self, step: int) -> list[np.ndarray]: ...
    @overload
    def __getitem__(self, step: slice) -> list[list[np.ndarray]]: ...
    def __getitem__(self, step: int | slice) -> list[np.ndarray] | list[list[np.ndarray]]:
        if isinstance(step, slice):
            return [self[each] for each in range(len(self))[step]]
        first = range(len(self))[step] * self.pieces
        return [
            batch
            for piece in self.order[first : first + self.pieces]
            for batch in self.dealt(self.rows[self.starts[piece] : self.starts[piece + 1]])
        ]


@dataclass(frozen=True)
class LengthBuckets:
    """Which features, or rows with all their features, make which step of training: a function of (seed, epoch) alone.

    All are shuffled, every `POOL` steps' worth of them is sorted by length and cut into steps, and the steps are
    shuffled: batches of similar lengths in random order. The rows that are left over, from a random place of the last pool,
    make a smaller one. A step's rows are then dealt to its `accumulate` batches, or to more: a batch has at most `batch_size`
    features and about `most_tokens` tokens, or one row.

    In each epoch every row is in one step, and in any of them as likely: the gradient that a step is expected to have is that
    of a batch drawn at random.
    """

    lengths: np.ndarray
    batch_size: int
    accumulate: int
    seed: int
    counts: np.ndarray | None = None
    """How many features each row has; None: one each."""
    most_tokens: int | None = None
    """Batches of more are cut into as few parts, of as many rows each, as have so many on average; None: none is."""

    by_rows = False
    """Whether steps count by their rows, since they have different numbers."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one epoch; the last rows make a smaller one."""
        return math.ceil(len(self.lengths) / (self.batch_size * self.accumulate))

    def steps(self, epochs: float) -> int:
        """Steps in so many epochs."""
        return math.ceil(epochs * self.steps_per_epoch)

    def epoch(self, number: int) -> Steps:
        """All steps of an epoch: each a list of batches, each an array of feature indices."""
        generator = np.random.default_rng([self.seed, number])
        rows_per_step = self.batch_size * self.accumulate
        rows, pool = _pooled(self.lengths, rows_per_step, self.steps_per_epoch, generator)
        if over := len(rows) % rows_per_step:
            # at the pool's end there are always its shortest
            last = rows[(len(rows) - 1) // pool * pool :]
            places = (generator.integers(len(last)) + np.arange(over)) % len(last)
            last[:] = np.concatenate([np.delete(last, places), last[places]])
        starts = np.append(np.arange(0, len(rows), rows_per_step), len(rows))
        return Steps(rows, starts, generator.permutation(len(starts) - 1), 1, self._dealt)

    def heaviest(self, batch_size: int) -> np.ndarray:
        """Of batches of so many rows the one that takes most memory: that of the longest."""
        longest = np.argsort(-self.lengths, kind="stable")
        batches = replace(self, batch_size=batch_size)._dealt(longest)
        return max(batches, key=lambda batch: self.lengths[batch].sum())

    def _dealt(self, step: np.ndarray) -> list[np.ndarray]:
        """A step's rows in batches."""
        batches = self._by_rows(step)
        if self.most_tokens is None:
            return batches
        parts = (math.ceil(int(self.lengths[batch].sum()) / self.most_tokens) for batch in batches)
        return [
            part
            for batch, count in zip(batches, parts, strict=True)
            for part in np.array_split(batch, min(count, len(batch)))
        ]

    def _by_rows(self, step: np.ndarray) -> list[np.ndarray]:
        """A step's rows in batches, whatever their tokens."""
        if self.counts is None:
            return [step[j : j + self.batch_size] for j in range(0, len(step), self.batch_size)]
        cuts, held = [], 0
        for j, count in enumerate(self.counts[step].tolist()):
            if held and held + count > self.batch_size:
                cuts.append(j)
                held = 0
            held += count
        return np.split(step, cuts)


@dataclass(frozen=True)
class TokenBuckets:
    """As `LengthBuckets`, but a batch has as many rows as fit into a number of tokens, padding included, and at least one.

    Batches, not steps, are cut from the sorted pools, and a step is `accumulate` of them, whatever their lengths. Rows of
    long batches, which have few, would weigh more than others if each step were a mean of its own: the loop counts a step by its
    rows, so that in an epoch every row weighs the same, and the mean of all steps' gradients is that of all rows.
    """

    lengths: np.ndarray
    tokens: int
    accumulate: int
    seed: int
    counts: np.ndarray
    """How many features each row has."""
    longest: np.ndarray
    """Tokens of each row's longest feature."""

    by_rows = True

    def steps(self, epochs: float) -> int:
        """Steps in so many epochs, of which each has its own number."""
        whole, rest = divmod(epochs, 1)
        steps = sum(len(self.epoch(number)) for number in range(int(whole)))
        return steps + (math.ceil(rest * len(self.epoch(int(whole)))) if rest else 0)

    def epoch(self, number: int) -> Steps:
        """All steps of an epoch: each a list of batches, each an array of feature indices."""
        generator = np.random.default_rng([self.seed, number])
        fewest = math.ceil(int(self.counts @ self.longest) / self.tokens)
        typical = math.ceil(len(self.lengths) / fewest)
        rows, pool = _pooled(self.lengths, typical, fewest, generator)
        starts: list[int] = []
        for start in range(0, len(rows), pool):
            starts += [start, *(start + cut for cut in self._cuts(rows[start : start + pool]))]
        order = generator.permutation(len(starts))
        return Steps(rows, np.array([*starts, len(rows)]), order, self.accumulate)

    def _cuts(self, rows: np.ndarray) -> list[int]:
        """Where batches begin among sorted rows, the first one's aside."""
        features = np.concatenate([[0], np.cumsum(self.counts[rows])])
        # of a row and all behind it: windows of a longer text may be a little shorter
        longest = np.maximum.accumulate(self.longest[rows][::-1])[::-1]
        cuts: list[int] = []
        start = 0
        while True:
            room = features[start] + self.tokens // longest[start]
            start = max(start + 1, int(np.searchsorted(features, room, side="right")) - 1)
            if start >= len(rows):
                return cuts
            cuts.append(start)


def planned(
    drawn: Features | WholeRows, settings: TrainSettings, seed: int, most_tokens: int | None = None
) -> LengthBuckets | TokenBuckets:
    """Which rows make which step, as the settings say it; batches of a number of rows in parts of about so many tokens."""
    if settings.batch_tokens is None:
        accumulate = settings.rows_per_step // settings.rows_at_once
        return LengthBuckets(drawn.lengths, settings.rows_at_once, accumulate, seed, drawn.counts, most_tokens)
    counts = np.broadcast_to(np.int64(1), len(drawn)) if drawn.counts is None else drawn.counts
    return TokenBuckets(drawn.lengths, settings.batch_tokens, settings.accumulate, seed, counts, drawn.longest)


def tokens_at_once(accelerator: Accelerator) -> int | None:
    """The `most_tokens` of a plan where this trains: all its processes share a batch."""
    most = MOST_TOKENS.get(accelerator.device.type)
    return None if most is None else most * accelerator.num_processes


def padding(plan: LengthBuckets | TokenBuckets, drawn: Features | WholeRows) -> float:
    """The share of the first epoch's tokens, as the model reads them, that is padding."""
    read = 0
    for step in plan.epoch(0):
        for batch in step:
            features = len(batch) if drawn.counts is None else int(drawn.counts[batch].sum())
            read += features * int(drawn.longest[batch].max())
    return 1 - int(drawn.lengths.sum()) / read


def _pooled(
    lengths: np.ndarray, rows_per_step: int, steps: int, generator: np.random.Generator
) -> tuple[np.ndarray, int]:
    """All rows in random pools, one after the other, each sorted by length; and how many rows a pool has."""
    rows = filled(range(len(lengths)), len(lengths), np.int64)
    generator.shuffle(rows)
    # few rows still deserve two pools, or the longest would always meet the longest
    pool = rows_per_step * max(1, min(POOL, steps // 2))
    for start in range(0, len(rows), pool):
        drawn = rows[start : start + pool]
        drawn[:] = drawn[np.argsort(-lengths[drawn], kind="stable")]
        touched(len(drawn))
    return rows, pool


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """All features once, longest first, so that a lack of memory shows at once and padding is least."""
    order = np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
