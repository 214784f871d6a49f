"""Tuners of PEFT around a model: their weights and the head learn, nothing else does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from peft import PeftModel, TaskType, get_peft_model
from torch import nn
from transformers.models.auto import modeling_auto
from transformers.pytorch_utils import Conv1D

from nlp_transfer.errors import RequestError, listing
from nlp_transfer.quiet import quiet

TASK_TYPES = {
    TaskType.SEQ_CLS: modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    TaskType.TOKEN_CLS: modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    TaskType.QUESTION_ANS: modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
}
"""What PEFT calls a task, by the classes of transformers that do it."""


def wrapped(model: nn.Module, config: Any, head: Sequence[str]) -> PeftModel:
    """A model with a tuner in it, whose head learns and is saved beside the tuner's weights.

    A model of a class that is not of transformers gets no task type, so that PEFT's Auto classes refuse the saved tuner
    instead of putting it on another head.

    Args:
        model: as loaded.
        config: of a PEFT tuner; changed.
        head: names of the head's parameters.
    """
    kinds = [kind for kind, classes in TASK_TYPES.items() if type(model).__name__ in classes.values()]
    config.task_type = kinds[0] if kinds else None
    config.modules_to_save = head_modules(model, head)
    with quiet():
        return get_peft_model(model, config)


def hold_frozen(model: nn.Module, held: str) -> None:
    """Hold the linears of the backbone that never learn in bf16, for a training that multiplies in bf16 anyway.

    Args:
        model: with a method applied.
        held: `fp32`, where nothing is done, or `bf16`.

    Raises:
        RequestError: where the model would be saved whole, in what it is held in.
    """
    if held == "fp32":
        return
    if not isinstance(model, PeftModel):
        raise RequestError(
            "train.frozen bf16 is for methods that save what learns alone (lora, adapter): leave it out."
        )
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D) and not any(weight.requires_grad for weight in module.parameters()):
            module.to(torch.bfloat16)


def head_modules(model: nn.Module, head: Iterable[str]) -> list[str]:
    """The largest modules all of whose parameters belong to the head, by name; no parameter of the head is left over.

    Raises:
        RequestError: for a head parameter whose module holds other parameters as well.
    """
    names = set(head)
    found: list[str] = []
    for name, module in model.named_modules():
        parameters = {f"{name}.{inner}" for inner, _ in module.named_parameters()}
        if name and parameters and parameters <= names:
            found.append(name)
            names -= parameters
    if names:
        raise RequestError(
            f"the head's parameters {listing(sorted(names), 3)} share a module with the backbone's, so a tuner cannot save them "
            "apart: use the method full or head."
        )
    return found


def linears(model: nn.Module, head: Iterable[str] = ()) -> list[str]:
    """The names of all linear modules outside the head."""
    outside = tuple(f"{name}." for name in head_modules(model, head))
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and not f"{name}.".startswith(outside)
    ]


def refuse_gaps(model: nn.Module, tuned: Iterable[str], asked: str, available: Sequence[str]) -> None:
    """Refuse targets that are in some blocks of a stack and not in others: nobody means that, and nobody would notice.

    Args:
        model: without the tuner.
        tuned: names of the modules that a tuner found.
        asked: what the user asked for.
        available: names of all modules that could be asked for.

    Raises:
        RequestError: naming the blocks, and what there is.
    """
    names = [f"{name}." for name in tuned]
    for stack, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) < 2:
            continue
        inside = [any(name.startswith(f"{stack}.{i}.") for name in names) for i in range(len(module))]
        if any(inside) and not all(inside):
            without = [i for i, found in enumerate(inside) if not found]
            raise RequestError(
                f"method.targets {asked} matches nothing in the blocks {listing(without)} of {stack}: expected every block or "
                f"none. There is: {listing(suffixes(available), 20)}."
            )


def suffixes(names: Iterable[str]) -> list[str]:
    """The last parts of dotted names, each once."""
    return sorted({name.rpartition(".")[2] for name in names})
