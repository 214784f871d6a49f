"""Heads: how token vectors become one vector, and the classifier that pools otherwise than its backbone does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import SequenceClassifierOutput

from nlp_transfer.backbone import Backbone, LoadedModel, is_decoder
from nlp_transfer.errors import RequestError

Pooling = Literal["auto", "own", "cls", "mean", "last"]


@dataclass(frozen=True)
class HeadSettings:
    """The head on top of the backbone."""

    pooling: Pooling = "auto"
    """How token vectors become one: `own` as the architecture's classifier does, `cls` the first token, `mean` over all
    tokens, `last` the last token; `auto` is `own`, but `mean` for the method `head` on an encoder."""


class PooledConfig(PreTrainedConfig):
    """Configuration of a `PooledClassifier`: the backbone's own, and the pooling."""

    model_type = "nlp_transfer_pooled"
    sub_configs_defaults: ClassVar = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")}

    backbone_config: dict | PreTrainedConfig | None = None
    pooling: str = "mean"
    classifier_dropout: float = 0.1


class PooledClassifier(PreTrainedModel):
    """A classifier that pools `cls`, `mean` or `last`, whatever its backbone's own classifier does.

    It has a model type of its own, so that plain transformers refuses it loudly instead of misreading it; after
    `import nlp_transfer` the Auto classes load it.
    """

    config_class = PooledConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: PooledConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        assert isinstance(config.backbone_config, PreTrainedConfig)
        self.backbone = backbone if backbone is not None else AutoModel.from_config(config.backbone_config)
        if "pooler" in dict(self.backbone.named_children()):
            # unused weights would neither learn nor belong in the file
            self.backbone.pooler = None
        self.dropout = nn.Dropout(config.classifier_dropout)
        width: int = config.backbone_config.get_text_config().hidden_size
        self.classifier = nn.Linear(width, int(config.num_labels or 2))
        if backbone is None:
            self.post_init()
        else:
            self.classifier.weight.data.normal_(0.0, 0.02)
            self.classifier.bias.data.zero_()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
        """Logits (rows, labels) for token ids (rows, tokens) padded on the right; a loss too if labels are given."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        if attention_mask is None:
            attention_mask = torch.ones(states.shape[:2], device=states.device)
        logits = self.classifier(self.dropout(pool(states, attention_mask, self.config.pooling)))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per row: states (rows, tokens, width) and mask (rows, tokens) to (rows, width)."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)
        return states[torch.arange(len(states), device=states.device), last]
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def settled(pooling: Pooling, config: PreTrainedConfig, of_method: str) -> Any:
    """The pooling that `auto` stands for: on an encoder what the method prefers, elsewhere the architecture's own."""
    if pooling != "auto":
        return pooling
    pooled_already = config.model_type == PooledConfig.model_type
    return "own" if pooled_already or is_decoder(config) else of_method


def load_with_head(
    backbone: Backbone, auto_class: Any, head: dict[str, Any], pooling: str, dropout: float | None = None
) -> LoadedModel:
    """A backbone under its own architecture's head, or under one that pools as asked.

    Raises:
        RequestError: for `cls` on a model that reads from left to right, whose first token has seen nothing.
    """
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
    # a composite configuration hands its attention down to its parts, so it must start with the backbone's
    values["attn_implementation"] = base.model.config._attn_implementation
    config = PooledConfig(backbone_config=base.model.config, pooling=pooling, **values)
    config.pad_token_id = base.model.config.get_text_config().pad_token_id
    model = PooledClassifier(config, base.model)
    model.name_or_path = base.model.name_or_path
    kept = {name for name, _ in model.named_parameters()}
    new = {f"backbone.{name}" for name in base.head} & kept
    return LoadedModel(model, tuple(sorted(new | {"classifier.weight", "classifier.bias"})))


# the Auto classes load a saved PooledClassifier by its model type
AutoConfig.register(PooledConfig.model_type, PooledConfig, exist_ok=True)
AutoModelForSequenceClassification.register(PooledConfig, PooledClassifier, exist_ok=True)
