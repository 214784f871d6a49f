"""A model whose weights, gradients and optimiser's state are spread over the processes, a part of each tensor on each.

Fully sharded data parallelism as torch's `fully_shard` does it (FSDP2; Zhao et al. 2023): every block gathers its weights
before it runs and drops them afterwards. On CUDA through Accelerate; Accelerate passes over it on CPUs, without a word, so
that there `fully_shard` is called here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from accelerate.utils.fsdp_utils import disable_fsdp_ram_efficient_loading
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from nlp_transfer.architectures import blocks
from nlp_transfer.errors import RequestError, TrainingError, listing
from nlp_transfer.training.optimizer import adamw, local, pull_back

__all__ = ["agree", "asked", "beside", "full", "is_sharded", "local", "part_of", "plugin", "prepared", "whole"]


def asked(setting: bool) -> bool:
    """Whether weights are to be sharded: by `train.sharded`, or by a configuration of `accelerate launch`."""
    return setting or parse_flag_from_env("ACCELERATE_USE_FSDP")


def agree(setting: bool, in_stages: bool, state: PartialState) -> None:
    """Refuse what cannot be sharded, before anything is loaded.

    Raises:
        RequestError: for one process, or for a method that unfreezes weights on its way.
    """
    if not asked(setting):
        return
    if state.num_processes == 1:
        raise RequestError(
            "train.sharded spreads a model over several processes, and this is one: start more with --processes N, torchrun "
            "or accelerate launch, or leave it away."
        )
    if in_stages:
        raise RequestError(
            "train.sharded needs weights that learn from the first step to the last, and this method unfreezes them one after "
            "the other (--method.gradual): leave one of both away."
        )
    # every process loads the weights itself; Accelerate would have the others load none and wait for the first one's
    disable_fsdp_ram_efficient_loading()


def plugin(setting: bool, device: torch.device) -> dict[str, Any]:
    """What an Accelerator must be told so that it shards on this device."""
    if not asked(setting) or device.type == "cpu":
        return {}
    policy = "transformer_based_wrap"
    return {"fsdp_plugin": FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy=policy)}


def prepared(accelerator: Accelerator, model: nn.Module, groups: list[dict[str, Any]]) -> tuple[nn.Module, Any]:
    """The model sharded in place, and its optimiser; the groups hold the sharded parameters from then on.

    Raises:
        TrainingError: where the parameters are whole on every process all the same.
    """
    optimizer: Any
    if accelerator.device.type == "cpu":
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        _shard(model, accelerator.num_processes)
        parameters = dict(model.named_parameters())
        for group in groups:
            group["params"] = [parameters[names[id(parameter)]] for parameter in group["params"]]
        optimizer = accelerator.prepare_optimizer(adamw(groups))
    else:
        model, optimizer = accelerator.prepare(model, torch.optim.AdamW(groups, fused=True))
        # Accelerate has put the sharded parameters into the optimiser's groups
        for group, of_optimizer in zip(groups, optimizer.param_groups, strict=True):
            group["params"] = of_optimizer["params"]
        pull_back(optimizer.optimizer)
    refuse_whole(model)
    return model, optimizer


def refuse_whole(model: nn.Module) -> None:
    """Stop where sharding was asked for and did not happen.

    Raises:
        TrainingError: naming some of the parameters that every process holds whole.
    """
    left = [name for name, parameter in model.named_parameters() if not isinstance(parameter, DTensor)]
    if left:
        raise TrainingError(
            f"train.sharded was asked for, and every process holds {len(left)} tensors whole ({listing(left, 3)}): they were "
            "not sharded. A configuration of accelerate launch must say fsdp_version: 2."
        )


def is_sharded(model: nn.Module) -> bool:
    """Whether a model runs only on all processes at once."""
    return isinstance(model, FSDPModule)


def drop_gathered(model: nn.Module) -> None:
    """Give up the whole weights that a forward pass without a backward pass leaves in a sharded model's outermost part."""
    for module in model.modules() if is_sharded(model) else ():
        if isinstance(module, FSDPModule):
            module.reshard()


def full(tensor: Tensor) -> Tensor:
    """All of a sharded tensor, which all processes must ask for; any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(parts: Iterable[Tensor], like: Tensor) -> Tensor:
    """Of a tensor that lies in parts, first rows first, what this process has of `like`; numbers lie whole in each part."""
    parts = list(parts)
    if not isinstance(like, DTensor) or parts[0].ndim == 0:
        return parts[0] if parts[0].ndim == 0 else torch.cat(parts)
    rank, count = like.device_mesh.get_local_rank(), like.device_mesh.size()
    if len(parts) == count:
        return parts[rank]
    whole = torch.cat(parts)
    chunks = whole.chunk(count)
    return chunks[rank] if rank < len(chunks) else whole[:0]


def beside(value: Tensor, parameter: Tensor) -> Tensor:
    """A process's part of a state of the optimiser, as the optimiser wants it beside a parameter."""
    value = value.to(parameter.device)
    if not isinstance(parameter, DTensor) or value.ndim == 0:
        return value
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(value, mesh, placements, shape=parameter.shape, stride=parameter.stride())


def whole(model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """A plain model with the weights of a sharded one, on the main process; the same model where it is not sharded.

    Args:
        model: all processes must ask.
        make: a plain model of the same kind, whose weights do not matter.
    """
    if not is_sharded(model):
        return model
    writes = PartialState().is_main_process
    state = {}
    for name, tensor in model.state_dict().items():
        gathered = full(tensor)
        if writes:
            state[name] = gathered.cpu()
    if not writes:
        return model
    plain = make()
    plain.load_state_dict(state)
    return plain


def _shard(model: nn.Module, processes: int) -> None:
    """Shard the blocks each by itself, and what is left of the model together."""
    mesh = init_device_mesh("cpu", (processes,))
    try:
        units = blocks(model)
    except RequestError:  # a family that the table does not know is one unit
        units = []
    for unit in units:
        fully_shard(unit, mesh=mesh)
    fully_shard(model, mesh=mesh)
