"""Forgetting: what a backbone knew before fine-tuning, and what is left of it after."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerBase

from nlp_transfer import samples, tasks
from nlp_transfer.architectures import body
from nlp_transfer.backbone import Backbone, is_decoder, output_layer
from nlp_transfer.comparison.baselines import BATCH, vectors
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.environment import processes
from nlp_transfer.errors import RequestError
from nlp_transfer.heads import load_with_head
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import write_json
from nlp_transfer.runs import Run
from nlp_transfer.training.batch import pad

PROBES = ("classification", "sentiment")
"""Samples on whose frozen features a logistic regression is trained."""

MASKED = 0.15
"""Share of the tokens that a masked language model has to guess (Devlin 2019)."""

IGNORED = -100
"""The target of a token that is not guessed."""

Figures = dict[str, float]


def measured(run: Run, cache: Path) -> dict[str, dict[str, float]]:
    """What a run's backbone knows before and after, and the change.

    `language_model_loss`: nats per token on 200 sentences of ours, where the backbone comes with its language-model head;
    what stands in the backbone (LoRA, adapters) counts with it, what stands before a text (prompts) does not.
    `probe_classification`, `probe_sentiment`: accuracy of a logistic regression on the mean of the backbone's last vectors,
    trained and judged on the shipped samples.

    Args:
        run: finished.
        cache: folder that keeps the figures of backbones as they are.
    """
    recipe = Recipe.read(run.folder / "recipe.yaml")
    backbone = Backbone.find(recipe.model, run.pin)
    before = _remembered(run, recipe, backbone, cache)
    after = _figures(body(run.model), run.tokenizer, backbone)
    return {
        name: {"before": value, "after": after[name], "change": after[name] - value} for name, value in before.items()
    }


def _remembered(run: Run, recipe: Recipe, backbone: Backbone, cache: Path) -> Figures:
    """The figures of the backbone as it is, computed once for all its runs."""
    defined = [backbone.location, recipe.model.revision, backbone.sha256, recipe.data.max_length]
    key = hashlib.sha256(json.dumps(defined).encode()).hexdigest()[:16]
    file = cache / f"{key}.json"
    if not file.is_file():
        untouched = load_with_head(backbone, *run.task.head(), recipe.head.pooling).model
        figures = _figures(body(untouched.to(processes().device)), run.tokenizer, backbone)
        cache.mkdir(parents=True, exist_ok=True)
        own = cache / f"{key}-{os.getpid()}.json"  # another process may write the same at this moment
        write_json(own, figures)
        own.replace(file)
    found: Figures = json.loads(file.read_text(encoding="utf-8"))
    return found


def _figures(model: Any, tokenizer: PreTrainedTokenizerBase, backbone: Backbone) -> Figures:
    """All figures of a bare backbone."""
    figures = {f"probe_{name}": _probe(name, model, tokenizer) for name in PROBES}
    loss = language_model_loss(model, tokenizer, backbone)
    return figures if loss is None else {"language_model_loss": loss, **figures}


def _probe(name: str, model: Any, tokenizer: PreTrainedTokenizerBase) -> float:
    """The accuracy on a sample's validation and test rows."""
    data = load(DataSettings(source=str(samples.path(name))), {}, tasks.find(name)(), seed=0)
    found = {
        split: (vectors(model, Features.of(rows.rows, data.task, tokenizer)), tasks.column(rows.rows, "label"))
        for split, rows in data.splits.items()
    }
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*found["train"])
    judged = [found[split] for split in ("validation", "test")]
    texts, labels = (np.concatenate(parts) for parts in zip(*judged, strict=True))
    return float(probe.score(texts, labels))


def language_model_loss(model: Any, tokenizer: PreTrainedTokenizerBase, backbone: Backbone) -> float | None:
    """Nats per token on the sentences of ours, of a bare backbone under the head that its checkpoint brings; None without one.

    A decoder predicts every token but the first; an encoder 15 % of them, always the same.
    """
    decoder = is_decoder(backbone.config)
    if not decoder and tokenizer.mask_token_id is None:
        return None
    try:
        loaded = backbone.model(AutoModelForCausalLM if decoder else AutoModelForMaskedLM, {})
    except RequestError:
        return None
    whole: Any = loaded.model
    if set(loaded.head) - set(output_layer(whole, whole.config.num_labels)):
        return None
    tied = whole.get_output_embeddings().weight is whole.get_input_embeddings().weight
    setattr(whole, whole.base_model_prefix, model)
    if tied:
        whole.get_output_embeddings().weight = whole.get_input_embeddings().weight
    whole.to(processes().device).eval()
    ids, mask = pad(tokenizer(sentences(), truncation=True)["input_ids"], tokenizer.pad_token_id or 0)
    targets = _next(ids, mask) if decoder else _hidden(ids, mask, tokenizer)
    summed = 0.0
    for start in range(0, len(ids), BATCH):
        part = slice(start, start + BATCH)
        with torch.inference_mode():
            logits = whole(input_ids=ids[part].to(whole.device), attention_mask=mask[part].to(whole.device)).logits
        flat = logits.float().flatten(0, 1).cpu()
        summed += float(torch.nn.functional.cross_entropy(flat, targets[part].flatten(), reduction="sum"))
    return summed / int((targets != IGNORED).sum())


def _next(ids: Tensor, mask: Tensor) -> Tensor:
    """Of every token the one after it."""
    targets = torch.full_like(ids, IGNORED)
    targets[:, :-1] = torch.where(mask[:, 1:] == 1, ids[:, 1:], IGNORED)
    return targets


def _hidden(ids: Tensor, mask: Tensor, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """The tokens that are hidden in `ids`, in place, at least one of each sentence."""
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    draws = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0))
    draws[special | (mask == 0)] = 2.0
    chosen = (draws < MASKED) | ((draws == draws.min(1, keepdim=True).values) & (draws < 1))
    targets = torch.where(chosen, ids, IGNORED)
    ids[chosen] = int(tokenizer.mask_token_id)
    return targets


def sentences() -> list[str]:
    """Two hundred sentences about everything and nothing, written for this project."""
    return (samples.HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
