"""Bottleneck adapters as a tuner for PEFT: which modules of a model host them, and what PEFT may do with them.

With y the output of a linear, s the sum that ends a block, h the residual stream, LN a norm, and A the adapter (down,
activation, up), the placements are, on every architecture of the table:

- `houlsby` (Houlsby 2019): y + scale A(y) on the output linear of attention and on that of the feed-forward, before the
  backbone's dropout, residual and norm.
- `pfeiffer` (Pfeiffer 2021): in post-norm blocks LN(s + scale A(LN(s))) in place of LN(s), the same norm twice; in pre-norm
  blocks s + scale A(s).
- `parallel` (He 2022): y + scale A(x) on the output linear of the feed-forward. In post-norm blocks x is the input of the
  feed-forward; in pre-norm blocks h before the norm of the feed-forward, which in Phi, whose attention and feed-forward run
  side by side, is the block's input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from nlp_transfer.adapters.config import BottleneckConfig
from nlp_transfer.adapters.layer import CHILD, BottleneckLayer, Form
from nlp_transfer.aliases import published_name
from nlp_transfer.architectures import Architecture, architecture_of, blocks, body, part
from nlp_transfer.errors import RequestError, listing


@dataclass(frozen=True)
class Site:
    """A place for an adapter: the host whose output it changes, in which form, and for `beside` whose input it reads."""

    host: nn.Module
    form: Form
    source: nn.Module | None = None


def sites(model: nn.Module, config: BottleneckConfig) -> list[Site]:
    """The places of all adapters that a configuration asks for, from the bottom up.

    Raises:
        RequestError: for an architecture that is not in the table or cannot have them, or a block that is not there.
    """
    architecture = architecture_of(model)
    every = blocks(model)
    _refuse(model, architecture, config, len(every))
    chosen = range(len(every)) if config.layers is None else config.layers
    return [site for number in chosen for site in _sites_of_block(every[number], architecture, config)]


def _sites_of_block(block: nn.Module, architecture: Architecture, config: BottleneckConfig) -> list[Site]:
    output = part(block, architecture.feed_forward_output)
    if config.placement == "houlsby":
        return [Site(part(block, architecture.attention_output), "after"), Site(output, "after")]
    if config.placement == "pfeiffer":
        return [
            Site(part(block, architecture.feed_forward_norm), "within")
            if architecture.post_norm
            else Site(block, "after")
        ]
    source = architecture.feed_forward_input if architecture.post_norm else architecture.feed_forward_norm
    return [Site(output, "beside", part(block, source))]


def _places(every: Iterable[Site], names: Mapping[int, str]) -> list[str]:
    """The names of the modules that host adapters, and of those whose input one reads."""
    modules = [module for site in every for module in (site.host, site.source) if module is not None]
    return [names[id(module)] for module in modules]


def _refuse(model: nn.Module, architecture: Architecture, config: BottleneckConfig, count: int) -> None:
    if architecture.shared_blocks and config.layers is not None:
        raise RequestError(
            f"{architecture.model_type} runs the same block as every layer, so adapters cannot stand in some layers only: leave "
            "layers out, and one set of adapters serves all layers as one set of weights does."
        )
    if config.layers is not None and (outside := [number for number in config.layers if number >= count]):
        raise RequestError(
            f"layers {listing(outside)}: the model has {count} blocks, numbered 0 to {count - 1} from the bottom."
        )
    if architecture.bypassed_where and architecture.bypassed_where(body(model).config):
        raise RequestError(
            f"this {architecture.model_type} computes past its output linears (pretraining_tp above 1 with slow_but_exact), so "
            "adapters on them would do nothing: set slow_but_exact to false."
        )


class BottleneckModel(BaseTuner):
    """The tuner: puts a `BottleneckLayer` below every host, and lets PEFT do the rest.

    `unload()` gives back the base model; with `modules_to_save` these stay as they were trained, as PEFT has it.
    """

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Put the adapter of a name into the model.

        Raises:
            RequestError: for settings that the model cannot have, or a name that is part of a weight's name.
        """
        # PEFT tells adapters apart by such parts: it would save the others without their weights
        names = [[CHILD], *(name.split(".") for name, _ in model.named_parameters() if f".{self.prefix}" not in name)]
        if any(adapter_name in name for name in names if "modules_to_save" not in name):
            raise RequestError(
                f'"{adapter_name}" is part of the name of a weight of the model, by which PEFT would lose weights on saving: '
                "give the adapter another name."
            )
        super().inject_adapter(model, adapter_name, *args, **kwargs)

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:  # noqa: ARG002
        # what PEFT writes about the base model must mean something elsewhere
        assert isinstance(config, BottleneckConfig)
        if not isinstance(model, PreTrainedModel):
            return
        loaded_from = model.name_or_path or ""
        name = config.backbone or published_name(loaded_from)
        if name != loaded_from:
            model.name_or_path = name
            model.config.name_or_path = name

    @contextmanager
    def _enable_peft_forward_hooks(self, *_: Any, **arguments: Any) -> Iterator[None]:
        if arguments.get("adapter_names") is not None:
            raise RequestError(
                "adapter_names, an adapter for each row of a batch, is not possible with bottleneck adapters: choose one with "
                "set_adapter, and give the rows of each adapter apart."
            )
        yield

    def _prepare_adapter_config(self, peft_config: PeftConfig, model_config: dict) -> PeftConfig:  # noqa: ARG002
        return peft_config

    def _prepare_model(self, peft_config: PeftConfig, model: nn.Module) -> None:
        assert isinstance(peft_config, BottleneckConfig)
        peft_config.width(_width(model))
        names = {id(module): name for name, module in model.named_modules()}
        self._sites = {names[id(site.host)]: site for site in sites(model, peft_config)}
        own = _places(self._sites.values(), names)
        wholes = [name for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)]
        if inside := [name for place in own for name in wholes if f"{place}.".startswith(f"{name}.")]:
            raise RequestError(
                f"an adapter of this model has {inside[0]} in its modules_to_save, a module below which one of this adapter "
                "would stand or whose input it would read: what is saved whole can have none. Load this adapter into a model of "
                "its own."
            )
        others = [
            each for each in self.peft_config.values() if isinstance(each, BottleneckConfig) and each is not peft_config
        ]
        held = [*own, *(place for each in others for place in _places(sites(model, each), names))]
        for saved in peft_config.modules_to_save or ():
            # PEFT takes every module whose name ends so, and makes a copy of it, adapters and hooks and all
            whole = [name for name in names.values() if name.endswith(saved)]
            if inside := [place for place in held for name in whole if f"{place}.".startswith(f"{name}.")]:
                raise RequestError(
                    f'modules_to_save has "{saved}", and with {inside[0]} a module below which an adapter stands or whose input '
                    "one reads: what is saved whole can have none. Name other modules, or leave these layers out."
                )

    def _check_target_module_exists(self, peft_config: PeftConfig, key: str) -> bool:  # type: ignore[override]  # noqa: ARG002
        return key in self._sites

    def _create_and_replace(  # type: ignore[override]
        self, peft_config: BottleneckConfig, adapter_name: str, target: nn.Module, *_: Any, current_key: str, **__: Any
    ) -> None:
        site = self._sites[current_key]
        layer = dict(target.named_children()).get(CHILD) or BottleneckLayer(target)
        assert isinstance(layer, BottleneckLayer)
        layer.add(adapter_name, site.form, peft_config, _width(self.model), site.source)
        layer.train(target.training)
        if adapter_name not in self.active_adapters:
            layer.set_requires_grad(adapter_name, False)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:  # noqa: ARG002
        # called for modules_to_save alone, on unloading; PEFT's own expects every one of them to have a weight
        setattr(parent, child_name, new_module)

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter; if it was active alone, the first of the others becomes active.

        Raises:
            ValueError: if there is no adapter of this name.
        """
        others = [name for name in self.active_adapters if name != adapter_name]
        remaining = [name for name in self.peft_config if name != adapter_name]
        if adapter_name in self.active_adapters and remaining:
            # switched before it is deleted: adapters of different placements do not share all hosts
            self.set_adapter(others or remaining[0])
        super().delete_adapter(adapter_name)

    def _check_merge_allowed(self) -> None:
        raise RequestError(
            "bottleneck adapters cannot be merged: each has an activation between its two projections, so no linear of the base "
            "model computes the same. Keep the adapter beside the model, or train with LoRA where a merged model is needed."
        )

    def _unload_and_optionally_merge(self, merge: bool = True, *args: Any, **kwargs: Any) -> Any:
        if merge:
            self._check_merge_allowed()
        for layer in [module for module in self.model.modules() if isinstance(module, BottleneckLayer)]:
            layer.remove()
        return super()._unload_and_optionally_merge(False, *args, **kwargs)


def _width(model: nn.Module) -> int:
    return int(body(model).config.get_text_config().hidden_size)
