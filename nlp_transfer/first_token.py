"""The last block goes on with the first token alone where the head reads no other: only that one looks at the rest.

A classifier such as BERT's needs keys and values of every token from the last block, and the query and what follows attention,
five sixths of the block's products, for one. What the head reads and every gradient stay the same; only the random numbers of
dropout fall otherwise. In pre-norm blocks nothing can be dropped, since a block adds its input itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from nlp_transfer.architectures import TABLE, architecture_of, blocks, body, part
from nlp_transfer.models.pooled import PooledClassifier


@contextmanager
def only_first(model: nn.Module) -> Iterator[bool]:
    """Inside, a model's last block gives the first token's state alone (rows, 1, width), if its head reads no other.

    Args:
        model: a classifier, with a method applied or without, whole or without its lowest blocks.

    Yields:
        Whether that is so; a model of which it is not known stays as it is.
    """
    handles = _hooked(model)
    try:
        yield bool(handles)
    finally:
        for handle in handles:
            handle.remove()


def _hooked(model: nn.Module) -> list[RemovableHandle]:
    """What drops all tokens but the first as soon as no token of the last block looks at it; nothing where all are needed."""
    classifier = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    if classifier is None or not _reads_first(classifier):
        return []
    architecture = architecture_of(model)
    # feed-forwards in chunks want so many tokens
    in_chunks: int = getattr(body(model).config, "chunk_size_feed_forward", 0)
    if not architecture.post_norm or architecture.shared_blocks or in_chunks:
        return []
    last = blocks(model)[-1]
    handles = []
    # what kernels of other devices make of queries that are one in memory is not known, and there a product costs little
    if architecture.query and next(last.parameters()).device.type == "cpu":
        query, asking = part(last, architecture.query), _Asking()
        handles = [query.register_forward_pre_hook(asking.before), query.register_forward_hook(asking.after)]
    if architecture.attention_close:
        return [*handles, part(last, architecture.attention_close).register_forward_pre_hook(_first_of_both)]
    return [*handles, part(last, architecture.attention_norm).register_forward_hook(_first)]


class _Asking:
    """The query of the first token, in the place of those of all: the same memory, so that attention can look once."""

    def __init__(self) -> None:
        self.tokens = 0

    def before(self, _: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of the block's input the first token."""
        self.tokens = states[0].shape[1]
        return (_first_of(states[0]), *states[1:])

    def after(self, _: nn.Module, __: Any, query: Tensor) -> Tensor:
        """As many queries as there are tokens; those of another such hook stay."""
        return query.expand(-1, self.tokens, -1) if query.shape[1] == 1 else query


def _first_of_both(_: nn.Module, states: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of what attention found and of the block's input the first token."""
    return tuple(_first_of(each) for each in states)


def _first(_: nn.Module, __: Any, states: Tensor) -> Tensor:
    """Of their normed sum the first token."""
    return _first_of(states)


def _first_of(states: Tensor) -> Tensor:
    # what lies apart PyTorch would multiply row by row, each with a copy of the weights
    return states[:, :1].contiguous()


def _reads_first(classifier: PreTrainedModel) -> bool:
    """Whether a model's head is known to read the first token alone, of a backbone that is there: ours, or of transformers and
    not of a stranger's code, which may call itself the same."""
    backbone: Any = classifier.base_model
    if not isinstance(backbone, PreTrainedModel) or not _of_transformers(backbone):
        return False
    kind = backbone.config.model_type
    if kind not in TABLE:
        return False
    if isinstance(classifier, PooledClassifier):
        return classifier.config.pooling == "cls"
    own = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(kind)
    return TABLE[kind].first_token and type(classifier).__name__ == own and _of_transformers(classifier)


def _of_transformers(model: PreTrainedModel) -> bool:
    return type(model).__module__.startswith("transformers.models.")
