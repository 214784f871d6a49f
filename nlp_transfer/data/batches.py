"""Batches: which rows go together, and their features."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlp_transfer.data.encoding import anew, encoded
from nlp_transfer.data.store import Store
from nlp_transfer.long_texts import pooled
from nlp_transfer.rows import ROWS, touched, windows
from nlp_transfer.tasks import Task, column
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.settings import TrainSettings

POOL = 50
"""Steps whose rows are drawn together and sorted by length: larger pads less, smaller mixes lengths more."""


@dataclass(frozen=True)
class Features:
    """The encoded rows of a split, ready to be fetched as batches."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    columns: Dataset

    @classmethod
    def of(
        cls,
        rows: Dataset,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        store: Store | None = None,
        again: bool = True,
    ) -> Features:
        """Encode rows by the tokenizer's batch API, unless equal rows have been encoded equally before.

        Args:
            rows: checked, with or without answers.
            task: that encodes them.
            tokenizer: with the limit in force.
            store: where they are kept for later runs, and looked for; None: nowhere but in this process, for a while.
            again: whether these rows may be asked for again; those of a stream are not, and memory stays flat.
        """
        found = encoded(rows, task, tokenizer, store) if again else anew(rows, task, tokenizer)
        return cls(task, tokenizer, found)

    def fetch(self, indices: np.ndarray) -> Batch:
        """One padded batch."""
        features = self.columns[indices]
        touched(64 * len(indices))  # with each row come the pages of the file around it
        return self.task.collate(features, self.tokenizer)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each feature (features,)."""
        ids = (window.column(0) for _, window in windows(self.columns, ["input_ids"], POOL * ROWS))
        counts = [pyarrow.compute.list_value_length(each).to_numpy() for each in ids]
        return np.concatenate(counts or [[]]).astype(np.int64)

    @property
    def longest(self) -> np.ndarray:
        """Tokens of the longest feature learned from together: of each itself (features,)."""
        return self.lengths

    @cached_property
    def rows(self) -> np.ndarray:
        """The index of each feature's row (features,)."""
        several = "row" in self.columns.column_names
        return np.array(column(self.columns, "row")) if several else np.arange(len(self))

    @property
    def counts(self) -> np.ndarray | None:
        """How many features are learned from together: None, each by itself."""
        return None

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """The task's."""
        return self.task.loss(outputs, batch)

    def __len__(self) -> int:
        return len(self.columns)


@dataclass(frozen=True)
class WholeRows:
    """Rows to learn from whose features are answered together: a batch holds all features of each of its rows."""

    features: Features

    def fetch(self, indices: np.ndarray) -> Batch:
        """One padded batch of rows: the features of each one behind the other, targets by row."""
        counts = self.counts[indices]
        members = np.concatenate([np.arange(self._starts[i], self._starts[i + 1]) for i in indices])
        batch = self.features.fetch(members)
        first = torch.from_numpy(np.cumsum(counts) - counts)
        return Batch(batch.inputs, {name: each[first] for name, each in batch.targets.items()}, counts.tolist())

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """The task's, of outputs pooled by row."""
        task = self.features.task
        assert task.windows_pooled is not None
        assert batch.counts is not None
        logits = pooled(outputs.logits.float(), batch.counts, task.windows_pooled)
        return task.loss(SimpleNamespace(logits=logits), batch)

    @cached_property
    def _starts(self) -> np.ndarray:
        """Where the features of each row begin, and where the last one's end (rows + 1,)."""
        return np.searchsorted(self.features.rows, np.arange(self.features.rows[-1] + 2))

    @cached_property
    def counts(self) -> np.ndarray:
        """How many features each row has (rows,)."""
        return np.diff(self._starts)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of all features of each row (rows,)."""
        return np.add.reduceat(self.features.lengths, self._starts[:-1])

    @cached_property
    def longest(self) -> np.ndarray:
        """Tokens of the longest feature of each row (rows,)."""
        return np.maximum.reduceat(self.features.lengths, self._starts[:-1])

    @property
    def rows(self) -> np.ndarray:
        """The rows themselves (rows,)."""
        return np.arange(len(self))

    def __len__(self) -> int:
        return len(self.counts)


def learned(features: Features) -> Features | WholeRows:
    """What training draws from features: each by itself, or rows, where a row's features are answered together."""
    return features if features.task.windows_pooled is None else WholeRows(features)


