"""What a step's gradients are multiplied by before the optimiser uses them: the loss's mean, and the cut to a largest norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from nlp_transfer.training import sharding


def scale(
    accelerator: Accelerator,
    optimizer: AcceleratedOptimizer,
    parameters: Sequence[nn.Parameter],
    factor: float | Tensor,
    clip: float | None,
) -> Tensor | None:
    """Have the optimiser's next step use `factor` times the gradients, and those cut to a norm of at most `clip`, if given.

    AdamW's fused kernel divides gradients by a number as it reads them, which spares a pass over all weights; where it cannot,
    they are multiplied here.

    Returns:
        The norm of the gradients times `factor`, before it is cut; without `clip` None.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sharded = any(isinstance(gradient, DTensor) for gradient in gradients)
    # a scaler of fp16 divides in the kernel itself; of MPS nothing is known
    if sharded or accelerator.scaler is not None or accelerator.device.type not in ("cpu", "cuda"):
        if isinstance(factor, Tensor) or factor != 1:
            torch._foreach_mul_([sharding.local(gradient) for gradient in gradients], factor)
        return sharding.full(accelerator.clip_grad_norm_(parameters, clip)) if clip else None
    norm = _norm(gradients) * factor if clip else None
    # as clip_grad_norm_ has it: times clip / (norm + 1e-6), unless that is more than 1
    cut = torch.ones(()) if norm is None or clip is None else ((norm + 1e-6) / clip).clamp(min=1.0)
    optimizer.optimizer.grad_scale = (cut / factor).to(accelerator.device, torch.float32)
    return norm


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all of them."""
    plain = all(
        each.device.type == "cpu" and each.dtype == torch.float32 and each.is_contiguous() for each in gradients
    )
    if not gradients or not plain:
        return nn.utils.get_total_norm(gradients)
    # PyTorch's norm on a CPU has one thread, its product of vectors all of them
    return torch.stack([torch.dot(each.view(-1), each.view(-1)) for each in gradients]).sum().sqrt()
