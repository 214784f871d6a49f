"""Methods as people apply them to a model of transformers by hand, with PEFT where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from nlp_transfer import methods
from nlp_transfer.methods.adapter import Adapter
from nlp_transfer.methods.lora import LoRA
from nlp_transfer.training.settings import TrainSettings


def apply(model: Any, method: Mapping[str, Any]) -> nn.Module:
    """A BERT under a head with a method of ours applied by other means, or by our tuner put into PEFT.

    Args:
        model: of transformers, all of whose weights learn.
        method: name and settings, as a recipe holds them.
    """
    name = method["name"]
    if name == "full":
        return model
    if name == "head":
        model.base_model.requires_grad_(False)
        return model
    if name == "freeze":
        model.base_model.embeddings.requires_grad_(False)
        for block in model.base_model.encoder.layer[: method["lowest"]]:
            block.requires_grad_(False)
        return model
    head = [child for child, _ in model.named_children() if child in ("classifier", "qa_outputs")]
    asked = methods.find(name)(**{key: value for key, value in method.items() if key != "name"})
    settled = asked.settled(TrainSettings())
    config: Any
    if isinstance(settled, LoRA):
        config = LoraConfig(
            r=settled.rank,
            lora_alpha=settled.alpha,  # type: ignore[arg-type]  # an int there, and used as a number
            lora_dropout=settled.dropout,
            target_modules=["query", "key", "value", "dense"],
        )
    else:
        assert isinstance(settled, Adapter), f"{name} has no peer"
        config = settled.config(settled.layers)
    config.modules_to_save = head
    return get_peft_model(model, config)


def learning(model: nn.Module) -> int:
    """How many weights learn: the same with every contender, or they train different things."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
