"""What stands at one place of a model: the adapters there, and the hooks through which they act."""

from __future__ import annotations

import math
import threading
from typing import Any, Literal

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.activations import ACT2FN

from nlp_transfer.adapters.config import BottleneckConfig

Form = Literal["after", "beside", "within"]
"""How an adapter A acts on the output y of its host: `after` y + scale A(y); `beside` y + scale A(x), with x from elsewhere in
the block; `within` a norm N of s, N(s + scale A(N(s)))."""

CHILD = "bottlenecks"
"""The name of a `BottleneckLayer` below its host. PEFT passes over names that contain the tuner's prefix, so it does not."""


class Carried(threading.local):
    """Hands an input x from where it occurs in a block to the layer beside the feed-forward, once, within one thread."""

    states: Tensor | None = None

    def put(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Forward pre-hook: keep the first argument."""
        self.states = args[0]

    def take(self) -> Tensor | None:
        """What was kept; nothing is kept afterwards, so that no activation outlives its block."""
        states, self.states = self.states, None
        return states

    def __reduce__(self) -> tuple[type[Carried], tuple[()]]:
        return Carried, ()


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """The adapters at one host module, each with a form of its own, acting through a forward hook.

    It is a child of its host, which stays what it is: a linear, a norm or a block, with weights under the same names. So the base
    model is exactly what it was when adapters are disabled or removed, and no forward of transformers is replaced.

    Args:
        host: whose output changes; (rows, tokens, width), or a tuple that starts with it.
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_activation", "bottleneck_up", "bottleneck_scale")
    other_param_names = ("bottleneck_dropout", "forms", "factors")

    def __init__(self, host: nn.Module) -> None:
        super().__init__()
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_activation = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_scale = nn.ParameterDict()
        self.bottleneck_dropout = nn.ModuleDict()
        self.forms: dict[str, Form] = {}
        self.factors: dict[str, float] = {}
        self.merged_adapters: list[str] = []
        self.carried: Carried | None = None
        self._host = (host,)  # a tuple, so that the host is not a child of its child
        host.add_module(CHILD, self)
        # before hooks that are there already: what they record is then the output with adapters
        self._handles: list[RemovableHandle] = [host.register_forward_hook(_adapt, prepend=True)]

    def add(self, name: str, form: Form, config: BottleneckConfig, width: int, source: nn.Module | None) -> None:
        """Add an adapter whose output is zero until it learns.

        Args:
            name: the adapter's name.
            form: how it acts.
            config: its settings.
            width: width of the model.
            source: for `beside`, the module in the same block whose input the adapter reads; it must run before the host.
        """
        bottleneck = config.width(width)
        down, up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        if down.weight.device.type != "meta":
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
            nn.init.zeros_(down.bias)
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)
        assert config.activation is not None
        self.bottleneck_down[name] = down
        self.bottleneck_activation[name] = ACT2FN[config.activation]
        self.bottleneck_up[name] = up
        self.bottleneck_dropout[name] = nn.Dropout(config.dropout)
        if config.scale == "learned":
            self.bottleneck_scale[name] = nn.Parameter(torch.ones(1))
        else:
            assert config.scale is not None
            self.factors[name] = float(config.scale)
        self.forms[name] = form
        if source is not None and self.carried is None:
            self.carried = Carried()
            self._handles.append(source.register_forward_pre_hook(self.carried.put))
        self._move_adapter_to_device_of_base_layer(name)

    def remove(self) -> None:
        """Take the layer and its hooks away from the host."""
        for handle in self._handles:
            handle.remove()
        delattr(self.get_base_layer(), CHILD)

    def change(self, host: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The host's output (rows, tokens, width) as the active adapters change it, one after the other."""
        carried = self.carried.take() if self.carried is not None else None
        if self.disable_adapters:
            return output
        inside = args[0]
        for name in self.active_adapters:
            if name not in self.forms:
                continue
            if self.forms[name] == "within":
                inside = inside + self.branch(name, output).to(inside.dtype)
                output = host.forward(inside)
            else:
                states = carried if self.forms[name] == "beside" else output
                assert states is not None
                output = output + self.branch(name, states).to(output.dtype)
        return output

    def branch(self, name: str, states: Tensor) -> Tensor:
        """Scale times A of states (..., width), in the precision of the adapter: down, activation, dropout, up."""
        down: Any = self.bottleneck_down[name]
        hidden = self.bottleneck_activation[name](down(self._cast_input_dtype(states, down.weight.dtype)))
        answer = self.bottleneck_up[name](self.bottleneck_dropout[name](hidden))
        return answer * (self.bottleneck_scale[name] if name in self.bottleneck_scale else self.factors[name])

    def get_base_layer(self) -> nn.Module:
        """The host."""
        return self._host[0]

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """Bring an adapter to where its host computes, and in its precision; PEFT then lifts half precision to fp32."""
        beside = next(
            (parameter for key, parameter in self.get_base_layer().named_parameters() if not key.startswith(CHILD)),
            None,
        )
        for container_name in self.adapter_layer_names:
            container = getattr(self, container_name)
            if adapter_name not in container or beside is None:
                continue
            member: Any = container[adapter_name]
            tensors = [member] if isinstance(member, Tensor) else list(member.parameters())
            if any(tensor.device.type == "meta" for tensor in tensors):
                continue
            dtype = beside.dtype if beside.is_floating_point() else None
            container[adapter_name] = member.to(device or beside.device, dtype=dtype)


def _adapt(host: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
    """Forward hook of every host. It finds the layer through the host, so that copies and replicas of a model use their own."""
    layer = host.get_submodule(CHILD)
    assert isinstance(layer, BottleneckLayer)
    if isinstance(output, tuple):
        return (layer.change(host, args, output[0]), *output[1:])
    return layer.change(host, args, output)
