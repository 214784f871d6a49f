"""The optimiser: AdamW that can also pull weights back to where they began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov 2019) whose groups may have a `pull`: decay towards the weights that the optimiser was made with.

    After every step such a group's weights w go on to w + lr * pull * (w0 - w): weight decay as AdamW has it, apart from
    the gradient, with w0 in place of zero.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        # fused: all tensors of a group in one kernel, on CPU, CUDA and MPS alike
        super().__init__(groups, fused=True)
        pulled = (parameter for group in self.param_groups if group.get("pull") for parameter in group["params"])
        self.starts: dict[nn.Parameter, Tensor] = {parameter: parameter.detach().clone() for parameter in pulled}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, then the pull on what has just learned."""
        loss = super().step(closure)
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group.get("pull") and moved:
                weights = [parameter.detach() for parameter in moved]
                torch._foreach_lerp_(
                    weights, [self._start(one) for one in moved], min(1.0, group["lr"] * group["pull"])
                )
        return loss

    def _start(self, parameter: nn.Parameter) -> Tensor:
        start = self.starts[parameter]
        if start.device != parameter.device:  # the model was moved after the optimiser had been made
            start = self.starts[parameter] = start.to(parameter.device)
        return start
