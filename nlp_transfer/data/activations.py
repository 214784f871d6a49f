"""Stored activations: what the part of a model that never changes gives for each row, computed once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from nlp_transfer.data import identity, provenance
from nlp_transfer.data.apart import unchanged
from nlp_transfer.data.features import Features
from nlp_transfer.data.grouping import grouped
from nlp_transfer.data.store import Making, NoRoom, Store
from nlp_transfer.data.vectors import HALF, VALUES, Vectors, as_bits, read, room
from nlp_transfer.environment import processes
from nlp_transfer.scratch import numbers
from nlp_transfer.standin import HeadAlone, Inseparable
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.kernels import cpu_kernels
from nlp_transfer.upper import UpperPart

TOKENS = {"cpu": 2048}
"""Tokens in a batch, padding included, when nothing has to be kept for a backward pass: on a CPU what its caches hold
(measured with four blocks of minilm's width, milliseconds for 2,048 tokens: 128 in batches of so many, 127 of 4,096, 137 of
8,192; in bf16 40, 39 and 39. 12,000 answers take 0.3 GB more in batches of 4,096, and no less time)."""

TOKENS_ELSEWHERE = 65536

ROWS = 4096
"""Rows whose targets are read at once."""


@dataclass(frozen=True)
class StoredFeatures(Features):
    """Features whose way through what never changes is done: their batches hold what the part that trains reads."""

    part: HeadAlone | UpperPart
    vectors: Vectors
    reused: float | None = None
    """The seconds that the vectors took an earlier run; None where they were computed now."""
    took: float = 0.0
    """Seconds until they were computed, or found."""

    def fetch(self, indices: np.ndarray) -> Batch:
        """One batch for the part that trains."""
        return self.part.inputs(self._batch(indices), self.vectors.padded(indices))

    @property
    def preparing(self) -> float:
        """Seconds until what never changes had run over them, or was found to have."""
        return self.took

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
    store: Store | None = None
    """Where what is computed is kept for later runs, and looked for; None: nowhere."""

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
            part = unchanged(model, features["train"], frozen_blocks, self.autocast)
            stored = self.over(part, features, say)
        except (Inseparable, NoRoom) as reason:
            say(f"what never changes runs in every epoch: {reason}.")
            return model, features
        reused = [name for name, split in stored.items() if split.reused is not None]
        seconds = time.perf_counter() - started
        found = sum(len(features[name]) for name in reused)
        rows = sum(map(len, features.values())) - found
        of = "rows" if features["train"].task.windows_pooled is None else "windows"
        below, above = "the backbone", "the head alone"
        if isinstance(part, UpperPart):
            below = "the lowest block" if frozen_blocks == 1 else f"the lowest {frozen_blocks} blocks"
            above = "what stands above"
        if reused:
            spared = sum(stored[name].reused or 0.0 for name in reused)
            say(f"reused: {below} ran over {found} {of} in an earlier run, in {spared:.1f} s; what trains is {above}.")
        if rows:
            say(f"{below} ran once over {rows} {of}, in {seconds:.1f} s; what trains is {above}.")
        return part.model, dict(stored)

    def over(
        self, part: HeadAlone | UpperPart, features: Mapping[str, Features], say: Callable[[str], None]
    ) -> dict[str, StoredFeatures]:
        """The same splits, with what the part that trains reads of each row stored.

        Raises:
            NoRoom: where there is none for it.
        """
        part.backbone.eval()
        store = self.store if provenance.known(part, next(iter(features.values()))) else None
        known = provenance.of_part(part, self.autocast, self.half) if store else {}
        found = {}
        for name, split in features.items():
            started = time.perf_counter()
            vectors, reused = self._vectors(part, split, store, known, say)
            took = time.perf_counter() - started
            found[name] = StoredFeatures(split.task, split.tokenizer, split.columns, part, vectors, reused, took)
        return found

    def _vectors(
        self,
        part: HeadAlone | UpperPart,
        features: Features,
        store: Store | None,
        known: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> tuple[Vectors, float | None]:
        """The vectors of a split, and the seconds that they took an earlier run, None where they were computed now."""
        per_row = np.ones(len(features), dtype=np.int64) if part.reading != "all" else features.lengths
        starts = np.concatenate([[0], np.cumsum(per_row + int(part.gives_pooled))])
        state = processes()
        if store is None:
            return Vectors(self._computed(part, features, starts, None, say), starts), None
        key = identity.key("activations", **known, **provenance.of_rows(features))
        # processes that compute together cannot wait for another, nor one for itself
        alone = state.num_processes == 1
        with store.turn(key, wait=alone) if state.is_local_main_process else nullcontext(False) as mine:
            entry = store.find(key)
            kept = read(entry)
            if _everywhere(kept is not None):
                assert entry is not None
                values = cast(np.ndarray, kept)
                self._allow(values.nbytes)
                return Vectors(values, starts), float(entry.told["seconds"])
            with store.making(key) if mine else nullcontext(None) as making:
                started = time.perf_counter()
                values = self._computed(part, features, starts, making, say)
                if making and isinstance(values, np.memmap) and values.filename:
                    values.flush()
                    told = {
                        "seconds": time.perf_counter() - started,
                        "shape": values.shape,
                        "half": values.dtype == HALF,
                    }
                    making.keep(**told, rows=len(features))
                    values.flags.writeable = False  # it may be the store's now
        return Vectors(values, starts), None

    def _computed(
        self,
        part: HeadAlone | UpperPart,
        features: Features,
        starts: np.ndarray,
        making: Making | None,
        say: Callable[[str], None],
    ) -> np.ndarray:
        half = self.half and isinstance(part, UpperPart)
        values: np.ndarray | None = None
        for indices, vectors, mask in self._passes(part, features):
            if values is None:
                shape, dtype = (int(starts[-1]), vectors.shape[-1]), HALF if half else np.dtype(np.float32)
                values = self._agreed(shape, dtype, making, say)
            kept, counts = vectors[mask], mask.sum(1)
            places = np.repeat(starts[indices] - (counts.cumsum() - counts), counts) + np.arange(len(kept))
            values[places] = as_bits(kept) if half else kept
        assert values is not None
        return values

    def _passes(
        self, part: HeadAlone | UpperPart, features: Features
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Row indices, their vectors and mask, batch by batch; several processes share the work, and all get all."""
        state = processes()
        batches = by_tokens(features.lengths, TOKENS.get(state.device.type, TOKENS_ELSEWHERE))
        kernels = cpu_kernels(state.device)
        rounds = math.ceil(len(batches) / state.num_processes)
        for turn in range(rounds):
            here = turn * state.num_processes + state.process_index
            if state.num_processes == 1:
                self.each_batch()
            passed = []
            if here < len(batches):
                batch = features.fetch(batches[here]).to(state.device)
                with torch.no_grad(), self.autocast(), kernels:
                    vectors, mask = part.vectors(batch)
                passed.append((batches[here], vectors.cpu().numpy(), mask.cpu().numpy()))
            if state.num_processes > 1:
                passed = gather_object(passed)
            yield from passed
            self.done(sum(len(indices) for indices, _, _ in passed))

    def _allow(self, size: int) -> None:
        """Refuse vectors of more bytes than they may take, also where they lie in the store.

        Raises:
            NoRoom: for them.
        """
        if size > self.gigabytes * 2**30:
            raise NoRoom(
                f"its activations would take {size / 2**30:.2f} GiB, and train.store_gigabytes is {self.gigabytes:g}"
            )

    def _agreed(
        self, shape: tuple[int, int], dtype: np.dtype[Any], making: Making | None, say: Callable[[str], None]
    ) -> np.ndarray:
        """Room for the vectors, in all processes or in none: they must all train the same.

        Raises:
            NoRoom: where one of them has none.
        """
        values, refusal = None, None
        try:
            values = self._empty(shape, dtype, making, say)
        except NoRoom as reason:
            refusal = str(reason)
        for each in _of_all(refusal):
            if each is not None:
                raise NoRoom(each)
        return cast(np.ndarray, values)

    def _empty(
        self, shape: tuple[int, int], dtype: np.dtype[Any], making: Making | None, say: Callable[[str], None]
    ) -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        self._allow(size)
        if making:
            try:
                return np.memmap(making.room(VALUES, size), mode="r+", dtype=dtype, shape=shape)
            except NoRoom as reason:
                say(f"what is computed once is kept for this run alone: {reason}.")
        return room(shape, dtype, self.folder)


def _everywhere(here: bool) -> bool:
    """Whether all processes say so: they must take the same turn."""
    return all(_of_all(here))


def _of_all(here: Any) -> list[Any]:
    """What each process says."""
    return gather_object([here]) if processes().num_processes > 1 else [here]


def by_tokens(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """All features once, longest first, in batches of at most `budget` tokens with padding, or of one feature."""
    longest = int(lengths.max(initial=0))
    shorter = np.subtract(longest, lengths, out=numbers(len(lengths), np.int64))
    order, _ = grouped(shorter, longest + 1)
    batches, start = [], 0
    while start < len(order):
        rows = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches
