"""Attention on a CPU: PyTorch's answers and gradients, whichever way they are computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from nlp_transfer.training import attention, dropout
from nlp_transfer.training.kernels import CpuKernels


@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal", "scaled"])
def test_attention_drops_weights_and_else_is_as_it_was(kind: str) -> None:
    torch.manual_seed(0)
    query, key = (torch.randn(2, 3, 5, 4) for _ in range(2))
    padding = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()[:, None, None, :].expand(2, 1, 5, 5)
    settings = {
        "none": {},
        "bool": {"attn_mask": padding},
        "float": {"attn_mask": torch.zeros(2, 1, 5, 5).masked_fill(~padding, torch.finfo(torch.float32).min)},
        "causal": {"is_causal": True},
        "scaled": {"scale": 0.3},
    }[kind]
    # the answer with vectors of one as values is the weights themselves
    values = torch.eye(5).expand(2, 3, 5, 5)
    expected = functional.scaled_dot_product_attention(query, key, values, **settings)
    shares = []
    for _ in range(50):
        with CpuKernels():
            found = functional.scaled_dot_product_attention(query, key, values, dropout_p=0.25, **settings)
        kept = found != 0
        torch.testing.assert_close(found[kept], expected[kept] / 0.75)
        shares.append(kept[expected > 0].float().mean().item())
    assert abs(sum(shares) / 50 - 0.75) < 0.03


@pytest.mark.parametrize("together", [1, 2**22])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_of_attention_is_that_of_its_formula(
    masked: bool, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "TOGETHER", together)
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, tokens, 4, dtype=torch.float64, requires_grad=True) for tokens in (5, 6, 6))
    mask = torch.randn(3, 1, 5, 6, dtype=torch.float64) if masked else None
    state = torch.get_rng_state()
    rows = 1 if together == 1 else 3
    factors = [dropout.factors(torch.empty(rows, 2, 5, 6, dtype=torch.float64), 0.25) for _ in range(3 // rows)]
    weights = query @ key.transpose(-2, -1) / 2 + (0 if mask is None else mask)
    expected = (weights.softmax(-1) * torch.cat(factors)) @ value
    gradients = torch.autograd.grad(expected.square().sum(), (query, key, value))
    torch.set_rng_state(state)
    with CpuKernels():
        found = functional.scaled_dot_product_attention(query, key, value, mask, 0.25)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), (query, key, value)), gradients)


@pytest.mark.parametrize("learned", [True, False])
def test_a_bias_that_learns_keeps_its_gradient(learned: bool) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 2, 3, 4, requires_grad=True)
    bias = torch.zeros(1, 2, 3, 3, requires_grad=learned)
    with CpuKernels():
        functional.scaled_dot_product_attention(query, query, query, bias, 0.5).square().sum().backward()
    assert (bias.grad is not None and bool(bias.grad.any())) == learned


MASKS = ["none", "bool", "float", "wide", "causal", "scaled"]


def asked(kind: str, queries: int, keys: int, dtype: torch.dtype) -> dict[str, Any]:
    """What attention is told besides queries, keys and values, for two rows, the second of which has padding."""
    seen = torch.ones(2, 1, 1, keys, dtype=torch.bool)
    seen[1, ..., max(1, keys // 2) :] = False
    least = torch.finfo(dtype).min
    return {
        "none": {},
        "bool": {"attn_mask": seen},
        "float": {"attn_mask": torch.zeros(2, 1, 1, keys, dtype=dtype).masked_fill(~seen, least)},
        "wide": {"attn_mask": seen.expand(2, 1, queries, keys)},
        "causal": {"is_causal": True},
        "scaled": {"attn_mask": seen, "scale": 0.3},
    }[kind]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("tokens", [1, 7, 15, 16, 17, 24, 29, 40])
def test_answers_are_those_of_pytorch(tokens: int, kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, tokens, 8).to(dtype) for _ in range(3))
    settings = asked(kind, tokens, tokens, dtype)
    expected = functional.scaled_dot_product_attention(query, key, value, **settings)
    with torch.inference_mode(), CpuKernels():
        found = functional.scaled_dot_product_attention(query, key, value, **settings)
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(found, expected, **near)


@pytest.mark.parametrize("kind", MASKS)
def test_of_other_keys_than_queries_too(kind: str) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 5, 8), *torch.randn(2, 2, 3, 12, 8)
    settings = asked(kind, 5, 12, torch.float32)
    expected = functional.scaled_dot_product_attention(query, key, value, **settings)
    with torch.inference_mode(), CpuKernels():
        found = functional.scaled_dot_product_attention(query, key, value, **settings)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("tokens", [5, 20, 29])
def test_gradients_without_dropout_are_those_of_pytorch(tokens: int, kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, tokens, 8).to(dtype).requires_grad_() for _ in range(3)]
    settings = asked(kind, tokens, tokens, dtype)
    weights = torch.randn(2, 3, tokens, 8)

    def gradients() -> tuple[torch.Tensor, ...]:
        found = functional.scaled_dot_product_attention(*parts, **settings)
        assert found.dtype == dtype
        return torch.autograd.grad((found.float() * weights).sum(), parts)

    expected = gradients()
    with CpuKernels(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = gradients()
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **near)


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_what_autocast_would_have_in_bf16_comes_in_bf16_and_has_its_backward_pass_in_fp32(given: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 20, 8), *torch.randn(2, 2, 2, 20, 8)
    parts = [each.to(given).requires_grad_() for each in (query, key, value)]
    wide = [each.detach().float().requires_grad_() for each in parts]
    expected = functional.scaled_dot_product_attention(*wide, enable_gqa=True)
    gradients = torch.autograd.grad(expected.square().sum(), wide)
    with CpuKernels(), torch.autocast("cpu", torch.bfloat16):
        found = functional.scaled_dot_product_attention(*parts, enable_gqa=True)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-2)
    for one, other in zip(torch.autograd.grad(found.float().square().sum(), parts), gradients, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=3e-2, atol=3e-2)


def test_heads_that_share_keys_are_left_to_pytorch() -> None:
    query, key = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8)
    expected = functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    with torch.inference_mode(), CpuKernels():
        found = functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["none", "bool", "float", "wide", "causal", "scaled", "other"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_queries_that_are_one_in_memory_find_and_learn_what_each_would(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, tokens, 8).to(dtype).requires_grad_() for tokens in (1, 9, 9))
    settings = asked(kind, 9, 9, dtype) if kind != "other" else {"attn_mask": torch.eye(9)[None, None].to(dtype)}
    weights = torch.randn(2, 3, 9, 8)

    def found(queries: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answers = functional.scaled_dot_product_attention(queries, key, value, **settings)
        return answers, *torch.autograd.grad((answers.float() * weights).sum(), (query, key, value))

    expected = found(query.repeat(1, 1, 9, 1))
    with CpuKernels():
        ours = found(query.expand(-1, -1, 9, -1))
    # queries that look at different keys are not looked up once
    assert (ours[0].stride(2) == 0) == (kind not in ("causal", "other"))
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 6e-2}
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, **near)


def test_queries_that_are_one_in_memory_are_dropped_alike() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 1, 4).expand(-1, -1, 6, -1), torch.randn(2, 3, 6, 4), torch.eye(6)
    with CpuKernels():
        found = functional.scaled_dot_product_attention(query, key, value.expand(2, 3, 6, 6), dropout_p=0.5)
    assert (found == 0).any()
    torch.testing.assert_close(found, found[:, :, :1].expand_as(found), rtol=0, atol=0)
