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

from nlp_transfer.data.activations import TOKENS, by_tokens
from nlp_transfer.data.features import Features
from nlp_transfer.environment import processes
from nlp_transfer.long_texts import pooled_by_row
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
    kept = []
    # what inference mode leaves in a sharded model's memory cannot be trained with
    with torch.no_grad() if is_sharded(model) else torch.inference_mode(), autocast or nullcontext():
        for indices in batches + more:
            if count == 1:
                each_batch()
            batch = features.fetch(indices).to(state.device)
            # a copy: a view would hold on to all that it was taken from
            kept.append(features.task.keep(model(**batch.inputs), batch).cpu().numpy().copy())
    drop_gathered(model)
    if count > 1:
        shares = gather_object(list(zip(batches, kept, strict=False)))
        batches, kept = [share[0] for share in shares], [share[1] for share in shares]
    outputs, order = np.concatenate(kept), np.argsort(np.concatenate(batches))
    counts, pooling = features.task.kept(features.columns), features.task.windows_pooled
    outputs = outputs[order if counts is None else _several(order, counts)]
    return outputs if pooling is None else pooled_by_row(outputs, features.rows, pooling)


def _several(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where the rows of all features lie, feature by feature, when feature i came as the `order[i]`-th, with `counts[i]` rows."""
    came = np.empty_like(counts)
    came[order] = counts
    begins = (np.cumsum(came) - came)[order]
    return np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
