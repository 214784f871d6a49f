"""Attention on a CPU: PyTorch's where that is fast, and what is faster where it is not.

PyTorch's kernel for CPUs has no dropout, takes the keys that are left over from sixteen one by one, and is slow in the
backward pass of bf16.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nlp_transfer.training.dropout import droppable, factors

LANES = 16
"""Numbers in fp32 that a processor with AVX-512 works on at once."""

TOGETHER = 2**20
"""Weights of attention, over all heads of some rows, that are worked on at once."""


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **rest: Any,
) -> Tensor:
    """`scaled_dot_product_attention` of rows, heads, tokens and width.

    Where all queries of a row are the same memory, as `first_token` has them in the last block, they look once, and what they
    find is the same memory again; its weights are dropped for all of them alike.
    """
    if not is_causal and _alike(query, attn_mask):
        mask = None if attn_mask is None else attn_mask[:, :, :1]
        found = attention(query[:, :, :1], key, value, mask, dropout_p, **rest)
        return found.expand(-1, -1, query.shape[2], -1)
    learns = torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value))
    if learns and dropout_p == 0 and _in_bf16(query):
        return _in_fp32(query, key, value, attn_mask, is_causal=is_causal, **rest)
    usual = query.dim() == 4 and query.shape[:2] == key.shape[:2] == value.shape[:2] and not rest.get("enable_gqa")
    usual = usual and query.device.type == "cpu" and query.is_floating_point()
    if attn_mask is not None:
        # a bias that learns needs a gradient
        usual = usual and attn_mask.dim() == 4 and attn_mask.shape[0] in (1, len(query)) and not attn_mask.requires_grad
    mask = _causal(query, key) if is_causal and usual else attn_mask
    few = not learns and dropout_p == 0 and key.shape[-2] < LANES
    if usual and (few or droppable(query, dropout_p)):
        return _written_out(query, key, value, _bias(query, mask), dropout_p, rest.get("scale"))
    if usual and not learns and dropout_p == 0 and key.shape[2] % LANES >= LANES // 2:
        key, value, attn_mask = _filled_up(key, value, mask)
        is_causal = False
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal, **rest
    )


def _alike(query: Tensor, mask: Tensor | None) -> bool:
    """Whether all queries of a row are one in memory, and look at the same keys."""
    if query.dim() != 4 or query.shape[2] == 1 or query.stride(2) != 0:
        return False
    return mask is None or (mask.dim() == 4 and torch.equal(mask, mask[:, :, :1].expand_as(mask)))


def _in_bf16(query: Tensor) -> bool:
    """Whether a CPU computes it so, by itself or since autocast has it so."""
    lowered = torch.is_autocast_enabled("cpu") and query.dtype == torch.float32
    found = torch.get_autocast_dtype("cpu") if lowered else query.dtype
    return query.device.type == "cpu" and found == torch.bfloat16


def _in_fp32(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **rest: Any) -> Tensor:
    """PyTorch's, of numbers with more bits, outside of an autocast that would take them away."""
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.float()
    with torch.autocast("cpu", enabled=False):
        wide = functional.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), attn_mask=mask, **rest
        )
    return wide.to(torch.bfloat16)


def _written_out(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout_p: float, scale: float | None
) -> Tensor:
    """By its formula, some rows at once."""
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    few = max(1, TOGETHER // (query.shape[1] * query.shape[2] * key.shape[2]))
    if few >= len(query):
        return _of_rows(query, key, value, bias, dropout_p)
    # the gradient of pieces that are split off is put together once, that of slices is added up in as many sums
    parts = zip(query.split(few), key.split(few), value.split(few), strict=True)
    biases = itertools.repeat(bias) if bias is None or len(bias) == 1 else iter(bias.split(few))
    return torch.cat([_of_rows(*of_rows, next(biases), dropout_p) for of_rows in parts])


def _of_rows(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout_p: float) -> Tensor:
    scores = query @ key.transpose(-2, -1)
    weights = _softmax(scores if bias is None else scores + bias).to(scores.dtype)
    return (weights * factors(weights, dropout_p) if dropout_p else weights) @ value


def _causal(query: Tensor, key: Tensor) -> Tensor:
    return torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool).tril()


def _bias(query: Tensor, mask: Tensor | None) -> Tensor | None:
    """What is added to the scores: rows or 1, heads or 1, queries or 1, keys."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    # not minus infinity: what may look at nothing, padding, gets a mean instead of no number
    least = torch.finfo(query.dtype).min
    return torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, least)


def _softmax(scores: Tensor) -> Tensor:
    """Over the last dimension, of fp32 at least: PyTorch's of bf16, and of fewer numbers than sixteen, takes many times as long.

    A short one is filled up with what gets no weight.
    """
    if scores.dtype.itemsize < torch.float32.itemsize:
        scores = scores.float()
    count = scores.shape[-1]
    if count >= LANES:
        return scores.softmax(-1)
    return functional.pad(scores, (0, LANES - count), value=-math.inf).softmax(-1)[..., :count]


def _filled_up(key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values up to a multiple of sixteen, and the mask that hides the new ones."""
    count, missing = key.shape[2], -key.shape[2] % LANES
    if mask is None:
        mask = torch.ones(1, 1, 1, count, dtype=torch.bool)
    hidden = False if mask.dtype == torch.bool else -math.inf
    more = (0, 0, 0, missing)
    mask = functional.pad(mask.expand(*mask.shape[:3], count), (0, missing), value=hidden)
    return functional.pad(key, more), functional.pad(value, more), mask
