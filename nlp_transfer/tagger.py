"""The token-classification head for architectures that transformers has none for; registered with the Auto classes.

It imports nothing of this project: it is loaded in the middle of the import of transformers' own Auto classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import TokenClassifierOutput


class TaggerConfig(PreTrainedConfig):
    """Configuration of a `Tagger`: the backbone's own."""

    model_type = "nlp_transfer_tagger"
    sub_configs_defaults: ClassVar = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="opt")}

    backbone_config: dict | PreTrainedConfig | None = None
    classifier_dropout: float = 0.1


class Tagger(PreTrainedModel):
    """Scores of every label for every token, by its last state.

    It has a model type of its own, so that plain transformers refuses it loudly; after `import nlp_transfer` the Auto
    classes load it.
    """

    config_class = TaggerConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: TaggerConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        assert isinstance(config.backbone_config, PreTrainedConfig)
        self.backbone = backbone if backbone is not None else AutoModel.from_config(config.backbone_config)
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
    ) -> TokenClassifierOutput:
        """Logits (rows, tokens, labels) for token ids (rows, tokens); a loss too if labels (rows, tokens) are given, -100 for
        tokens that do not count."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        logits = self.classifier(self.dropout(states))
        flat = logits.float().flatten(0, 1)
        loss = None if labels is None else nn.functional.cross_entropy(flat, labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


# the Auto classes load a saved Tagger by its model type
AutoConfig.register(TaggerConfig.model_type, TaggerConfig, exist_ok=True)
AutoModelForTokenClassification.register(TaggerConfig, Tagger, exist_ok=True)
