"""What stored activations depend on: a part of a model, rows, the numbers and the machine that they are made in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlp_transfer.architectures import blocks, body
from nlp_transfer.backbone import DROPOUT
from nlp_transfer.data import identity
from nlp_transfer.data.features import Features
from nlp_transfer.environment import describe, processes
from nlp_transfer.standin import HeadAlone
from nlp_transfer.upper import UpperPart

NO_MATTER = {
    *("id2label", "label2id", "num_labels", "problem_type", "architectures", "transformers_version", "_name_or_path"),
}
"""Settings of a configuration on which no vector depends, as none does on a dropout: what never changes runs as in prediction."""


def of_part(
    part: HeadAlone | UpperPart, autocast: Callable[[], AbstractContextManager[Any]], half: bool
) -> dict[str, Any]:
    """What the vectors of any row depend on: the weights that give them, how these are put together, and in what is computed.

    Device and threads are part of it, since sums are rounded otherwise elsewhere: what is found is what would be computed, to
    the bit.
    """
    inside = body(part.backbone)
    settings = {
        name: value
        for name, value in inside.config.to_dict().items()
        if name not in NO_MATTER and not DROPOUT.search(name)
    }
    kind, described = processes().device.type, describe()
    with autocast():
        multiplied = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "as they are"
    return {
        "weights": identity.weights(_below(part)),
        "model": [type(inside).__name__, json.dumps(settings, default=str), inside.config._attn_implementation],
        "modules": _code(part),
        "blocks": part.count if isinstance(part, UpperPart) else "all",
        "reading": [part.reading, part.gives_pooled],
        "precision": [multiplied, half, torch.get_float32_matmul_precision()],
        "machine": [described[name] for name in ("device", "device_name", "threads", "processes")],
    }


def of_rows(features: Features) -> dict[str, Any]:
    """What vectors depend on beside the part: the encoded rows without their targets, and what makes batches of them.

    Tokenizer, texts, their limit and what is read of long ones all show in the encoded rows.
    """
    task, tokenizer = type(features.task), features.tokenizer
    targets = features.fetch(np.array([0])).targets
    return {
        "rows": identity.cells(features.columns, without=targets),
        "task": [task.__module__, task.__qualname__, identity.code_of(task)],
        "padding": [tokenizer.pad_token_id, tokenizer.padding_side],
    }


def known(part: HeadAlone | UpperPart, features: Features) -> bool:
    """Whether all code that makes vectors stands in files, and so can be told from another of the same name."""
    return None not in [*_code(part).values(), identity.code_of(type(features.task))]


def _code(part: HeadAlone | UpperPart) -> dict[str, str | None]:
    """The classes of the modules that make a part's vectors, with a hash of the file of each."""
    others = {module for block in _above(part) for module in block.modules()}
    kinds = {type(module) for module in body(part.backbone).modules() if module not in others}
    return {f"{kind.__module__}.{kind.__qualname__}": identity.code_of(kind) for kind in kinds}


def _below(part: HeadAlone | UpperPart) -> Iterator[tuple[str, Tensor]]:
    """The tensors by which a part's vectors are made, and perhaps a few more, but none that learns or stands above."""
    inside = body(part.backbone)
    others = {id(tensor) for block in _above(part) for tensor in (*block.parameters(), *block.buffers())}
    for name, tensor in (*inside.named_parameters(), *inside.named_buffers()):
        # peft keeps the head as it was, at random, beside the one that learns
        if id(tensor) not in others and not tensor.requires_grad and ".original_module." not in name:
            yield name, tensor


def _above(part: HeadAlone | UpperPart) -> list[nn.Module]:
    return blocks(part.backbone)[part.count :] if isinstance(part, UpperPart) else []
