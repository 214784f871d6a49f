"""The outputs of a model for all features of a split, in the order of the features, or of the rows where windows are pooled."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn

from nlp_transfer import scratch
from nlp_transfer.data.activations import TOKENS, by_tokens
from nlp_transfer.data.features import Features
from nlp_transfer.environment import processes
from nlp_transfer.first_token import only_first
from nlp_transfer.long_texts import pooled_by_row
from nlp_transfer.training.kernels import cpu_kernels
from nlp_transfer.training.sharding import drop_gathered, is_sharded


def outputs_of(
    model: nn.Module,
    features: Features,
    batch_size: int,
    autocast: AbstractContextManager[Any] | None = None,
    each_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """What the task keeps of the model's outputs, float32, features first; rows first where the task pools their windows.

    Features are read longest first, in batches of as many tokens as `batch_size` of the longest have, on a CPU of no more
    than its caches hold; with several processes each reads its share of the batches, and all get all outputs. Without
    `autocast` the model computes in the precision of its weights. `each_batch` is called before every batch, and may end the
    evaluation by raising; not with several processes, which must all come to the end.
    """
    state = processes()
    rank, count = state.process_index, state.num_processes
    model.eval()
    budget = batch_size * int(features.lengths.max())
    every = by_tokens(features.lengths, min(budget, TOKENS.get(state.device.type, budget)))
    batches = every[rank::count]
    # a sharded model gathers its weights in every batch, so that all processes must have equally many
    more = every[:1] * (math.ceil(len(every) / count) - len(batches))
    placed, shares = Placed(features), []
    # what the kernels hold of weights would be more than a sharded model's share
    kernels = nullcontext() if is_sharded(model) else cpu_kernels(state.device)
    # not inference mode: there nobody counts changes, by which the kernels know what they have converted, and what it leaves in
    # a sharded model's memory cannot be trained with
    with torch.no_grad(), autocast or nullcontext(), kernels, only_first(model):
        for indices in batches + more:
            if count == 1:
                each_batch()
            batch = features.fetch(indices).to(state.device)
            kept = features.task.keep(model(**batch.inputs), batch).cpu().numpy()
            if count == 1:
                placed.put(indices, kept)
            else:
                shares.append((indices, kept.copy()))  # a view would hold on to all that it was taken from
    drop_gathered(model)
    if count > 1:
        for indices, kept in gather_object(shares[: len(batches)]):
            placed.put(indices, kept)
    pooling = features.task.windows_pooled
    assert placed.outputs is not None
    return placed.outputs if pooling is None else pooled_by_row(placed.outputs, features.rows, pooling)


class Placed:
    """Outputs of features that come in any order, each put where it belongs; on the disk where they are many."""

    def __init__(self, features: Features) -> None:
        self.counts = features.task.kept(features.columns)
        self.total = len(features) if self.counts is None else int(self.counts.sum())
        self.begins = None if self.counts is None else np.cumsum(self.counts) - self.counts
        self.outputs: np.ndarray | None = None

    def put(self, indices: np.ndarray, kept: np.ndarray) -> None:
        """What was kept of these features, of each as many rows as the task says, one feature after the other."""
        if self.outputs is None:
            self.outputs = scratch.table((self.total, *kept.shape[1:]), kept.dtype)
        self.outputs[self._rows(indices)] = kept

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        if self.counts is None or self.begins is None:
            return indices
        counts = self.counts[indices]
        return np.repeat(self.begins[indices] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
