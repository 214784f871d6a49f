"""What a CPU with few threads computes sooner than PyTorch has it compute: dropout, attention, and conversions to bf16."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from nlp_transfer.training.attention import attention
from nlp_transfer.training.dropout import dropout

THREADS = 4
"""With more of them PyTorch's own random numbers, which all threads draw, come sooner than these, which one draws."""

_WITH_BIAS = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""What torch.compile makes of a product and its bias; None where PyTorch is built without oneDNN."""


def cpu_kernels(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, a model on a CPU with few threads computes with `CpuKernels`; elsewhere nothing changes.

    Not for gradient checkpointing: what the backward pass computes again is out of this mode's reach, and would drop others.
    """
    few = device.type == "cpu" and torch.get_num_threads() <= THREADS
    return CpuKernels() if few else nullcontext()


class Lowered:
    """What a CPU's autocast would make of states in every product: made once for products one after the other, as of queries,
    keys and values."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, int, Tensor] | None = None

    def __call__(self, states: Tensor) -> Tensor:
        """These states in the format of autocast, if they are fp32."""
        # whether states of inference mode have changed since, nobody counts
        if states.dtype != torch.float32 or states.is_inference():
            return states
        if self._last is None or self._last[0] is not states or self._last[1] != states._version:
            self._last = states, states._version, states.to(torch.get_autocast_dtype("cpu"))
        return self._last[2]

    def forget(self) -> None:
        """Let go of what was converted last."""
        self._last = None


class CpuKernels(TorchFunctionMode):
    """Stands between a model and functions of PyTorch: `dropout`, attention, and what autocast does before `linear`."""

    def __init__(self) -> None:
        super().__init__()
        self._converted = Lowered()
        self._weights: dict[int, tuple[Tensor, int, Tensor]] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer for these, and hand on all others."""
        given = kwargs or {}
        if function is functional.dropout:
            return dropout(*args, **given)
        if function is functional.scaled_dot_product_attention:
            return attention(*args, **given)
        if torch.is_autocast_enabled("cpu"):
            if function is functional.linear and len(args) >= 2:
                return self._linear(*args, **given)
            if function is torch.addmm and len(args) == 3 and not given and not torch.is_grad_enabled():
                bias, states, weight = args  # as GPT-2 has it
                return _product(self._converted(states), self._held(weight).t(), self._held(bias))
        return function(*args, **given)

    def __exit__(self, *raised: Any) -> None:
        """Let go of what was converted last."""
        self._converted.forget()
        super().__exit__(*raised)

    def _linear(self, states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """`linear` with each conversion made once."""
        return _product(self._converted(states), self._held(weight), None if bias is None else self._held(bias))

    def _held(self, weight: Tensor) -> Tensor:
        """What autocast would make of a weight, for every batch again where it does not learn: where nothing does, made once."""
        lasts = isinstance(weight, nn.Parameter) and not weight.is_inference()
        if not lasts or weight.dtype != torch.float32 or torch.is_grad_enabled():
            return weight
        held = self._weights.get(id(weight))
        if held is None or held[1] != weight._version:
            held = weight, weight._version, weight.to(torch.get_autocast_dtype("cpu"))
            self._weights[id(weight)] = held
        return held[2]


def _product(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`linear`. PyTorch's lays out the bias as often as there are tokens, and adds products to it: without gradients oneDNN adds
    it to what it has multiplied, to the same bits."""
    fused = bias is not None and states.dtype == weight.dtype == bias.dtype == torch.bfloat16
    if bias is not None and fused and _WITH_BIAS and states.is_contiguous() and not torch.is_grad_enabled():
        found: Tensor = _WITH_BIAS(states, weight, bias, "none", [], "")
        return found
    return functional.linear(states, weight, bias)
