"""What a CPU computes in a model's stead: used by the loop and for answers, the same numbers, each conversion once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from nlp_transfer import fine_tune
from nlp_transfer.training import kernels
from nlp_transfer.training.kernels import CpuKernels, Lowered, cpu_kernels


@pytest.mark.filterwarnings("error:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("again", [False, True])
def test_the_loop_drops_so_but_not_where_the_backward_pass_computes_again(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    calls: list[float] = []

    def counted(input: torch.Tensor, p: float = 0.5, training: bool = True, **_: object) -> torch.Tensor:
        if training:
            calls.append(p)
        return input

    monkeypatch.setattr(kernels, "dropout", counted)
    rows = [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(24)]
    train = {"max_steps": 1, "batch_size": 4, "gradient_checkpointing": again}
    fine_tune(model=str(tiny_bert), task="classification", data=rows, train=train, output=tmp_path / "run", silent=True)
    assert bool(calls) is not again


def test_few_threads_compute_so_and_many_as_pytorch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, few in ((1, True), (kernels.THREADS, True), (kernels.THREADS + 1, False)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert isinstance(cpu_kernels(torch.device("cpu")), CpuKernels) == few
    monkeypatch.undo()
    assert not isinstance(cpu_kernels(torch.device("cuda")), CpuKernels)


def test_answers_are_computed_so(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[tuple[bool, int]] = []

    def watched(query: torch.Tensor, key: torch.Tensor, *args: object, **rest: object) -> torch.Tensor:
        keys.append((not torch.is_grad_enabled(), key.shape[2]))
        return attention(query, key, *args, **rest)

    attention = kernels.attention
    rows = [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(24)]
    where = {"task": "classification", "data": rows, "train": {"max_steps": 1}, "silent": True}
    run = fine_tune(model=str(tiny_bert), output=tmp_path / "run", **where)
    monkeypatch.setattr(kernels, "attention", watched)
    answers = run.predict(["a short one", "another"])
    assert keys
    assert all(still and count < 16 for still, count in keys)
    monkeypatch.setattr(kernels, "THREADS", 0)
    plain = run.predict(["a short one", "another"])
    assert [answer.label for answer in answers] == [answer.label for answer in plain]
    assert [answer.probability for answer in answers] == pytest.approx(
        [answer.probability for answer in plain], abs=1e-5
    )


def products(states: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    return sum(((functional.linear(states, weight)).float().square().sum() for weight in weights), torch.zeros(()))


def test_what_several_products_read_is_converted_once_and_has_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    states = torch.randn(4, 6, 8, requires_grad=True)
    weights = [torch.randn(8, 8, requires_grad=True) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        expected = torch.autograd.grad(products(states * 1, weights), [states, *weights])
        given: list[torch.Tensor] = []
        own = Lowered.__call__
        monkeypatch.setattr(Lowered, "__call__", lambda self, each: given.append(own(self, each)) or given[-1])
        with CpuKernels():
            found = torch.autograd.grad(products(states * 1, weights), [states, *weights])
    assert len(given) == 3
    assert len({id(each) for each in given}) == 1
    assert given[0].dtype == torch.bfloat16
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-1)


@pytest.mark.parametrize("still", [True, False])
def test_what_has_changed_is_converted_again(still: bool) -> None:
    weight = torch.eye(3)
    with torch.inference_mode(still), torch.autocast("cpu", torch.bfloat16), CpuKernels():
        states = torch.ones(2, 3)
        before = functional.linear(states, weight)
        states.add_(1)
        after = functional.linear(states, weight)
    assert before.float().eq(1).all()
    assert after.float().eq(2).all()


@pytest.mark.parametrize("still", [torch.no_grad, torch.inference_mode])
def test_weights_are_converted_once_where_nothing_learns(
    monkeypatch: pytest.MonkeyPatch, still: Callable[[], AbstractContextManager[Any]]
) -> None:
    weight = torch.nn.Parameter(torch.eye(3))
    seen: list[torch.Tensor] = []
    mode = CpuKernels()
    monkeypatch.setattr(mode, "_held", lambda each, own=mode._held: seen.append(own(each)) or seen[-1])
    for changed in (False, False, True):
        if changed:
            weight.detach().mul_(2)
        with still(), torch.autocast("cpu", torch.bfloat16), mode:
            found = functional.linear(torch.ones(2, 3), weight)
        assert found.float().eq(2 if changed else 1).all()
    assert seen[0] is seen[1]
    assert seen[2] is not seen[1]
    with torch.autocast("cpu", torch.bfloat16), mode:
        functional.linear(torch.ones(2, 3), weight).sum().backward()
    assert seen[3] is weight
    assert weight.grad is not None


@pytest.mark.skipif(kernels._WITH_BIAS is None, reason="PyTorch is built without oneDNN")
@pytest.mark.parametrize("product", [nn.Linear(24, 40), Conv1D(40, 24), nn.Linear(24, 40, bias=False)])
@pytest.mark.parametrize("shape", [(24,), (1, 24), (5, 24), (3, 7, 24), (0, 24)])
def test_a_product_with_its_bias_has_the_bits_that_pytorch_gives_it(product: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    nn.init.normal_(product.weight)
    if product.bias is not None:
        nn.init.normal_(product.bias)
    states = torch.randn(shape)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = product(states)
        with CpuKernels():
            found = product(states)
            turned = product(torch.randn(24, 6).t())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    assert turned.shape == (6, 40)


def test_a_product_with_its_bias_keeps_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(kernels, "_WITH_BIAS", lambda *args: calls.append(args) or torch.zeros(3, 2))
    for product in (nn.Linear(4, 2), Conv1D(2, 4)):
        calls.clear()
        with torch.autocast("cpu", torch.bfloat16), CpuKernels():
            product(torch.randn(3, 4)).float().sum().backward()
            assert not calls
            with torch.no_grad():
                product(torch.randn(3, 4))
        assert len(calls) == 1
        assert product.weight.grad.abs().sum() > 0
        assert product.bias.grad.tolist() == [3, 3]


def test_outside_autocast_nothing_is_converted() -> None:
    with CpuKernels():
        assert functional.linear(torch.ones(2, 3), torch.eye(3)).dtype == torch.float32
