"""Stored activations: what the part of a model that never changes gives for each row, computed once."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import PreTrainedModel

from nlp_transfer.architectures import blocks, body, embeddings
from nlp_transfer.data.batches import Features
from nlp_transfer.environment import processes
from nlp_transfer.methods import EVERY_BLOCK
from nlp_transfer.standin import HeadAlone
from nlp_transfer.training.batch import Batch
from nlp_transfer.upper import UpperPart

TOKENS = {"cpu": 2048}
"""Tokens in a batch, padding included, when nothing has to be kept for a backward pass: on a CPU what its caches hold
(measured with minilm: 612 rows/s, at 512 tokens 511, at 8,192 489)."""

TOKENS_ELSEWHERE = 65536

ROWS = 4096
"""Rows whose targets are read at once."""

LARGE = 2**28
"""Bytes above which the vectors lie in a file that is mapped into memory, instead of in memory."""


HALF = np.dtype(np.uint16)
"""What the bits of bf16 lie in."""


@dataclass(frozen=True)
class Vectors:
    """The vectors of all rows, one row after the other: row i has values[starts[i]:starts[i + 1]].

    Values are fp32, or the bits of bf16, which numpy has not, as `HALF`.
    """

    values: np.ndarray
    starts: np.ndarray

    def padded(self, indices: np.ndarray) -> Tensor:
        """The vectors of some rows (rows, most vectors of these, width), zeros behind the shorter ones."""
        counts = self.starts[indices + 1] - self.starts[indices]
        longest = int(counts.max())
        if (counts == longest).all():
            return _numbers(self.values[self.starts[indices][:, None] + np.arange(longest)])
        padded = np.zeros((len(indices), longest, self.values.shape[1]), dtype=self.values.dtype)
        for i, index in enumerate(indices):
            padded[i, : counts[i]] = self.values[self.starts[index] : self.starts[index + 1]]
        return _numbers(padded)


def as_bits(values: np.ndarray) -> np.ndarray:
    """The bits of numbers as bf16."""
    return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()


def _numbers(values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.view(torch.bfloat16).float() if values.dtype == HALF else tensor


@dataclass(frozen=True)
class StoredFeatures(Features):
    """Features whose way through what never changes is done: their batches hold what the part that trains reads."""

    part: HeadAlone | UpperPart
    vectors: Vectors

    def fetch(self, indices: np.ndarray) -> Batch:
        """One batch for the part that trains."""
        return self.part.inputs(self._batch(indices), self.vectors.padded(indices))

    def _batch(self, indices: np.ndarray) -> Batch:
        if self.part.reading == "all":
            return super().fetch(indices)
        return Batch({}, {name: values[indices] for name, values in self._targets.items()})

    @cached_property
    def _targets(self) -> Mapping[str, Tensor]:
        """The targets of all rows: where each row has one vector, its targets have no tokens to be padded to."""
        pieces = [
            super(StoredFeatures, self).fetch(np.arange(start, min(start + ROWS, len(self)))).targets
            for start in range(0, len(self), ROWS)
        ]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


@dataclass(frozen=True)
class Once:
    """The pass of what never changes of a model over the rows of several splits."""

    autocast: Callable[[], AbstractContextManager[Any]]
    folder: Path
    """On whose disk large vectors lie."""
    each_batch: Callable[[], None] = lambda: None
    """Called before every batch; may end the pass by raising, but not with several processes."""
    done: Callable[[int], None] = lambda _: None
    """Told after every batch how many rows it had."""
    gigabytes: float = math.inf
    """What the vectors of a split may take."""
    half: bool = False
    """Whether states between blocks are kept in bf16, as the blocks that read them multiply."""

    def through(
        self, model: Any, features: dict[str, Features], frozen_blocks: int, say: Callable[[str], None]
    ) -> tuple[Any, dict[str, Features]]:
        """What is left to train, and the features that it reads; both as they were where nothing can be stored.

        Args:
            model: that trains.
            features: by split; the part that never changes is computed for all of them.
            frozen_blocks: how many blocks from the bottom never change, as a method says it.
            say: told what was done, and why not.
        """
        if frozen_blocks <= 0:
            return model, features
        started = time.perf_counter()
        try:
            part = unchanged(model, features["train"], frozen_blocks)
            stored = self.over(part, features)
        except ValueError as reason:
            say(f"what never changes runs in every epoch: {reason}.")
            return model, features
        rows, seconds = sum(map(len, features.values())), time.perf_counter() - started
        of = "rows" if features["train"].task.windows_pooled is None else "windows"
        below, above = "the backbone", "the head alone"
        if isinstance(part, UpperPart):
            below = "the lowest block" if frozen_blocks == 1 else f"the lowest {frozen_blocks} blocks"
            above = "what stands above"
        say(f"{below} ran once over {rows} {of}, in {seconds:.1f} s; what trains is {above}.")
        return part.model, stored

    def over(self, part: HeadAlone | UpperPart, features: Mapping[str, Features]) -> dict[str, Features]:
        """The same splits, with what the part that trains reads of each row stored.

        Raises:
            ValueError: where there is no room for it.
        """
        part.backbone.eval()
        return {
            name: StoredFeatures(split.task, split.tokenizer, split.columns, part, self._vectors(part, split))
            for name, split in features.items()
        }

    def _vectors(self, part: HeadAlone | UpperPart, features: Features) -> Vectors:
        per_row = np.ones(len(features), dtype=np.int64) if part.reading != "all" else features.lengths
        starts = np.concatenate([[0], np.cumsum(per_row + int(part.gives_pooled))])
        half = self.half and isinstance(part, UpperPart)
        values: np.ndarray | None = None
        for indices, vectors, mask in self._passes(part, features):
            if values is None:
                values = self._empty((int(starts[-1]), vectors.shape[-1]), HALF if half else np.dtype(np.float32))
            for i, index in enumerate(indices):
                kept = vectors[i][mask[i]]
                values[starts[index] : starts[index + 1]] = as_bits(kept) if half else kept
        assert values is not None
        return Vectors(values, starts)

    def _passes(
        self, part: HeadAlone | UpperPart, features: Features
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Row indices, their vectors and mask, batch by batch; several processes share the work, and all get all."""
        state = processes()
        batches = by_tokens(features.lengths, TOKENS.get(state.device.type, TOKENS_ELSEWHERE))
        rounds = math.ceil(len(batches) / state.num_processes)
        for turn in range(rounds):
            here = turn * state.num_processes + state.process_index
            if state.num_processes == 1:
                self.each_batch()
            passed = []
            if here < len(batches):
                batch = features.fetch(batches[here]).to(state.device)
                with torch.inference_mode(), self.autocast():
                    vectors, mask = part.vectors(batch)
                passed.append((batches[here], vectors.cpu().numpy(), mask.cpu().numpy()))
            if state.num_processes > 1:
                passed = gather_object(passed)
            yield from passed
            self.done(sum(len(indices) for indices, _, _ in passed))

    def _empty(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        if size > self.gigabytes * 2**30:
            raise ValueError(
                f"its activations would take {size / 2**30:.2f} GiB, and train.store_gigabytes is {self.gigabytes:g}"
            )
        if size <= LARGE:
            return np.empty(shape, dtype=dtype)
        if size > (free := shutil.disk_usage(self.folder).free):
            raise ValueError(
                f"{self.folder} has room for {free // 2**20} MiB, and its activations would take {size // 2**20}"
            )
        # a file without a name: it is gone when this process is, however it ends
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.memmap(file, mode="w+", dtype=dtype, shape=shape)


def unchanged(model: Any, features: Features, frozen_blocks: int) -> HeadAlone | UpperPart:
    """The part of a model that trains where so many blocks never change.

    Raises:
        ValueError: as `HeadAlone` and `UpperPart`.
    """
    order = np.argsort(features.lengths, kind="stable")
    spread = order[np.linspace(0, len(order) - 1, num=min(4, len(order))).astype(int)]
    device = processes().device
    probe = features.fetch(np.unique(spread)).to(device)
    if frozen_blocks < EVERY_BLOCK:
        return UpperPart(model.to(device), frozen_blocks, probe)
    if not isinstance(model, PreTrainedModel):
        raise ValueError("the method put modules into it")
    return HeadAlone(model.to(device), probe)


def unchanging(model: nn.Module, count: int) -> list[nn.Module]:
    """What never changes where a method leaves so many blocks from the bottom as they are: these and the embeddings."""
    if count <= 0:
        return []
    if count >= EVERY_BLOCK:
        return [body(model)]
    return [*embeddings(model), *blocks(model)[:count]]


def by_tokens(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """All features once, longest first, in batches of at most `budget` tokens with padding, or of one feature."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches
