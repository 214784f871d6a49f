"""Dropout: the same distribution as PyTorch's, seeded, and used by the loop."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nlp_transfer.training import dropout
from nlp_transfer.training.kernels import CpuKernels


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    numbers = torch.ones(1000, 1001)
    with CpuKernels():
        found = functional.dropout(numbers, p)
    kept = found != 0
    spread = (p * (1 - p) / numbers.numel()) ** 0.5
    assert abs(kept.float().mean().item() - (1 - p)) < 4 * spread + 1 / dropout.LEVELS
    torch.testing.assert_close(found[kept], torch.full((int(kept.sum()),), 1 / (1 - p)), rtol=1e-4, atol=0)
    assert abs(found.mean().item() - 1) < 4 * spread / (1 - p) + 1e-4


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    with CpuKernels():
        dropped = (functional.dropout(torch.ones(1_000_000), 0.3) == 0).float()
    for apart in (1, 2, 3, 4, 64):
        both = (dropped[apart:] * dropped[:-apart]).mean().item()
        assert abs(both - 0.09) < 4 * (0.09 * 0.91 / 1_000_000) ** 0.5


def test_a_seed_gives_the_same_again_and_the_next_call_others() -> None:
    numbers = torch.ones(100, 7)

    def drawn() -> list[torch.Tensor]:
        torch.manual_seed(3)
        with CpuKernels():
            return [functional.dropout(numbers, 0.5) for _ in range(2)]

    (first, second), again = drawn(), drawn()
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, second)


def test_what_is_dropped_gets_no_gradient() -> None:
    numbers = torch.randn(20, 30, requires_grad=True)
    with CpuKernels():
        found = functional.dropout(numbers, 0.25)
    found.sum().backward()
    assert numbers.grad is not None
    torch.testing.assert_close(numbers.grad, (found / numbers).detach(), rtol=1e-5, atol=1e-6)


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    numbers, state = torch.ones(8, 2, 4, 4), torch.get_rng_state()
    with CpuKernels():
        assert functional.dropout(numbers, 0.5, training=False) is numbers
        assert torch.equal(functional.dropout(numbers, 0.0), numbers)
        plain = functional.scaled_dot_product_attention(numbers, numbers, numbers)
    torch.testing.assert_close(plain, numbers)
    assert torch.equal(state, torch.get_rng_state())
    with CpuKernels():
        assert not functional.dropout(numbers, 1.0).any()
