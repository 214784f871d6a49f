"""Which number format the forward and backward pass use on this device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, GradientAccumulationPlugin

from nlp_transfer.errors import RequestError
from nlp_transfer.training import heap


def native_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 natively: CUDA from 8.0 on, CPU with avx512_bf16 or amx_bf16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # torch has no public name for what it reads from the processor here; both are False where it is not x86
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def resolve(precision: str, device: torch.device) -> str:
    """`auto` becomes what this device does best; what it cannot do is refused.

    Raises:
        RequestError: for fp16 on a device without it.
    """
    if precision == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise RequestError("train.precision is fp16, which CPUs do not train in: use fp32, bf16 or auto.")
    return precision


def held(frozen: str, precision: str, multiplied: bool) -> str:
    """In which format the linears that never learn are held; `auto` becomes bf16 where this changes no result.

    Args:
        frozen: fp32, bf16 or auto.
        precision: of training, resolved.
        multiplied: whether they are multiplied and nothing else.

    Raises:
        RequestError: for bf16 in a training that multiplies in another precision.
    """
    if frozen == "auto":
        return "bf16" if multiplied and precision == "bf16" else "fp32"
    if frozen == "bf16" and precision != "bf16":
        raise RequestError(
            f"train.frozen is bf16 and train.precision {precision}: what is multiplied in {precision} must be "
            "held in it. Leave train.frozen out, or train in bf16."
        )
    return frozen


def answering(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """In which a model with fp32 weights answers in a precision: fp32, bf16, or `auto`.

    Raises:
        RequestError: for any other.
    """
    if precision not in ("fp32", "bf16", "auto"):
        raise RequestError(f"precision is {precision}: expected fp32, bf16 or auto.")
    found = resolve(precision, device)
    heap.keep_code()
    heap.keep_freed()
    return nullcontext() if found == "fp32" else torch.autocast(device.type, torch.bfloat16)


def accelerator(precision: str, in_stages: bool = False, **arguments: Any) -> Accelerator:
    """An Accelerator of a resolved precision, also where this process has had one of another precision before.

    Args:
        precision: fp32, bf16 or fp16.
        in_stages: whether it changes during training which weights have gradients.
        arguments: for the Accelerator itself.
    """
    heap.keep_code()
    heap.keep_freed()
    mixed = "no" if precision == "fp32" else precision
    state = AcceleratorState._shared_state
    sharded = "fsdp_plugin" in arguments or state.get("distributed_type") == DistributedType.FSDP
    if state and (sharded or AcceleratorState().mixed_precision != mixed):
        # a second run in one process: Accelerate's state is a singleton that cannot be changed otherwise
        AcceleratorState._reset_state()
    stages = DistributedDataParallelKwargs(find_unused_parameters=in_stages)
    # gradients are added up and divided by the loop: neither the environment nor another loop of this process has a say
    alone = GradientAccumulationPlugin(num_steps=1)
    engine = Accelerator(
        mixed_precision=mixed, kwargs_handlers=[stages], gradient_accumulation_plugin=alone, **arguments
    )
    engine.gradient_state._set_sync_gradients(True)  # one that was interrupted between two batches has left it off
    return engine
