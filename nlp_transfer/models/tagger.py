"""The token-classification head for architectures that transformers has none for; registered with the Auto classes.

It imports nothing of this project but `headed`: it is loaded in the middle of the import of transformers' own Auto classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import TokenClassifierOutput

from nlp_transfer.models.headed import Headed


class TaggerConfig(PreTrainedConfig):
    """Configuration of a `Tagger`: the backbone's own."""

    model_type = "nlp_transfer_tagger"
    sub_configs_defaults: ClassVar = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="opt")}

    backbone_config: dict | PreTrainedConfig | None = None
    classifier_dropout: float = 0.1


class Tagger(Headed):
    """Scores of every label for every token, by its last state."""

    config_class = TaggerConfig
    classifier: nn.Linear

    def __init__(self, config: TaggerConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config, backbone)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.begin("classifier", int(config.num_labels or 2), backbone)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> TokenClassifierOutput:
        """Logits (rows, tokens, labels) for token ids (rows, tokens); a loss too if labels (rows, tokens) are given, -100 for
        tokens that do not count."""
        states = self.states(input_ids, attention_mask, **inputs)
        logits = self.classifier(self.dropout(states))
        flat = logits.float().flatten(0, 1)
        loss = None if labels is None else nn.functional.cross_entropy(flat, labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


# the Auto classes load a saved Tagger by its model type
AutoConfig.register(TaggerConfig.model_type, TaggerConfig, exist_ok=True)
AutoModelForTokenClassification.register(TaggerConfig, Tagger, exist_ok=True)
