"""Dropout that does not cost a fifth of a step on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LEVELS = 2**16
"""Probabilities are rounded to this part of one: a tenth becomes 0.100006."""

TOGETHER = 2**22
"""Weights of attention, over all heads of some rows, that are worked on at once."""

THREADS = 4
"""With more of them PyTorch's own numbers, which all threads draw, come sooner than these, which one draws."""


def cheap_dropout(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, dropout draws 16 random bits for each number, on a CPU with few threads; elsewhere nothing changes.

    PyTorch draws a whole number for each: 11 ns on the CPU measured, against 3 here. Bits come from PyTorch's
    generator, so that a seed, or a checkpoint of its state, gives the same ones again. Not for gradient checkpointing:
    what the backward pass computes again is out of this mode's reach, and would drop others.
    """
    few = device.type == "cpu" and torch.get_num_threads() <= THREADS
    return CheapDropout() if few else nullcontext()


class CheapDropout(TorchFunctionMode):
    """Stands between a model and the two functions of PyTorch that drop: `dropout`, and attention's."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer for the two, and hand on all others."""
        given = kwargs or {}
        if function is functional.dropout:
            return dropout(*args, **given)
        if function is functional.scaled_dot_product_attention:
            return attention(*args, **given)
        return function(*args, **given)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`torch.nn.functional.dropout` (Srivastava 2014): numbers become 0 with probability p, the others grow by 1 / (1 - p)."""
    if not training or inplace or not _droppable(input, p):
        return functional.dropout(input, p, training, inplace)
    return input * _factors(input, p)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **rest: Any,
) -> Tensor:
    """`scaled_dot_product_attention` of rows, heads, tokens and width."""
    usual = query.dim() == 4 and query.shape[:2] == key.shape[:2] == value.shape[:2] and not rest.get("enable_gqa")
    if attn_mask is not None:
        # a bias that learns needs a gradient
        usual = usual and attn_mask.dim() == 4 and attn_mask.shape[0] in (1, len(query)) and not attn_mask.requires_grad
    if not usual or not _droppable(query, dropout_p):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal, **rest
        )
    if is_causal:
        attn_mask = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # not minus infinity: what may look at nothing, padding, gets a mean instead of no number
        least = torch.finfo(query.dtype).min
        attn_mask = torch.zeros(attn_mask.shape, dtype=query.dtype).masked_fill_(~attn_mask, least)
    scale = rest.get("scale")
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    few = max(1, TOGETHER // (query.shape[1] * query.shape[2] * key.shape[2]))
    answers = []
    for start in range(0, len(query), few):
        rows = slice(start, start + few)
        mask = attn_mask if attn_mask is None or len(attn_mask) == 1 else attn_mask[rows]
        scores = query[rows] @ key[rows].transpose(-2, -1)
        weights = (scores if mask is None else scores + mask).softmax(-1).to(scores.dtype)
        answers.append((weights * _factors(weights, dropout_p)) @ value[rows])
    return torch.cat(answers) if len(answers) > 1 else answers[0]


def _droppable(numbers: Tensor, p: float) -> bool:
    return numbers.device.type == "cpu" and numbers.is_floating_point() and 0 < round(p * LEVELS) < LEVELS


def _factors(numbers: Tensor, p: float) -> Tensor:
    """By what each number is multiplied: 0, or 1 / (1 - p)."""
    dropped, count = round(p * LEVELS), numbers.numel()
    # whole numbers of 64 bits come in the time of one of 16
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[:count].view(numbers.shape)
    factors = torch.empty(numbers.shape, dtype=numbers.dtype)
    torch.ge(bits, dropped - LEVELS // 2, out=factors)
    return factors.mul_(LEVELS / (LEVELS - dropped))
