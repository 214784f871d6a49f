"""What our classes of models have in common: a head over any backbone, under a model type of ours.

Like them it imports nothing of this project: they are loaded in the middle of the import of transformers' own Auto classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel


class Headed(PreTrainedModel):
    """A head over any backbone, whose configuration is part of its own as `backbone_config`.

    Its model type is none of transformers', so that plain transformers refuses it loudly instead of misreading it; after
    `import nlp_transfer` the Auto classes load it.
    """

    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: Any, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        assert isinstance(config.backbone_config, PreTrainedConfig)
        self.backbone = backbone if backbone is not None else AutoModel.from_config(config.backbone_config)

    def begin(self, head: str, outputs: int, given: PreTrainedModel | None) -> None:
        """Put a linear head in its place.

        Args:
            head: its name.
            outputs: how many it gives for each vector.
            given: the backbone that was given, whose weights stay as they are; None where all begin anew.
        """
        config: Any = self.config
        linear = nn.Linear(config.backbone_config.get_text_config().hidden_size, outputs)
        setattr(self, head, linear)
        if given is None:
            self.post_init()
        else:
            linear.weight.data.normal_(0.0, 0.02)
            linear.bias.data.zero_()

    def states(self, input_ids: Tensor | None, attention_mask: Tensor | None, **inputs: Any) -> Tensor:
        """The backbone's last states (rows, tokens, width)."""
        states: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        return states
