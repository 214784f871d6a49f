"""What the optimiser uses of the gradients, against torch's own clipping."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from nlp_transfer.training.gradients import scale
from nlp_transfer.training.optimizer import adamw
from nlp_transfer.training.precision import accelerator


@pytest.mark.parametrize("in_the_kernel", [True, False])
@pytest.mark.parametrize("clip", [None, 0.01, 1e9])
@pytest.mark.parametrize("factor", [1.0, 0.25, torch.tensor(3.0)])
def test_a_step_is_that_of_multiplied_and_clipped_gradients(
    in_the_kernel: bool, clip: float | None, factor: float | Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3), nn.Linear(3, 2))
    # what has no gradient takes no part
    model[3].requires_grad_(False)
    reference = copy.deepcopy(model)
    rows = torch.randn(11, 7)
    alone = accelerator("fp32")
    ours, optimizer = alone.prepare(model, adamw([{"params": list(model.parameters()), "lr": 0.1}]))
    theirs = torch.optim.AdamW(reference.parameters(), lr=0.1, fused=True)
    if not in_the_kernel:
        monkeypatch.setattr(alone, "scaler", object())
    for _ in range(3):
        ours(rows).square().mean().backward()
        norm = scale(alone, optimizer, list(model.parameters()), factor, clip)
        optimizer.step()
        optimizer.zero_grad()

        reference(rows).square().mean().backward()
        learning = [parameter for parameter in reference.parameters() if parameter.grad is not None]
        for parameter in learning:
            parameter.grad.mul_(factor)
        expected = nn.utils.clip_grad_norm_(learning, clip) if clip else None
        theirs.step()
        theirs.zero_grad()
        torch.testing.assert_close(norm, expected)
    torch.testing.assert_close(list(model.parameters()), list(reference.parameters()), atol=1e-6, rtol=0)
    assert hasattr(optimizer.optimizer, "grad_scale") is in_the_kernel
