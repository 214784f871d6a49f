"""Features: encoded rows of a split, fetched as batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.compute
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlp_transfer.data.encoding import anew, encoded
from nlp_transfer.data.store import Store
from nlp_transfer.long_texts import pooled
from nlp_transfer.rows import cells, touched, windows
from nlp_transfer.scratch import filled, numbers
from nlp_transfer.tasks import Task
from nlp_transfer.training.batch import Batch

COUNTED = 2**17
"""Features whose tokens are counted at once."""


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
        counts = numbers(len(self), np.int64)
        for start, window in windows(self.columns, ["input_ids"], COUNTED):
            counts[start : start + COUNTED] = pyarrow.compute.list_value_length(window.column(0)).to_numpy()
        return counts

    @property
    def longest(self) -> np.ndarray:
        """Tokens of the longest feature learned from together: of each itself (features,)."""
        return self.lengths

    @cached_property
    def rows(self) -> np.ndarray:
        """The index of each feature's row (features,)."""
        several = "row" in self.columns.column_names
        return filled(cells(self.columns, "row") if several else range(len(self)), len(self), np.int64)

    @property
    def counts(self) -> np.ndarray | None:
        """How many features are learned from together: None, each by itself."""
        return None

    @property
    def preparing(self) -> float:
        """Seconds that what never changes of the model took to run over them."""
        return 0.0

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
