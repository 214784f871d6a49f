"""A linear and its LoRA update as one operation: the answers and the gradients of PEFT's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import set_seed

from nlp_transfer import experiment, fine_tune, samples
from nlp_transfer.low_rank import _Updated, fused_updates
from nlp_transfer.methods.lora import LoRA
from nlp_transfer.training.kernels import CpuKernels
from tests.families import FAMILIES, batch, tiny
from tests.matrix import backbones


def tuned(family: str = "bert", **settings: Any) -> Any:
    """A model whose updates are no longer zero."""
    plain = tiny(family)
    head = [name for name, _ in plain.named_parameters() if name.startswith(("classifier", "pre_classifier", "score"))]
    set_seed(3)
    model = LoRA(**settings).apply(plain, head)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.02 * torch.randn_like(weight))
    return model.eval()


def updated(model: nn.Module) -> list[Any]:
    """Its linears with an update."""
    return [module for module in model.modules() if isinstance(module, Linear)]


def answered(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the gradient of every weight that has one."""
    model.zero_grad()
    logits = model(**batch()).logits
    (logits * torch.linspace(1, 2, logits.numel()).view_as(logits)).sum().backward()
    return logits.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def alike(model: Any, count: int, tolerance: float = 1e-5) -> None:
    """Hold a model so many of whose linears compute both as one operation against PEFT's own."""
    logits, gradients = answered(model)
    with fused_updates(model) as found:
        its, fused = answered(model)
    again, _ = answered(model)
    assert found == count
    torch.testing.assert_close(again, logits, rtol=0, atol=0)
    torch.testing.assert_close(its, logits, atol=tolerance, rtol=tolerance)
    assert fused.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert fused[name].is_contiguous()
        torch.testing.assert_close(
            fused[name], gradient, atol=tolerance, rtol=10 * tolerance, msg=lambda said, name=name: f"{name}: {said}"
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_gradients_are_those_of_peft(family: str) -> None:
    model = tuned(family)
    alike(model, len(updated(model)))


@pytest.mark.parametrize(
    "settings",
    [
        {"variant": "rslora"},
        {"variant": "pissa"},
        {"top": 1},
        {"rank": 3, "alpha": 5.0},
        {"targets": ("query", "value")},
    ],
    ids=str,
)
def test_of_every_variant_that_adds_a_product(settings: dict[str, Any]) -> None:
    model = tuned(**settings)
    assert updated(model)
    alike(model, len(updated(model)))


@pytest.mark.parametrize("settings", [{"variant": "dora"}, {"dropout": 0.1}], ids=str)
def test_what_is_more_than_a_product_stays(settings: dict[str, Any]) -> None:
    alike(tuned(**settings), 0)


def test_its_gradients_are_those_of_small_differences() -> None:
    """In double precision, of the states and of what learns."""
    states, down, up = (torch.randn(shape, dtype=torch.float64) for shape in ((2, 3, 5), (2, 5), (4, 2)))
    weight, bias = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    learn = [each.requires_grad_() for each in (states, down, up)]
    assert torch.autograd.gradcheck(lambda x, a, b: _Updated.apply(x, weight, bias, a, b, 0.7), learn)
    assert torch.autograd.gradcheck(lambda a, b: _Updated.apply(states.detach(), weight, None, a, b, 2.0), learn[1:])


@pytest.mark.parametrize("held", [torch.float32, torch.bfloat16])
def test_in_bf16_it_is_as_near_to_fp32_as_peft(held: torch.dtype) -> None:
    """Both round, each elsewhere."""
    model = tuned()
    _, true = answered(model)
    for layer in updated(model):
        layer.get_base_layer().to(held)
        layer.cast_input_dtype_enabled = False

    def furthest() -> float:
        with torch.autocast("cpu", torch.bfloat16), CpuKernels():
            logits = model(**batch()).logits.float()
        model.zero_grad()
        (logits * torch.linspace(1, 2, logits.numel()).view_as(logits)).sum().backward()
        found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        assert found.keys() == true.keys()
        assert {gradient.dtype for gradient in found.values()} == {torch.float32}
        return max(float((found[name] - each).norm() / each.norm()) for name, each in true.items())

    own = furthest()
    with fused_updates(model) as count:
        fused = furthest()
    assert count == len(updated(model))
    assert 0 < fused < 1.5 * own < 0.1


def test_queries_keys_and_values_read_one_conversion_and_none_is_kept() -> None:
    model = tuned()
    converted: list[torch.Tensor] = []

    class Seen(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.nn.functional.linear and not torch.is_grad_enabled():
                converted.append(args[0])
            return function(*args, **(kwargs or {}))

    with fused_updates(model), torch.autocast("cpu", torch.bfloat16), Seen():
        model(**batch())
        (lowered,) = {id(layer.forward.args[1]): layer.forward.args[1] for layer in updated(model)}.values()
    asked = [each for each in converted if each.shape[-1] == 32][:3]
    assert {each.dtype for each in asked} == {torch.bfloat16}
    assert len({each.data_ptr() for each in asked}) == 1
    assert lowered._last is None


def test_updates_in_another_format_than_the_linear_are_peft_s() -> None:
    model = get_peft_model(
        nn.Sequential(nn.Linear(4, 4).bfloat16()), LoraConfig(target_modules=["0"], init_lora_weights=False)
    )
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16, torch.float32}
    states = torch.randn(3, 4).bfloat16()
    expected = model(states)
    with fused_updates(model):
        torch.testing.assert_close(model(states), expected, rtol=0, atol=0)


def test_updates_switched_off_merged_or_two_at_once_are_peft_s() -> None:
    model = tuned()
    with_update = model(**batch()).logits
    with model.disable_adapter():
        without = model(**batch()).logits
    with fused_updates(model):
        with model.disable_adapter():
            torch.testing.assert_close(model(**batch()).logits, without)
        model.base_model.merge_adapter()
        torch.testing.assert_close(model(**batch()).logits, with_update, atol=1e-5, rtol=1e-4)
        model.base_model.unmerge_adapter()
    assert not torch.allclose(without, with_update, atol=1e-3)
    both = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(target_modules=["0"]))
    both.add_adapter("second", LoraConfig(target_modules=["0"]))
    both.base_model.set_adapter(["default", "second"])
    with fused_updates(both) as count:
        assert count == 0