@dataclass(frozen=True)
class LengthBuckets:
    """Which features, or rows with all their features, make which step of training: a function of (seed, epoch) alone.

    All are shuffled, every `POOL` steps' worth of them is sorted by length and cut into steps, and the steps are
    shuffled: batches of similar lengths in random order. A step's rows are then dealt to its `accumulate` batches, or to
    more: a batch has at most `batch_size` features, or one row.

    In each epoch every row is in one step, and in any of them as likely: the gradient that a step is expected to have is that
    of a batch drawn at random.
    """

    lengths: np.ndarray
    batch_size: int
    accumulate: int
    seed: int
    counts: np.ndarray | None = None
    """How many features each row has; None: one each."""

    by_rows = False
    """Whether steps count by their rows, since they have different numbers."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one epoch; the last rows make a smaller one."""
        return math.ceil(len(self.lengths) / (self.batch_size * self.accumulate))

    def steps(self, epochs: float) -> int:
        """Steps in so many epochs."""
        return math.ceil(epochs * self.steps_per_epoch)

    def epoch(self, number: int) -> list[list[np.ndarray]]:
        """All steps of an epoch: each a list of batches, each an array of feature indices."""
        generator = np.random.default_rng([self.seed, number])
        rows_per_step = self.batch_size * self.accumulate
        steps = []
        for drawn in _pools(self.lengths, rows_per_step, self.steps_per_epoch, generator):
            steps += [drawn[i : i + rows_per_step] for i in range(0, len(drawn), rows_per_step)]
        return [self._dealt(steps[i]) for i in generator.permutation(len(steps))]

    def heaviest(self, batch_size: int) -> np.ndarray:
        """Of batches of so many rows the one that takes most memory: that of the longest."""
        longest = np.argsort(-self.lengths, kind="stable")
        if self.counts is None:
            return longest[:batch_size]
        batches = replace(self, batch_size=batch_size)._dealt(longest)
        return max(batches, key=lambda batch: self.lengths[batch].sum())

    def _dealt(self, step: np.ndarray) -> list[np.ndarray]:
        """A step's rows in batches."""
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

    def epoch(self, number: int) -> list[list[np.ndarray]]:
        """All steps of an epoch: each a list of batches, each an array of feature indices."""
        generator = np.random.default_rng([self.seed, number])
        fewest = math.ceil((self.counts * self.longest).sum() / self.tokens)
        typical = math.ceil(len(self.lengths) / fewest)
        batches = [
            batch
            for drawn in _pools(self.lengths, typical, fewest, generator)
            for batch in np.split(drawn, self._cuts(drawn))
        ]
        order = generator.permutation(len(batches))
        starts = range(0, len(order), self.accumulate)
        return [[batches[i] for i in order[start : start + self.accumulate]] for start in starts]

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


def planned(drawn: Features | WholeRows, settings: TrainSettings, seed: int) -> LengthBuckets | TokenBuckets:
    """Which rows make which step, as the settings say it."""
    if settings.batch_tokens is None:
        accumulate = settings.rows_per_step // settings.rows_at_once
        return LengthBuckets(drawn.lengths, settings.rows_at_once, accumulate, seed, drawn.counts)
    counts = np.ones_like(drawn.lengths) if drawn.counts is None else drawn.counts
    return TokenBuckets(drawn.lengths, settings.batch_tokens, settings.accumulate, seed, counts, drawn.longest)


def padding(plan: LengthBuckets | TokenBuckets, drawn: Features | WholeRows) -> float:
    """The share of the first epoch's tokens, as the model reads them, that is padding."""
    batches = [batch for step in plan.epoch(0) for batch in step]
    features = [len(batch) if drawn.counts is None else int(drawn.counts[batch].sum()) for batch in batches]
    read = sum(count * int(drawn.longest[batch].max()) for count, batch in zip(features, batches, strict=True))
    return 1 - int(drawn.lengths.sum()) / read


def _pools(lengths: np.ndarray, rows_per_step: int, steps: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """All rows in random pools, each sorted by length."""
    order = generator.permutation(len(lengths))
    # few rows still deserve two pools, or the longest would always meet the longest
    pool = rows_per_step * max(1, min(POOL, steps // 2))
    for start in range(0, len(order), pool):
        drawn = order[start : start + pool]
        yield drawn[np.argsort(-lengths[drawn], kind="stable")]


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """All features once, longest first, so that a lack of memory shows at once and padding is least."""
    order = np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
