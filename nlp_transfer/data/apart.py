"""What never changes of a model, and the part that trains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from nlp_transfer.architectures import blocks, body, embeddings
from nlp_transfer.data.features import Features
from nlp_transfer.environment import processes
from nlp_transfer.methods import EVERY_BLOCK
from nlp_transfer.standin import HeadAlone, Inseparable
from nlp_transfer.upper import UpperPart


def unchanged(
    model: Any,
    features: Features,
    frozen_blocks: int,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> HeadAlone | UpperPart:
    """The part of a model that trains where so many blocks never change.

    Raises:
        Inseparable: as `HeadAlone` and `UpperPart`.
    """
    order = np.argsort(features.lengths, kind="stable")
    spread = order[np.linspace(0, len(order) - 1, num=min(4, len(order))).astype(int)]
    device = processes().device
    probe = features.fetch(np.unique(spread)).to(device)
    if frozen_blocks < EVERY_BLOCK:
        return UpperPart(model.to(device), frozen_blocks, probe, autocast)
    if not isinstance(model, PreTrainedModel):
        raise Inseparable("the method put modules into it")
    return HeadAlone(model.to(device), probe)


def unchanging(model: nn.Module, count: int) -> list[nn.Module]:
    """What never changes where a method leaves so many blocks from the bottom as they are: these and the embeddings."""
    if count <= 0:
        return []
    if count >= EVERY_BLOCK:
        return [body(model)]
    return [*embeddings(model), *blocks(model)[:count]]