def test_hooks_inside_are_called() -> None:
    model = tuned()
    called: list[int] = []
    first = updated(model)[0]
    first.lora_A["default"].register_forward_hook(lambda *_: called.append(1))
    with fused_updates(model) as count:
        model(**batch())
    assert count == len(updated(model)) - 1
    assert called == [1]


def test_one_inside_another_changes_nothing() -> None:
    model = tuned()
    own = updated(model)[0].forward
    with fused_updates(model) as count:
        with fused_updates(model) as inner:
            assert inner == 0
        assert updated(model)[0].forward != own
        expected = model(**batch()).logits
    assert updated(model)[0].forward == own
    assert count == len(updated(model))
    torch.testing.assert_close(model(**batch()).logits, expected, atol=1e-6, rtol=1e-5)


def test_a_linear_that_learns_keeps_its_gradient() -> None:
    model = tuned()
    updated(model)[0].get_base_layer().weight.requires_grad_()
    assert any("base_layer" in name for name in answered(model)[1])
    alike(model, len(updated(model)))


def test_with_gradient_checkpointing() -> None:
    layer = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(target_modules=["0"], init_lora_weights=False))
    states = torch.randn(3, 4, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(states).square().sum(), states)
    with fused_updates(layer) as count:
        (found,) = torch.autograd.grad(checkpoint(layer, states, use_reentrant=False).square().sum(), states)
    assert count == 1
    torch.testing.assert_close(found, expected)


def test_training_is_peft_s_to_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout of the blocks, whose random numbers fall alike, and evaluations in between."""
    counts: list[int] = []

    @contextmanager
    def told(model: nn.Module) -> Iterator[int]:
        with fused_updates(model) as count:
            counts.append(count)
            yield count

    folder, losses = backbones(tmp_path, ["bert"])["bert"], []
    for way in (told, lambda _: nullcontext(0)):
        monkeypatch.setattr(experiment, "fused_updates", way)
        run = fine_tune(
            model=str(folder),
            task="classification",
            method="lora",
            data={"source": str(samples.path("classification")), "limit": 40},
            train={"epochs": 2, "batch_size": 8, "precision": "fp32"},
            output=tmp_path / str(len(losses)),
            silent=True,
        )
        lines = (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([line["loss"] for line in map(json.loads, lines) if "loss" in line])
        assert losses[-1]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert counts == [13], "six linears of both blocks, and the pooler"
