"""A linear and its LoRA update as one operation, on a CPU: what PEFT multiplies, adds and converts one after the other.

y = W x + b + s B A x costs PEFT, besides the products, a pass over y for s, one for the sum, and two more over their gradients.
Here the update is added to y as it is multiplied, s is applied to what has the width of the rank, and the gradient of B comes
from products in the order that has long rows, which takes a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from nlp_transfer.training.kernels import Lowered


@contextmanager
def fused_updates(model: nn.Module) -> Iterator[int]:
    """Inside, linears with a LoRA update compute both as one operation: the same answers and gradients, to rounding.

    Those on another device, sharded, with dropout, of another variant, with several updates, hooks inside or a forward of their
    own stay as they are.

    Args:
        model: with a method applied.

    Yields:
        How many linears do.
    """
    lowered = Lowered()
    layers = [module for module in model.modules() if type(module) is Linear and _plain(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer, lowered)  # type: ignore[method-assign]
    # what was converted for one batch would be kept until the next
    handle = model.register_forward_hook(lambda *_: lowered.forget())
    try:
        yield len(layers)
    finally:
        handle.remove()
        for layer in layers:
            del layer.forward


def _plain(layer: Linear) -> bool:
    """Whether a layer has one update, as Hu (2021) has it."""
    base: Any = layer.get_base_layer()
    if type(base) not in (nn.Linear, Conv1D) or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    if name not in layer.lora_A or layer.lora_variant or not isinstance(layer.lora_dropout[name], nn.Identity):
        return False
    inside = (base, layer.lora_A[name], layer.lora_B[name])
    weights = [weight for module in inside for weight in module.parameters()]
    return (
        layer.lora_B[name].bias is None
        # somebody's own, such as one that brings weights from elsewhere
        and not any("forward" in vars(module) for module in (layer, *inside))
        and not any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in inside)
        and not any(isinstance(weight, DTensor) or weight.device.type != "cpu" for weight in weights)
    )


def _forward(layer: Linear, lowered: Lowered, states: Tensor, *args: Any, **given: Any) -> Tensor:
    """In place of the layer's own; what that alone knows, it does itself."""
    base: Any = layer.get_base_layer()
    name = layer.active_adapters[0]
    weight = base.weight.t() if isinstance(base, Conv1D) else base.weight
    tensors = [weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight]
    if torch.is_autocast_enabled("cpu"):
        states = lowered(states)
        tensors = [each if each is None else each.to(states.dtype) for each in tensors]
    mixed = any(each is not None and each.dtype != states.dtype for each in tensors)
    learns = any(weight.requires_grad for weight in base.parameters())
    if args or given or mixed or learns or layer.disable_adapters or layer.merged:
        return type(layer).forward(layer, states, *args, **given)
    found: Tensor = _Updated.apply(states, *tensors, layer.scaling[name])
    return found


class _Updated(torch.autograd.Function):
    """states W^T + b + s (states A^T) B^T, where W and b do not learn; s is `scale`, A (rank, in) `down`, B (out, rank) `up`."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """States (..., in) to (..., out)."""
        flat = states.reshape(-1, states.shape[-1])
        found = functional.linear(flat, weight, bias)
        between = flat @ down.t()
        found.addmm_(between, up.t(), alpha=scale)
        ctx.save_for_backward(flat, weight, down, up, between)
        ctx.scale, ctx.shape = scale, states.shape
        return found.view(*states.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of the states, of A and of B."""
        flat, weight, down, up, between = ctx.saved_tensors
        gradient = gradient.reshape(-1, gradient.shape[-1])
        of_between = (gradient @ up).mul_(ctx.scale)
        of_down = of_between.t() @ flat
        # not gradient.t() @ between, which has rows as short as the rank
        of_up = (between.t() @ gradient).mul_(ctx.scale).t()
        of_states = None
        if ctx.needs_input_grad[0]:
            of_states = (gradient @ weight).addmm_(of_between, down).view(ctx.shape)
        return of_states, None, None, of_down, of_up, None
