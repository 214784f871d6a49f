"""Dropout: the same distribution as PyTorch's, seeded, and used by the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from nlp_transfer import fine_tune
from nlp_transfer.training import dropout
from nlp_transfer.training.dropout import CheapDropout, cheap_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    numbers = torch.ones(1000, 1001)
    with CheapDropout():
        found = functional.dropout(numbers, p)
    kept = found != 0
    spread = (p * (1 - p) / numbers.numel()) ** 0.5
    assert abs(kept.float().mean().item() - (1 - p)) < 4 * spread + 1 / dropout.LEVELS
    torch.testing.assert_close(found[kept], torch.full((int(kept.sum()),), 1 / (1 - p)), rtol=1e-4, atol=0)
    assert abs(found.mean().item() - 1) < 4 * spread / (1 - p) + 1e-4


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    with CheapDropout():
        dropped = (functional.dropout(torch.ones(1_000_000), 0.3) == 0).float()
    for apart in (1, 2, 3, 4, 64):
        both = (dropped[apart:] * dropped[:-apart]).mean().item()
        assert abs(both - 0.09) < 4 * (0.09 * 0.91 / 1_000_000) ** 0.5


def test_a_seed_gives_the_same_again_and_the_next_call_others() -> None:
    numbers = torch.ones(100, 7)

    def drawn() -> list[torch.Tensor]:
        torch.manual_seed(3)
        with CheapDropout():
            return [functional.dropout(numbers, 0.5) for _ in range(2)]

    (first, second), again = drawn(), drawn()
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, second)


def test_what_is_dropped_gets_no_gradient() -> None:
    numbers = torch.randn(20, 30, requires_grad=True)
    with CheapDropout():
        found = functional.dropout(numbers, 0.25)
    found.sum().backward()
    assert numbers.grad is not None
    torch.testing.assert_close(numbers.grad, (found / numbers).detach(), rtol=1e-5, atol=1e-6)


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
        with CheapDropout():
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
    monkeypatch.setattr(dropout, "TOGETHER", together)
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, tokens, 4, dtype=torch.float64, requires_grad=True) for tokens in (5, 6, 6))
    mask = torch.randn(3, 1, 5, 6, dtype=torch.float64) if masked else None
    state = torch.get_rng_state()
    rows = 1 if together == 1 else 3
    factors = [dropout._factors(torch.empty(rows, 2, 5, 6, dtype=torch.float64), 0.25) for _ in range(3 // rows)]
    weights = query @ key.transpose(-2, -1) / 2 + (0 if mask is None else mask)
    expected = (weights.softmax(-1) * torch.cat(factors)) @ value
    gradients = torch.autograd.grad(expected.square().sum(), (query, key, value))
    torch.set_rng_state(state)
    with CheapDropout():
        found = functional.scaled_dot_product_attention(query, key, value, mask, 0.25)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), (query, key, value)), gradients)


@pytest.mark.parametrize("learned", [True, False])
def test_a_bias_that_learns_keeps_its_gradient(learned: bool) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 2, 3, 4, requires_grad=True)
    bias = torch.zeros(1, 2, 3, 3, requires_grad=learned)
    with CheapDropout():
        functional.scaled_dot_product_attention(query, query, query, bias, 0.5).square().sum().backward()
    assert (bias.grad is not None and bool(bias.grad.any())) == learned


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    numbers, state = torch.ones(8, 2, 4, 4), torch.get_rng_state()
    with CheapDropout():
        assert functional.dropout(numbers, 0.5, training=False) is numbers
        assert torch.equal(functional.dropout(numbers, 0.0), numbers)
        plain = functional.scaled_dot_product_attention(numbers, numbers, numbers)
    torch.testing.assert_close(plain, numbers)
    assert torch.equal(state, torch.get_rng_state())
    with CheapDropout():
        assert not functional.dropout(numbers, 1.0).any()


@pytest.mark.filterwarnings("error:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("again", [False, True])
def test_the_loop_drops_so_but_not_where_the_backward_pass_computes_again(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    calls: list[float] = []

    def counted(input: torch.Tensor, p: float = 0.5, **_: object) -> torch.Tensor:
        calls.append(p)
        return input

    monkeypatch.setattr(dropout, "dropout", counted)
    rows = [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(24)]
    train = {"max_steps": 1, "batch_size": 4, "gradient_checkpointing": again}
    fine_tune(model=str(tiny_bert), task="classification", data=rows, train=train, output=tmp_path / "run", silent=True)
    assert bool(calls) is not again


def test_few_threads_draw_so_and_many_as_pytorch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, few in ((1, True), (dropout.THREADS, True), (dropout.THREADS + 1, False)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert isinstance(cheap_dropout(torch.device("cpu")), CheapDropout) == few
    monkeypatch.undo()
    assert not isinstance(cheap_dropout(torch.device("cuda")), CheapDropout)
