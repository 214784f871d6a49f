"""Tuners of PEFT around a model: their weights and the head learn, nothing else does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from peft import PeftModel, PeftType, TaskType, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers.models.auto import modeling_auto
from transformers.pytorch_utils import Conv1D

from nlp_transfer.architectures import architecture_of, blocks, body
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.models.pooled import PooledClassifier
from nlp_transfer.quiet import quiet

TASK_TYPES = {
    TaskType.SEQ_CLS: modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    TaskType.TOKEN_CLS: modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
}
"""What PEFT calls a task, by the classes of transformers that do it; but for question answering, where PEFT's class takes the
token types, which tell question and context apart, and does not hand them on."""


def wrapped(model: nn.Module, config: Any, head: Sequence[str], top: int = 0, also: Sequence[str] = ()) -> PeftModel:
    """A model with a tuner in it, whose head learns and is saved beside the tuner's weights.

    A model of a class that is not of transformers gets no task type, so that PEFT's Auto classes refuse the saved tuner
    instead of putting it on another head.

    Args:
        model: as loaded.
        config: of a PEFT tuner; changed.
        head: names of the head's parameters.
        top: how many blocks, from the top, learn whole as the head does.
        also: names of further modules that learn whole.
    """
    kinds = [kind for kind, classes in TASK_TYPES.items() if type(model).__name__ in classes.values()]
    config.task_type = kinds[0] if kinds else None
    asked = config.modules_to_save or ()
    whole = [*asked, *head_modules(model, head), *(block_names(model)[-top:] if top else []), *also]
    config.modules_to_save = list(dict.fromkeys(whole))
    with quiet():
        return get_peft_model(model, config)


def block_names(model: nn.Module) -> list[str]:
    """The names of the blocks, from the bottom up.

    Raises:
        RequestError: for an architecture whose blocks are not known.
    """
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(block)] for block in blocks(model)]


def norm_names(model: nn.Module, layers: Sequence[int] | None) -> list[str]:
    """The names of the norms of blocks.

    Args:
        model: without a tuner.
        layers: numbers of blocks, from 0 at the bottom, those that are not there passed over; None: all.

    Raises:
        RequestError: for an architecture whose blocks are not known.
    """
    architecture = architecture_of(model)
    parts = dict.fromkeys((architecture.attention_norm, architecture.feed_forward_norm))
    return [
        f"{name}.{part}"
        for number, name in enumerate(block_names(model))
        if layers is None or number in layers
        for part in parts
    ]


def tuned_blocks(model: nn.Module, layers: Sequence[int] | None, top: int) -> list[int]:
    """The numbers of the blocks that get a tuner: those asked for, by default all, below those that learn whole.

    Args:
        model: without the tuner.
        layers: numbers of blocks, from 0 at the bottom, or None.
        top: how many blocks, from the top, learn whole.

    Raises:
        RequestError: for blocks that are not there, are asked for both ways, or are all the same one.
    """
    count = len(blocks(model))
    if architecture_of(model).shared_blocks:
        raise RequestError(
            f"{architecture_of(model).model_type} runs the same block as every layer, so a tuner cannot stand in some layers "
            "only: leave layers and top out."
        )
    if top >= count:
        raise RequestError(
            f"method.top is {top}: the model has {count} blocks, and a tuner must stand in one at least."
        )
    if layers and max(layers) >= count:
        raise RequestError(
            f"method.layers {listing(layers)}: the model has {count} blocks, numbered 0 to {count - 1} from the bottom."
        )
    if both := [number for number in layers or () if number >= count - top]:
        raise RequestError(f"method.layers {listing(both)}: these blocks learn whole, as method.top is {top}.")
    return sorted(set(range(count - top) if layers is None else layers))


def hold_frozen(model: nn.Module, held: str) -> None:
    """Hold the linears of the backbone that never learn in bf16, for a training that multiplies in bf16 anyway.

    Tuners then no longer convert what they read to fp32, only for autocast to convert it back.

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
        elif isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]


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


def prompted(model: Any, config: Any, head: Sequence[str]) -> PeftModel:
    """A model whose text gets company from a tuner: vectors before it, or keys and values before its own in every block.

    PEFT's own classes for classifiers and the like put heads together by hand, which is right for few; the class for
    features hands over whatever the model answers.

    Args and returns as `wrapped`.

    Raises:
        RequestError: for a head that would read vectors before the text in place of the text.
    """
    if config.peft_type != PeftType.PREFIX_TUNING:
        _refuse_heads(model)
    inside = body(model)
    sizes = inside.config.get_text_config()
    config.task_type = TaskType.FEATURE_EXTRACTION
    config.modules_to_save = list(dict.fromkeys([*(config.modules_to_save or ()), *head_modules(model, head)]))
    config.num_layers = sizes.num_hidden_layers
    if config.peft_type == PeftType.PREFIX_TUNING:
        config.num_attention_heads = getattr(sizes, "num_key_value_heads", None) or sizes.num_attention_heads
        width = getattr(sizes, "head_dim", None) or sizes.hidden_size // sizes.num_attention_heads
        config.token_dim = config.num_attention_heads * width
    else:
        config.num_attention_heads = sizes.num_attention_heads
        config.token_dim = inside.get_input_embeddings().embedding_dim
    with quiet():
        return get_peft_model(model, config)


def _refuse_heads(model: nn.Module) -> None:
    if not isinstance(model, PooledClassifier):
        # heads that answer by tokens read no vector of a text
        pooling = "--head.pooling mean or last, or " if "SequenceClassification" in type(model).__name__ else ""
        raise RequestError(
            f"{type(model).__name__} finds what it reads by its place in the text or by token ids, and a prompt moves "
            f"the one and has none of the other: use {pooling}the methods prefix or lora."
        )
    if model.config.pooling == "cls":
        raise RequestError("head.pooling cls would read the first vector of the prompt: use mean or last.")


def merged(model: Any) -> nn.Module:
    """The plain model with a tuner's weights in its own, and the head as it was trained; the model is used up.

    Heads of several modules are put in their places before PEFT merges: its IA3 stumbles over them.
    """
    plain = model.base_model.model
    for name, module in list(plain.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            plain.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    return model.merge_and_unload()


def transposed(model: nn.Module, names: Iterable[str]) -> bool:
    """Whether modules of these names hold their weights the other way round (GPT-2's `Conv1D`), of which PEFT wants to know."""
    return any(isinstance(model.get_submodule(name), Conv1D) for name in names)


def outside(model: nn.Module, head: Iterable[str], names: Iterable[str]) -> list[str]:
    """Of the names of modules those that do not belong to the head."""
    inside = tuple(f"{name}." for name in head_modules(model, head))
    return [name for name in names if not f"{name}.".startswith(inside)]


def linears(model: nn.Module, head: Iterable[str] = ()) -> list[str]:
    """The names of all linear modules outside the head."""
    return outside(
        model, head, [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    )


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
        # modules of several kinds are the parts of one block
        if not isinstance(module, nn.ModuleList) or len(module) < 2 or len(set(map(type, module))) > 1:
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
