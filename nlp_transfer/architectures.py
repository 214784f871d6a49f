"""Where the parts of a backbone are: one table of names by model type, the one place that looks inside backbones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from nlp_transfer.errors import RequestError, did_you_mean

Condition = Callable[[PreTrainedConfig], bool]


@dataclass(frozen=True)
class Architecture:
    """Names of the parts of one family: those of `embeddings` and `blocks` below the bare backbone, the rest below a block.

    A family is *post-norm* where each half of a block ends in a norm of its sum (BERT), *pre-norm* where a norm stands
    before each half and the sum goes on as it is (GPT-2).
    """

    embeddings: tuple[str, ...]
    """What stands between ids and first block, and what feeds all blocks, such as relative positions."""
    blocks: str
    """The blocks; `*` is every member of a list."""
    keys_values: tuple[str, ...]
    """The linears of attention's keys and values; one that computes queries as well where the family has no others."""
    attention_output: str
    """The linear that ends attention."""
    feed_forward_input: str
    """The first linear of the feed-forward: one of them where a gate stands beside it."""
    feed_forward_output: str
    """The linear that ends the feed-forward."""
    attention_norm: str
    feed_forward_norm: str
    """The norm that belongs to the feed-forward: after its sum (post-norm) or before it (pre-norm)."""
    post_norm: bool
    query: str | None = None
    """The linear of attention's queries, of a post-norm family in which it reads a block's states and nothing else."""
    attention_close: str | None = None
    """The module that adds up what attention found and the block's input, (rows, tokens, width) each, if one does."""
    first_token: bool = False
    """Whether transformers' classifier for this family reads the first token alone."""
    parallel_attention: bool = False
    """Attention and feed-forward read the same normed input, and one sum takes both."""
    shared_blocks: bool = False
    """The same block runs several times, so that layers cannot differ."""
    sometimes: Mapping[str, Condition] = field(default_factory=dict)
    """Further embeddings, and of which configurations they are part."""
    post_norm_where: Condition | None = None
    """Where the configuration says whether norms come after."""
    bypassed_where: Condition | None = None
    """Configurations that compute with the weights of the output linears past the linears themselves."""
    model_type: str = ""


_BERT = Architecture(
    embeddings=("embeddings",),
    blocks="encoder.layer.*",
    keys_values=("attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    feed_forward_input="intermediate.dense",
    feed_forward_output="output.dense",
    attention_norm="attention.output.LayerNorm",
    feed_forward_norm="output.LayerNorm",
    post_norm=True,
    query="attention.self.query",
    attention_close="attention.output",
    first_token=True,
)
_LLAMA = Architecture(
    embeddings=("embed_tokens",),
    blocks="layers.*",
    keys_values=("self_attn.k_proj", "self_attn.v_proj"),
    attention_output="self_attn.o_proj",
    feed_forward_input="mlp.gate_proj",
    feed_forward_output="mlp.down_proj",
    attention_norm="input_layernorm",
    feed_forward_norm="post_attention_layernorm",
    post_norm=False,
)
_GPT2 = Architecture(
    embeddings=("wte", "wpe", "drop"),
    blocks="h.*",
    keys_values=("attn.c_attn",),
    attention_output="attn.c_proj",
    feed_forward_input="mlp.c_fc",
    feed_forward_output="mlp.c_proj",
    attention_norm="ln_1",
    feed_forward_norm="ln_2",
    post_norm=False,
)

TABLE: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": replace(
        _BERT, sometimes={"embeddings_project": lambda config: config.embedding_size != config.hidden_size}
    ),
    "deberta-v2": replace(
        _BERT,
        keys_values=("attention.self.key_proj", "attention.self.value_proj"),
        query=None,  # it may read relative positions, too
        sometimes={
            "encoder.rel_embeddings": lambda config: config.relative_attention,
            "encoder.LayerNorm": lambda config: "layer_norm" in getattr(config, "norm_rel_ebd", "none").lower(),
            "encoder.conv": lambda config: getattr(config, "conv_kernel_size", 0) > 0,
        },
    ),
    "mpnet": replace(
        _BERT,
        embeddings=("embeddings", "encoder.relative_attention_bias"),
        keys_values=("attention.attn.k", "attention.attn.v"),
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        query="attention.attn.q",
        attention_close=None,
    ),
    "distilbert": Architecture(
        embeddings=("embeddings",),
        blocks="transformer.layer.*",
        keys_values=("attention.k_lin", "attention.v_lin"),
        attention_output="attention.out_lin",
        feed_forward_input="ffn.lin1",
        feed_forward_output="ffn.lin2",
        attention_norm="sa_layer_norm",
        feed_forward_norm="output_layer_norm",
        post_norm=True,
        query="attention.q_lin",
        first_token=True,
    ),
    "albert": Architecture(
        embeddings=("embeddings", "encoder.embedding_hidden_mapping_in"),
        blocks="encoder.albert_layer_groups.*.albert_layers.*",
        keys_values=("attention.key", "attention.value"),
        attention_output="attention.dense",
        feed_forward_input="ffn",
        feed_forward_output="ffn_output",
        attention_norm="attention.LayerNorm",
        feed_forward_norm="full_layer_layer_norm",
        post_norm=True,
        shared_blocks=True,
    ),
    "modernbert": Architecture(
        embeddings=("embeddings",),
        blocks="layers.*",
        keys_values=("attn.Wqkv",),
        attention_output="attn.Wo",
        feed_forward_input="mlp.Wi",
        feed_forward_output="mlp.Wo",
        attention_norm="attn_norm",
        feed_forward_norm="mlp_norm",
        post_norm=False,
    ),
    "gpt2": _GPT2,
    "gpt_neo": replace(
        _GPT2,
        keys_values=("attn.attention.k_proj", "attn.attention.v_proj"),
        attention_output="attn.attention.out_proj",
    ),
    "opt": Architecture(
        embeddings=("decoder.embed_tokens", "decoder.embed_positions"),
        sometimes={"decoder.project_in": lambda config: config.word_embed_proj_dim != config.hidden_size},
        blocks="decoder.layers.*",
        keys_values=("self_attn.k_proj", "self_attn.v_proj"),
        attention_output="self_attn.out_proj",
        feed_forward_input="fc1",
        feed_forward_output="fc2",
        attention_norm="self_attn_layer_norm",
        feed_forward_norm="final_layer_norm",
        post_norm=False,
        post_norm_where=lambda config: not config.do_layer_norm_before,
    ),
    "bloom": Architecture(
        embeddings=("word_embeddings", "word_embeddings_layernorm"),
        blocks="h.*",
        keys_values=("self_attention.query_key_value",),
        attention_output="self_attention.dense",
        feed_forward_input="mlp.dense_h_to_4h",
        feed_forward_output="mlp.dense_4h_to_h",
        attention_norm="input_layernorm",
        feed_forward_norm="post_attention_layernorm",
        post_norm=False,
        bypassed_where=lambda config: config.pretraining_tp > 1 and config.slow_but_exact,
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "phi": replace(
        _LLAMA,
        embeddings=("embed_tokens", "embed_dropout"),
        attention_output="self_attn.dense",
        feed_forward_input="mlp.fc1",
        feed_forward_output="mlp.fc2",
        feed_forward_norm="input_layernorm",
        parallel_attention=True,
    ),
}
"""Every family whose parts are known, by the `model_type` of its configuration."""


