"""A model without its backbone: the head alone, reading what the backbone gave once and will always give."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from nlp_transfer.models.pooled import PooledClassifier, pool
from nlp_transfer.training.batch import Batch

Reading = Literal["cls", "last", "mean", "all"]
"""Which token vectors a head reads: one of them, their mean, or each."""


class Inseparable(Exception):
    """What never changes of a model and what trains cannot be run apart; says why."""


class StandIn(nn.Module):
    """Stands where the backbone stood: hands on the vectors that come in as `inputs_embeds` (rows, tokens, width).

    Where the backbone also gives a pooled vector, that one comes first in each row.
    """

    def __init__(self, gives_pooled: bool) -> None:
        super().__init__()
        self.gives_pooled = gives_pooled

    def forward(
        self,
        input_ids: Tensor | None,  # noqa: ARG002
        inputs_embeds: Tensor,
        **_: object,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """What the backbone would give."""
        if not self.gives_pooled:
            return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=inputs_embeds[:, 1:], pooler_output=inputs_embeds[:, 0]
        )


class HeadAlone:
    """The head of a model whose backbone never changes, and the vectors that it reads."""

    def __init__(self, model: PreTrainedModel, probe: Batch) -> None:
        """`probe`: a batch with texts of several lengths, by which it is found out what the head reads.

        Raises:
            Inseparable: where the model cannot be taken apart so: something in its backbone learns, or its head reads
                more than the backbone's last vectors.
        """
        backbone = model.base_model
        if backbone is model or any(parameter.requires_grad for parameter in backbone.parameters()):
            raise Inseparable("a part of the backbone learns")
        self.backbone = backbone
        with torch.inference_mode():
            self.gives_pooled = self._output(probe).get("pooler_output") is not None
        self.model: PreTrainedModel = copy.copy(model)
        self.model._modules = {**model._modules, model.base_model_prefix: StandIn(self.gives_pooled)}
        # any id but that of padding: heads that read from left to right look for the last token that is none
        self.token = int(model.config.get_text_config().pad_token_id == 0)
        self.reading: Reading = "all"
        self.reading = self._reading(probe)
        self._check(model, probe)

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the head reads of a batch: (rows, vectors, width), and which of these are no padding (rows, vectors)."""
        output, mask = self._output(batch), batch.inputs["attention_mask"]
        vectors: Any = output.last_hidden_state
        if self.reading != "all":
            vectors, mask = pool(vectors, mask, self.reading).unsqueeze(1), mask[:, :1]
        if self.gives_pooled:
            pooled: Any = output.pooler_output
            vectors = torch.cat([pooled.unsqueeze(1), vectors], dim=1)
            mask = torch.cat([mask[:, :1], mask], dim=1)
        return vectors.float(), mask.bool()

    def inputs(self, batch: Batch, vectors: Tensor) -> Batch:
        """A batch for the head alone: the same targets, and vectors (rows, vectors, width) where token ids stood."""
        inputs = dict(batch.inputs)
        if self.reading != "all":
            one = torch.ones(len(vectors), 1, dtype=torch.long, device=vectors.device)
            inputs = {"input_ids": one * self.token, "attention_mask": one}
        return Batch({**inputs, "inputs_embeds": vectors}, batch.targets)

    def _output(self, batch: Batch) -> BaseModelOutputWithPoolingAndCrossAttentions:
        return self.backbone(**batch.inputs)

    def _reading(self, probe: Batch) -> Reading:
        """Which vectors move the answer, by its gradient with respect to each."""
        if isinstance(self.model, PooledClassifier):
            return self.model.config.pooling
        with torch.no_grad():
            vectors, mask = self.vectors(probe)
        vectors.requires_grad_(True)
        with torch.enable_grad():
            answers = logits(self.model(**self.inputs(probe, vectors).inputs))
            # an answer that is a sum of all would be zero's gradient where its parts cancel
            weighted = (answers * torch.linspace(1, 2, answers.shape[-1], device=answers.device)).sum()
            (gradient,) = torch.autograd.grad(weighted, vectors, allow_unused=True)
        read = gradient.abs().sum(-1) > 0
        if self.gives_pooled:
            read, mask = read[:, 1:], mask[:, 1:]
        first = torch.zeros_like(mask)
        first[:, 0] = True
        if torch.equal(read, first) or (self.gives_pooled and not read.any()):
            return "cls"
        last = mask & (mask.cumsum(1) == mask.sum(1, keepdim=True))
        return "last" if torch.equal(read, last) else "all"

    def _check(self, model: PreTrainedModel, probe: Batch) -> None:
        """Hold the head alone against the whole model."""
        model.eval()
        self.model.eval()
        with torch.inference_mode():
            whole = logits(model(**probe.inputs))
            alone = logits(self.model(**self.inputs(probe, self.vectors(probe)[0]).inputs))
        if whole.shape != alone.shape or not torch.allclose(whole, alone, atol=1e-4):
            raise Inseparable("its head reads more of the backbone than the last vectors")


def logits(outputs: Any) -> Tensor:
    """All logits of an output, flat in one row per text or more."""
    found = [value for name, value in outputs.items() if "logits" in name]
    return torch.cat([value.flatten(1) for value in found], dim=1).float()
