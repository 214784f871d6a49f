"""The optimiser: AdamW that can also pull weights back to where they began."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """AdamW (Loshchilov 2019) whose groups may have a `pull`: decay towards the weights that it was made with.

    After every step such a group's weights w go on to w + lr * pull * (w0 - w): weight decay as AdamW has it, apart from
    the gradient, with w0 in place of zero. What has no gradient stays.
    """
    # fused: all tensors of a group in one kernel, on CPU, CUDA and MPS alike
    optimizer = torch.optim.AdamW(groups, fused=True)
    pull_back(optimizer)
    return optimizer


def pull_back(optimizer: torch.optim.Optimizer) -> None:
    """Have the groups that have a `pull` go back towards the weights of this moment, after every step."""
    groups = optimizer.param_groups
    pulled = [parameter for group in groups if group.get("pull") for parameter in group["params"]]
    starts: dict[nn.Parameter, Tensor] = {parameter: parameter.detach().clone() for parameter in pulled}

    def pull(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            moved = [parameter for parameter in group["params"] if group.get("pull") and parameter.grad is not None]
            if not moved:
                continue
            for parameter in moved:
                # the model may have been moved to its device since
                starts[parameter] = starts[parameter].to(parameter.device)
            weights = [local(parameter.detach()) for parameter in moved]
            torch._foreach_lerp_(weights, [local(starts[one]) for one in moved], min(1.0, group["lr"] * group["pull"]))

    if pulled:
        # a hook, since a class with a step of its own would run the hooks of others twice
        optimizer.register_step_post_hook(pull)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, sharing its memory; any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