def body(model: nn.Module) -> PreTrainedModel:
    """The bare backbone inside a model: without head, pooled classifier or wrapper (PEFT, data parallel).

    Raises:
        RequestError: if there is no model of transformers inside.
    """
    inside: Any = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    if inside is None:
        raise RequestError(f"{type(model).__name__} has no model of transformers inside: expected a PreTrainedModel.")
    while inside.base_model is not inside:
        inside = inside.base_model
    return inside


def architecture_of(model: nn.Module) -> Architecture:
    """The names of the parts of a model's family, as this model's configuration has them; it may have a head or a wrapper.

    Raises:
        RequestError: for a family that is not in the table.
    """
    config = body(model).config
    kind = config.model_type
    if kind not in TABLE:
        raise RequestError(
            f'the parts of the architecture "{kind}" are not known. {did_you_mean(kind, TABLE)} '
            "The methods full, head and lora work without, but for settings that count blocks."
        )
    entry = TABLE[kind]
    return replace(
        entry,
        model_type=kind,
        embeddings=entry.embeddings + tuple(name for name, condition in entry.sometimes.items() if condition(config)),
        post_norm=entry.post_norm_where(config) if entry.post_norm_where else entry.post_norm,
    )


def embeddings(model: nn.Module) -> list[nn.Module]:
    """What stands between token ids and the first block, and what feeds all blocks (relative positions).

    With it frozen and the lowest k blocks frozen, the states (rows, tokens, width) above them are a function of the input.

    Raises:
        RequestError: for a family that is not in the table, or a model that lacks a part the table names.
    """
    inside = body(model)
    return [part(inside, name) for name in architecture_of(model).embeddings]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks from the bottom up, each once.

    ALBERT runs the same blocks over and over: it has as many here as there are different ones, usually one.

    Raises:
        RequestError: for a family that is not in the table, or a model that lacks a part the table names.
    """
    found: list[nn.Module] = [body(model)]
    for name in architecture_of(model).blocks.split(".*")[:-1]:
        found = [member for module in found for member in part(module, name.removeprefix(".")).children()]
    return found


def frozen_from_below(model: nn.Module) -> int:
    """How many blocks, from the bottom up, learn nothing; 0 where the embeddings learn.

    Raises:
        RequestError: for a family that is not in the table, or a model that lacks a part the table names.
    """

    def learns(module: nn.Module) -> bool:
        return any(parameter.requires_grad for parameter in module.parameters())

    if any(learns(module) for module in embeddings(model)):
        return 0
    stack = blocks(model)
    return next((number for number, block in enumerate(stack) if learns(block)), len(stack))


def part(module: nn.Module, name: str) -> nn.Module:
    """The module of a dotted name below another.

    Raises:
        RequestError: if there is none; a part that is missing is never passed over.
    """
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        raise RequestError(
            f"{type(module).__name__} has no part {name}, where the table of architectures expects one ({error}). "
            "Either the model is not what its model_type says, or this version of transformers names it otherwise."
        ) from error
