"""A model without its lowest blocks: what stands above them, reading what they gave once and will always give."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from nlp_transfer.architectures import blocks, embeddings
from nlp_transfer.standin import Inseparable, logits
from nlp_transfer.training.batch import Batch

STATES = "stored_states"
"""Under this name the states above the lowest blocks (rows, tokens, width) come into the model."""


class Enough(Exception):
    """Ends a forward pass where the states that were wanted are there."""


class Recalled(nn.Module):
    """Stands where the embeddings or a block stood, and answers with the states that came in for this batch.

    What a model asks of them besides, such as the kind of a block's attention, they answer themselves.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self._block = (block,)  # a tuple, so that it is not a part of its stand-in
        self.rest: tuple[Any, ...] | None = None
        """What the block gives besides the states, or None where it gives the states alone."""
        self.states: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._block[0], name)

    @property
    def instead_of(self) -> nn.Module:
        """What stood here."""
        return self._block[0]

    def forward(self, *args: Any, **_: object) -> Any:
        """The stored states; those that come in where this stands higher than the lowest block."""
        given = args[0] if self.states is None else self.states
        return given if self.rest is None else (given, *self.rest)


class UpperPart:
    """The part of a model above its lowest blocks, and the states that it reads.

    The model is taken apart without its forward being written again: the embeddings, where one module has them, and the lowest
    block hand on the stored states, those between it and the first that learns hand on what they get. All keep their places in
    the list, by which some families look up what kind of attention a block has.
    """

    reading = "all"
    gives_pooled = False

    def __init__(
        self,
        model: nn.Module,
        count: int,
        probe: Batch,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Take a model apart.

        Args:
            model: with a method applied; it stays as it is, and shares its weights with this part.
            count: how many blocks, from the bottom, never change, as the embeddings do not.
            probe: a batch with texts of several lengths, by which it is found out whether this family can be taken apart so.
            autocast: in which the model trains; its frozen linears may be held in what it multiplies in.

        Raises:
            Inseparable: where it cannot.
        """
        self.backbone = model
        self.count = count
        self._top = blocks(model)[count - 1]
        self._stand_ins = [Recalled(block) for block in blocks(model)[:count]]
        # several parts are added up, or have another width
        below = [Recalled(sole) for sole in embeddings(model)] if len(embeddings(model)) == 1 else []
        self._reading = [*below, self._stand_ins[0]]
        self.model = _with(model, {each.instead_of: each for each in (*below, *self._stand_ins)})
        self.model._forward_pre_hooks = OrderedDict(model._forward_pre_hooks)
        self.model._forward_pre_hooks_with_kwargs = OrderedDict(model._forward_pre_hooks_with_kwargs)
        self.model.register_forward_pre_hook(self._hand_over, with_kwargs=True)
        self._check(probe, autocast)

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The states above the lowest blocks (rows, tokens, width), and which are no padding (rows, tokens)."""
        found: list[Any] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            found.append(output)
            raise Enough

        handle = self._top.register_forward_hook(keep)
        try:
            self.backbone(**batch.inputs)
        except Enough:
            pass
        finally:
            handle.remove()
        states, rest = (found[0][0], found[0][1:]) if isinstance(found[0], tuple) else (found[0], None)
        for stand_in in self._stand_ins:
            stand_in.rest = rest and (None,) * len(rest)
        return states.float(), batch.inputs["attention_mask"].bool()

    def inputs(self, batch: Batch, vectors: Tensor) -> Batch:
        """A batch for this part: all that the model reads anyway, and the states (rows, tokens, width)."""
        return Batch({**batch.inputs, STATES: vectors}, batch.targets)

    def _hand_over(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        states = kwargs.pop(STATES)
        for stand_in in self._reading:
            stand_in.states = states
        return args, kwargs

    def _check(self, probe: Batch, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        """Hold this part against the whole model."""
        self.backbone.eval()
        self.model.eval()
        with torch.inference_mode(), autocast():
            whole = logits(self.backbone(**probe.inputs))
            apart = logits(self.model(**self.inputs(probe, self.vectors(probe)[0]).inputs))
        if whole.shape != apart.shape or not torch.allclose(whole, apart, atol=1e-4):
            raise Inseparable("its blocks read more than the states of those below")


def _with(model: nn.Module, replaced: Mapping[nn.Module, nn.Module]) -> Any:
    """A model with some modules replaced; it shares all others, and the one it is made from stays as it is."""
    names = {id(module): name for name, module in model.named_modules()}
    copies = {"": _shallow(model)}
    for module, stand_in in replaced.items():
        parent, path = "", names[id(module)].split(".")
        for part in path[:-1]:
            name = f"{parent}.{part}" if parent else part
            if name not in copies:
                copies[name] = _shallow(copies[parent].get_submodule(part))
                copies[parent]._modules[part] = copies[name]
            parent = name
        copies[parent]._modules[path[-1]] = stand_in
    return copies[""]


def _shallow(module: nn.Module) -> nn.Module:
    copied = copy.copy(module)
    copied._modules = {**module._modules}
    return copied
