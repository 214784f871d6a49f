"""Full fine-tuning: every weight learns; if wanted in stages, at rates of their own, or held near where they began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from nlp_transfer.architectures import blocks, body, embeddings
from nlp_transfer.errors import RequestError
from nlp_transfer.methods import Method, refuse
from nlp_transfer.training.loop import decay_groups
from nlp_transfer.training.settings import TrainSettings


@dataclass(frozen=True)
class Full(Method):
    """Every weight learns: the strongest method where there is data and memory for it (Howard and Ruder 2018, Devlin 2019)."""

    default_learning_rate: ClassVar[float] = 1e-4
    from_scratch: ClassVar[bool] = True

    layer_decay: float = 1.0
    """Learning rate of each block as a share of that of the block above; the topmost and the head have the whole one (Sun
    2019)."""
    gradual: bool = False
    """Gradual unfreezing: in the first epoch the head learns alone, then one block more per epoch from the top, at last the
    embeddings (ULMFiT, Howard and Ruder 2018)."""
    reinitialize: int = 0
    """How many blocks, from the top, begin with random weights, with them a pooler or norm above them (Zhang 2021)."""
    pull: float = 0.0
    """Weight decay of the backbone towards its pre-trained weights in place of zero; the head keeps `train.weight_decay`
    (L2-SP, Li 2018). A step moves a weight w by learning rate * pull * (w0 - w), apart from the gradient."""

    def __post_init__(self) -> None:
        refuse(
            not 0 < self.layer_decay <= 1, f"method.layer_decay is {self.layer_decay}: expected above 0 and at most 1."
        )
        refuse(self.reinitialize < 0, f"method.reinitialize is {self.reinitialize}: expected 0 blocks or more.")
        refuse(not 0 <= self.pull < float("inf"), f"method.pull is {self.pull}: expected 0 or more.")

    @property
    def in_stages(self) -> bool:
        """With gradual unfreezing."""
        return self.gradual

    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Let every weight learn, some of them from the beginning.

        Raises:
            RequestError: for more blocks than there are, or for an architecture whose blocks are asked for and not known.
        """
        if self.gradual or self.layer_decay < 1 or self.reinitialize:
            count = len(blocks(model))
            if self.reinitialize > count:
                raise RequestError(f"method.reinitialize is {self.reinitialize}: the model has {count} blocks.")
        if self.reinitialize:
            depths = _depths(model)
            top = max(depths.values())
            _begin_anew(model, {name for name, depth in depths.items() if depth >= top - self.reinitialize} - set(head))
        return model.requires_grad_(True)

    def unfreeze(self, model: nn.Module, head: Sequence[str], epoch: int) -> None:
        """With gradual unfreezing: of the first epoch the head learns, of every further one a block more."""
        if not self.gradual:
            return
        depths, kept = _depths(model), set(head)
        top = max(depths.values())
        for name, parameter in model.named_parameters():
            # what stands above the blocks and is not of the head learns together with the top block
            parameter.requires_grad_(name in kept or (epoch > 0 and depths[name] > top - 1 - epoch))

    def parameter_groups(self, model: nn.Module, head: Sequence[str], settings: TrainSettings) -> list[dict[str, Any]]:
        """Groups for AdamW, the head's first: by depth where rates differ, and the backbone's apart where it is pulled back."""
        if self.layer_decay == 1 and not self.pull:
            return decay_groups(dict(model.named_parameters()), settings)
        depths = _depths(model) if self.layer_decay < 1 else {}
        kept, rate = set(head), settings.learning_rate or self.default_learning_rate
        top = max(depths.values(), default=0)
        sorted_out: dict[tuple[int, bool], dict[str, nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            below = 0 if name in kept else max(0, top - 1 - depths.get(name, top))
            sorted_out.setdefault((below, name not in kept), {})[name] = parameter
        groups = []
        for below, of_backbone in sorted(sorted_out):
            for group in decay_groups(sorted_out[below, of_backbone], settings):
                group["lr"] = rate * self.layer_decay**below
                if self.pull and of_backbone:
                    group |= {"weight_decay": 0.0, "pull": self.pull}
                groups.append(group)
        return groups

    def merge(self, model: nn.Module) -> nn.Module:
        """The model itself: nothing was put into it."""
        return model


def _depths(model: nn.Module) -> dict[str, int]:
    """For every parameter where it stands: 0 in the embeddings, from 1 in the blocks, above them one more than the topmost."""
    stack = blocks(model)
    found = dict.fromkeys((name for name, _ in model.named_parameters()), len(stack) + 1)
    places = {id(parameter): 0 for module in embeddings(model) for parameter in module.parameters()}
    for number, block in enumerate(stack, start=1):
        places |= {id(parameter): number for parameter in block.parameters()}
    return {name: places.get(id(parameter), found[name]) for name, parameter in model.named_parameters()}


def _begin_anew(model: nn.Module, names: set[str]) -> None:
    """Give parameters random values, as their architecture has them before pre-training."""
    inside = body(model)
    chosen = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    for parameter in inside.parameters():
        # transformers fills what lacks this mark
        parameter._is_hf_initialized = id(parameter) not in chosen  # type: ignore[attr-defined]
    with torch.no_grad():
        for module in inside.modules():
            if any(id(parameter) in chosen for parameter in module.parameters()):
                inside._init_weights(module)
