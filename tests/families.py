"""Tiny configurations of every family in the table of architectures: two blocks, width 32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BloomConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
    set_seed,
)

VOCABULARY = 64
"""Ids 0 to 3 are special: padding is 1 for all."""

ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "pad_token_id": 1,
}
DECODER = {**ENCODER, "bos_token_id": 0, "eos_token_id": 2}
GROUPED = {**DECODER, "num_key_value_heads": 1, "head_dim": 16}

FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**ENCODER),
    "roberta": lambda: RobertaConfig(**ENCODER, type_vocab_size=1),
    "xlm-roberta": lambda: XLMRobertaConfig(**ENCODER, type_vocab_size=1),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=66,
        pad_token_id=1,
    ),
    "albert": lambda: AlbertConfig(**ENCODER, embedding_size=16),
    "electra": lambda: ElectraConfig(**ENCODER, embedding_size=16),
    "deberta-v2": lambda: DebertaV2Config(
        **ENCODER,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
    ),
    "mpnet": lambda: MPNetConfig(**ENCODER),
    "modernbert": lambda: ModernBertConfig(
        **DECODER, cls_token_id=0, sep_token_id=2, local_attention=8, global_attn_every_n_layers=2
    ),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=66,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    ),
    "gpt_neo": lambda: GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    ),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=64,
        max_position_embeddings=66,
        word_embed_proj_dim=32,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    ),
    "bloom": lambda: BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=2, pad_token_id=1
    ),
    "llama": lambda: LlamaConfig(**GROUPED),
    "mistral": lambda: MistralConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**DECODER, num_key_value_heads=1),
    "qwen3": lambda: Qwen3Config(**GROUPED),
    "gemma": lambda: GemmaConfig(**GROUPED),
    "phi": lambda: PhiConfig(**DECODER),
}
"""The configuration of a tiny model, by model type."""


def tiny(family: str, auto: Any = AutoModelForSequenceClassification, **settings: Any) -> PreTrainedModel:
    """A tiny model with random weights, always the same, that does not drop out: equal calls give equal outputs."""
    config = FAMILIES[family]()
    if "id2label" in settings:
        settings.pop("num_labels", None)  # it follows from the names
    for name, value in settings.items():
        setattr(config, name, value)
    set_seed(0)
    return auto.from_config(config).eval()


def batch() -> dict[str, Tensor]:
    """Four rows of ids (4, 9), the last two padded on the right."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, VOCABULARY, (4, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[2, 6:] = mask[3, 3:] = 0
    return {"input_ids": ids.where(mask.bool(), torch.tensor(1)), "attention_mask": mask}
