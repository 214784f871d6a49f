"""The classifier that pools otherwise than its backbone does; registered with the Auto classes.

It imports nothing of this project but `headed`: it is loaded in the middle of the import of transformers' own Auto classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import SequenceClassifierOutput

from nlp_transfer.models.headed import Headed


class PooledConfig(PreTrainedConfig):
    """Configuration of a `PooledClassifier`: the backbone's own, and the pooling."""

    model_type = "nlp_transfer_pooled"
    sub_configs_defaults: ClassVar = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")}

    backbone_config: dict | PreTrainedConfig | None = None
    pooling: str = "mean"
    classifier_dropout: float = 0.1

    @property
    def vocab_size(self) -> int:
        """The backbone's, by which peft finds its token vectors."""
        assert isinstance(self.backbone_config, PreTrainedConfig)
        return self.backbone_config.get_text_config().vocab_size


class PooledClassifier(Headed):
    """A classifier that pools `cls`, `mean` or `last`, whatever its backbone's own classifier does."""

    config_class = PooledConfig
    classifier: nn.Linear

    def __init__(self, config: PooledConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config, backbone)
        if "pooler" in dict(self.backbone.named_children()):
            # unused weights would neither learn nor belong in the file
            self.backbone.pooler = None
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.begin("classifier", int(config.num_labels or 2), backbone)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
        """Logits (rows, labels) for token ids (rows, tokens) padded on the right; a loss too if labels are given."""
        states = self.states(input_ids, attention_mask, **inputs)
        if attention_mask is None:
            attention_mask = torch.ones(states.shape[:2], device=states.device)
        # with keys and values from outside the mask begins with theirs, which have no states
        attention_mask = attention_mask[:, -states.shape[1] :]
        logits = self.classifier(self.dropout(pool(states, attention_mask, self.config.pooling)))
        loss = None if labels is None else self._loss(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As the heads of transformers have it for the kind of problem that the configuration names."""
        if self.config.problem_type == "regression":
            return nn.functional.mse_loss(logits.squeeze(), labels.squeeze().float())
        if self.config.problem_type == "multi_label_classification":
            return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        return nn.functional.cross_entropy(logits, labels)


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per row: states (rows, tokens, width) and mask (rows, tokens) to (rows, width)."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)
        return states[torch.arange(len(states), device=states.device), last]
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


# the Auto classes load a saved PooledClassifier by its model type
AutoConfig.register(PooledConfig.model_type, PooledConfig, exist_ok=True)
AutoModelForSequenceClassification.register(PooledConfig, PooledClassifier, exist_ok=True)
