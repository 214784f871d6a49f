"""Dropout that does not cost a fifth of a step on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 2**16
"""Probabilities are rounded to this part of one: a tenth becomes 0.100006."""


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`torch.nn.functional.dropout` (Srivastava 2014): numbers become 0 with probability p, the others grow by 1 / (1 - p).

    16 random bits for each number, where PyTorch draws a whole one: 11 ns on the CPU measured, against 3 here. Bits come from
    PyTorch's generator, so that a seed, or a checkpoint of its state, gives the same ones again.
    """
    if not training or inplace or not droppable(input, p):
        return functional.dropout(input, p, training, inplace)
    return input * factors(input, p)


def droppable(numbers: Tensor, p: float) -> bool:
    """Whether these numbers can be dropped so."""
    return numbers.device.type == "cpu" and numbers.is_floating_point() and 0 < round(p * LEVELS) < LEVELS


def factors(numbers: Tensor, p: float) -> Tensor:
    """By what each number is multiplied: 0, or 1 / (1 - p)."""
    dropped, count = round(p * LEVELS), numbers.numel()
    # whole numbers of 64 bits come in the time of one of 16
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[:count].view(numbers.shape)
    factors = torch.empty(numbers.shape, dtype=numbers.dtype)
    torch.ge(bits, dropped - LEVELS // 2, out=factors)
    return factors.mul_(LEVELS / (LEVELS - dropped))
