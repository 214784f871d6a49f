"""Batches: which rows go together, and their features."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlp_transfer.data import identity
from nlp_transfer.data.checks import PLACE
from nlp_transfer.data.store import NoRoom, Store
from nlp_transfer.long_texts import pooled
from nlp_transfer.quiet import quiet
from nlp_transfer.tasks import Columns, Task, column
from nlp_transfer.training.batch import Batch

POOL = 50
"""Steps whose rows are drawn together and sorted by length: larger pads less, smaller mixes lengths more."""


REMEMBERED = 2**28
"""Bytes of encoded rows that are remembered: equal rows, windows of long texts above all, are not encoded again."""

SMALL = 2**18
"""Bytes of rows below which these are encoded anew in every process: it takes no longer than to look for them."""

ENCODED = "rows.arrow"

_remembered: dict[str, Dataset] = {}


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
        if not again:
            return cls(task, tokenizer, _encoded(rows, task, tokenizer))
        key = _key(rows, task, tokenizer)
        encoded = _remembered.pop(key, None)
        if encoded is None:
            kept = store is not None and tokenizer.is_fast and rows.data.nbytes >= SMALL
            encoded = (
                _from_store(store, key, rows, task, tokenizer) if store and kept else _encoded(rows, task, tokenizer)
            )
        _remembered[key] = encoded
        while sum(each.data.nbytes for each in _remembered.values()) > REMEMBERED:
            del _remembered[next(iter(_remembered))]
        return cls(task, tokenizer, encoded)

    def fetch(self, indices: np.ndarray) -> Batch:
        """One padded batch."""
        return self.task.collate(self.columns[indices], self.tokenizer)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each feature (features,)."""
        ids = self.columns.with_format("arrow")[:]["input_ids"]
        return pyarrow.compute.list_value_length(ids).to_numpy().astype(np.int64)

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

    @property
    def rows(self) -> np.ndarray:
        """The rows themselves (rows,)."""
        return np.arange(len(self))

    def __len__(self) -> int:
        return len(self.counts)


def learned(features: Features) -> Features | WholeRows:
    """What training draws from features: each by itself, or rows, where a row's features are answered together."""
    return features if features.task.windows_pooled is None else WholeRows(features)


def _encoded(rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, file: Path | None = None) -> Dataset:
    """Rows encoded, in memory or in a file that is mapped into it."""

    def encode(batch: Columns, indices: list[int]) -> dict[str, list[Any]]:
        features = task.encode(batch, tokenizer)
        if "row" in features:
            features["row"] = [indices[row] for row in features["row"]]
        return features

    with quiet():
        return rows.map(
            encode,
            batched=True,
            with_indices=True,
            remove_columns=rows.column_names,
            keep_in_memory=file is None,
            cache_file_name=None if file is None else str(file),
            load_from_cache_file=False,
            new_fingerprint=f"{rows._fingerprint}-encoded",
        )


def _from_store(store: Store, key: str, rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Rows as an earlier run encoded them, or encoded now and kept: a file of `datasets`, mapped into memory."""
    entry = store.find(key)
    if entry is None:
        with store.turn(key) as mine:
            entry = store.find(key)  # another process may have made it meanwhile
            with store.making(key) if mine and entry is None else nullcontext(None) as making:
                if making:
                    started = time.perf_counter()
                    _encoded(rows, task, tokenizer, making.path / ENCODED)
                    try:
                        store.make_room((making.path / ENCODED).stat().st_size)
                        entry = making.keep(seconds=time.perf_counter() - started, rows=len(rows))
                    except NoRoom as reason:
                        store.say(f"encoded rows are kept for this run alone: {reason}.")
    if entry is None:
        return _encoded(rows, task, tokenizer)
    return Dataset.from_file(str(entry.path / ENCODED))


def _key(rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase) -> str:
    """What the encoding of rows depends on: their cells, the task and its code, the tokenizer and its limit."""
    # a fast tokenizer describes itself, after the truncation and the padding of its last call
    described = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else str(id(tokenizer))
    return identity.key(
        "encoded",
        cells=identity.cells(rows, without=(PLACE,)),
        task=[str(type(task)), task.to_json(), identity.code_of(type(task))],
        tokenizer=[str(type(tokenizer)), tokenizer.model_max_length, tokenizer.model_input_names],
        special=str(tokenizer.special_tokens_map),
        described=described[max(described.find('"added_tokens"'), 0) :],
    )


@dataclass(frozen=True)
class LengthBuckets:
    """Which features, or rows with all their features, make which step of training: a function of (seed, epoch) alone.

    All are shuffled, every `POOL` steps' worth of them is sorted by length and cut into steps, and the steps are
    shuffled: batches of similar lengths in random order. A step's rows are then dealt to its `accumulate` batches, or to
    more: a batch has at most `batch_size` features, or one row.
    """

    lengths: np.ndarray
    batch_size: int
    accumulate: int
    seed: int
    counts: np.ndarray | None = None
    """How many features each row has; None: one each."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one epoch; the last rows make a smaller one."""
        return math.ceil(len(self.lengths) / (self.batch_size * self.accumulate))

    def epoch(self, number: int) -> list[list[np.ndarray]]:
        """All steps of an epoch: each a list of batches, each an array of feature indices."""
        generator = np.random.default_rng([self.seed, number])
        order = generator.permutation(len(self.lengths))
        rows_per_step = self.batch_size * self.accumulate
        # few rows still deserve several pools, or the longest would always meet the longest
        pool = rows_per_step * max(1, min(POOL, self.steps_per_epoch // 4))
        steps = []
        for start in range(0, len(order), pool):
            drawn = order[start : start + pool]
            drawn = drawn[np.argsort(-self.lengths[drawn], kind="stable")]
            steps += [drawn[i : i + rows_per_step] for i in range(0, len(drawn), rows_per_step)]
        return [self._dealt(steps[i]) for i in generator.permutation(len(steps))]

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


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """All features once, longest first, so that a lack of memory shows at once and padding is least."""
    order = np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
