"""Methods as people apply them to a model of transformers by hand, with PEFT where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from nlp_transfer.adapters import BottleneckConfig


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
    if name == "lora":
        linears = ["query", "key", "value", "dense"]
        config: Any = LoraConfig(r=8, lora_alpha=16, target_modules=linears, modules_to_save=head)
    else:
        config = BottleneckConfig(modules_to_save=head)
    return get_peft_model(model, config)
