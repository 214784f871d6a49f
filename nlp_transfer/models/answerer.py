"""The question-answering head for architectures that transformers has none for; registered with the Auto classes.

It imports nothing of this project but `headed`: it is loaded in the middle of the import of transformers' own Auto classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from nlp_transfer.models.headed import Headed


class AnswererConfig(PreTrainedConfig):
    """Configuration of an `Answerer`: the backbone's own."""

    model_type = "nlp_transfer_answerer"
    sub_configs_defaults: ClassVar = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="gemma")}

    backbone_config: dict | PreTrainedConfig | None = None


class Answerer(Headed):
    """Scores every token as the start and as the end of an answer, by its last state (Devlin et al. 2019)."""

    config_class = AnswererConfig
    qa_outputs: nn.Linear

    def __init__(self, config: AnswererConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config, backbone)
        self.begin("qa_outputs", 2, backbone)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **inputs: Any,
    ) -> QuestionAnsweringModelOutput:
        """Scores of starts and ends (rows, tokens) for token ids (rows, tokens); a loss too if the right ones are given."""
        states = self.states(input_ids, attention_mask, **inputs)
        starts, ends = self.qa_outputs(states).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            right = zip((starts, ends), (start_positions, end_positions), strict=True)
            first, second = (nn.functional.cross_entropy(logits.float(), tokens) for logits, tokens in right)
            loss = (first + second) / 2
        return QuestionAnsweringModelOutput(loss=loss, start_logits=starts.contiguous(), end_logits=ends.contiguous())


# the Auto classes load a saved Answerer by its model type
AutoConfig.register(AnswererConfig.model_type, AnswererConfig, exist_ok=True)
AutoModelForQuestionAnswering.register(AnswererConfig, Answerer, exist_ok=True)
