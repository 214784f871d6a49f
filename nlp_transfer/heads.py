"""Heads: how token vectors become one vector, and a backbone loaded under a head that pools so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers import AutoModel, AutoModelForQuestionAnswering, AutoModelForTokenClassification, PreTrainedConfig

from nlp_transfer.backbone import Backbone, LoadedModel, is_decoder
from nlp_transfer.errors import RequestError
from nlp_transfer.models.answerer import Answerer, AnswererConfig
from nlp_transfer.models.pooled import PooledClassifier, PooledConfig
from nlp_transfer.models.tagger import Tagger, TaggerConfig
from nlp_transfer.quiet import quiet

OURS: dict[Any, tuple[Any, Any]] = {
    AutoModelForQuestionAnswering: (Answerer, AnswererConfig),
    AutoModelForTokenClassification: (Tagger, TaggerConfig),
}
"""By Auto class the head, and its configuration, for architectures that transformers has none for."""

Pooling = Literal["auto", "own", "cls", "mean", "last"]


@dataclass(frozen=True)
class HeadSettings:
    """The head on top of the backbone."""

    pooling: Pooling = "auto"
    """How token vectors become one: `own` as the architecture's classifier does, `cls` the first token, `mean` over all
    tokens, `last` the last token; `auto` is `own`, but on an encoder `mean` for the methods `head` and `prompt`, and on a
    decoder `last` for `prompt`."""


def settled(pooling: Pooling, config: PreTrainedConfig, on_encoder: str, on_decoder: str) -> Any:
    """The pooling that `auto` stands for: what the method prefers on such a backbone."""
    if pooling != "auto":
        return pooling
    if config.model_type == PooledConfig.model_type:
        return "own"
    return on_decoder if is_decoder(config) else on_encoder


def load_with_head(
    backbone: Backbone, auto_class: Any, head: dict[str, Any], pooling: str, dropout: float | None = None
) -> LoadedModel:
    """A backbone under its own architecture's head, or under one that pools as asked.

    Raises:
        RequestError: for `cls` on a model that reads from left to right, whose first token has seen nothing.
    """
    if auto_class in OURS:
        return _reading_tokens(backbone, auto_class, head, dropout)
    if pooling in ("auto", "own"):
        return backbone.model(auto_class, head, dropout)
    if backbone.config.model_type == PooledConfig.model_type:
        raise RequestError(f"{backbone.name} is a run with a pooled head: continue it with head.pooling auto.")
    if pooling == "cls" and is_decoder(backbone.config):
        raise RequestError(
            f"head.pooling cls reads the first token, but {backbone.name} reads from left to right, so its first token "
            "knows nothing of the rest: use last or mean."
        )
    base = backbone.model(AutoModel, {}, dropout)
    values: dict[str, Any] = dict(head) if dropout is None else {**head, "classifier_dropout": dropout}
    values.update(_attention(base.model))
    config = PooledConfig(backbone_config=base.model.config, pooling=pooling, **values)
    config.pad_token_id = base.model.config.get_text_config().pad_token_id
    model = PooledClassifier(config, base.model)
    model.name_or_path = base.model.name_or_path
    kept = {name for name, _ in model.named_parameters()}
    new = {f"backbone.{name}" for name in base.head} & kept
    return LoadedModel(model, tuple(sorted(new | {"classifier.weight", "classifier.bias"})))


def _reading_tokens(backbone: Backbone, auto_class: Any, head: dict[str, Any], dropout: float | None) -> LoadedModel:
    """A backbone under its architecture's head that reads every token, or under ours where there is none."""
    kind, (ours, our_config) = type(backbone.config), OURS[auto_class]
    own: Any = auto_class._model_mapping.get(kind, None)
    if own is ours or (own and own.__name__ in (backbone.config.architectures or [])):
        return backbone.model(auto_class, head, dropout)
    named = own and own.base_model_prefix == _prefix(kind)
    if named or (own and backbone.settings.from_scratch):
        return backbone.model(auto_class, head, dropout)
    base = backbone.model(AutoModel, {}, dropout)
    if own is None:
        values = {**head, **_attention(base.model)} | ({} if dropout is None else {"classifier_dropout": dropout})
        config = our_config(backbone_config=base.model.config, **values)
        model: Any = ours(config, base.model)
        config.pad_token_id = base.model.config.get_text_config().pad_token_id
    else:
        # Llama's and Qwen's call the backbone otherwise than their checkpoints do, whose weights would be left out
        with quiet():
            model = own(base.model.config)
        setattr(model, own.base_model_prefix, base.model)
    model.name_or_path = base.model.name_or_path
    kept = dict(model.named_parameters())
    prefix = f"{model.base_model_prefix}."
    new = {f"{prefix}{name}" for name in base.head} & kept.keys()
    return LoadedModel(model, tuple(sorted(new | {name for name in kept if not name.startswith(prefix)})))


def _prefix(kind: type[PreTrainedConfig]) -> str:
    """What an architecture's checkpoints call its backbone."""
    plain: Any = AutoModel._model_mapping[kind]
    return plain.base_model_prefix


def _attention(base: Any) -> dict[str, Any]:
    """A composite configuration hands its attention down to its parts, so it must start with the backbone's."""
    return {"attn_implementation": base.config._attn_implementation}
