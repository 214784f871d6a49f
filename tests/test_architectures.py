"""The table of architectures names what the models of 19 families have, and says so where it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DebertaV2Config,
    OPTConfig,
    T5Config,
    T5Model,
)

from nlp_transfer import architectures, heads
from nlp_transfer.architectures import architecture_of, blocks, body, embeddings, part
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.errors import RequestError
from tests.families import FAMILIES, batch, tiny

HEADS = (AutoModel, AutoModelForQuestionAnswering, AutoModelForTokenClassification)
NO_HEAD = {
    ("opt", AutoModelForTokenClassification),
    ("gemma", AutoModelForQuestionAnswering),
    ("phi", AutoModelForQuestionAnswering),
}
"""What transformers itself does not have."""


def test_the_table_and_the_tiny_models_are_the_same_families() -> None:
    assert len(FAMILIES) == 19
    assert FAMILIES.keys() == architectures.TABLE.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_is_there(family: str) -> None:
    model = tiny(family)
    architecture = architecture_of(model)
    assert architecture.model_type == family
    assert len(blocks(model)) == (1 if family == "albert" else 2)
    for block in blocks(model):
        for name in (
            "attention_output",
            "feed_forward_input",
            "feed_forward_output",
            "attention_norm",
            "feed_forward_norm",
        ):
            assert isinstance(part(block, getattr(architecture, name)), nn.Module)
        assert part(block, architecture.feed_forward_norm).weight.shape == (32,)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_and_blocks_are_all_but_the_last_norm_and_the_pooler(family: str) -> None:
    model = tiny(family, AutoModel)
    covered = {id(weight) for module in [*embeddings(model), *blocks(model)] for weight in module.parameters()}
    rest = {name.rsplit(".", 1)[0] for name, weight in model.named_parameters() if id(weight) not in covered}
    assert rest <= {
        "pooler",
        "pooler.dense",
        "norm",
        "final_norm",
        "ln_f",
        "decoder.final_layer_norm",
        "final_layernorm",
    }


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "albert"])
def test_what_lies_below_a_block_decides_its_input(family: str) -> None:
    """With embeddings and the first block at rest, the second block's input does not change, whatever the rest learns."""
    model = tiny(family)
    seen: list[torch.Tensor] = []
    blocks(model)[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(**batch())
    still = {id(weight) for module in [*embeddings(model), blocks(model)[0]] for weight in module.parameters()}
    with torch.no_grad():
        for weight in model.parameters():
            if id(weight) not in still:
                weight.add_(1.0)
    model(**batch())
    assert torch.equal(*seen)


@pytest.mark.parametrize(
    ("family", "auto"), [(family, auto) for family in FAMILIES for auto in HEADS if (family, auto) not in NO_HEAD]
)
def test_every_head_has_the_same_backbone(family: str, auto: type) -> None:
    model = tiny(family, auto)
    assert body(model).config.model_type == family
    assert [type(block) for block in blocks(model)] == [type(block) for block in blocks(tiny(family))]


def test_a_pooled_classifier_and_wrappers_are_looked_through(tiny_bert: Path) -> None:
    backbone = Backbone.find(ModelSettings(name=str(tiny_bert)))
    model = heads.load_with_head(backbone, AutoModelForSequenceClassification, {"num_labels": 3}, "mean").model
    assert isinstance(model, heads.PooledClassifier)
    found = blocks(model)
    assert found[0] is model.backbone.encoder.layer[0]
    assert architecture_of(nn.DataParallel(model)).model_type == "bert"
    wrapped = get_peft_model(model, LoraConfig(target_modules=["query"]))
    assert [id(block) for block in blocks(wrapped)] == [id(block) for block in found]
    assert embeddings(wrapped) == [model.backbone.embeddings]


def test_the_configuration_decides_what_is_there() -> None:
    assert architecture_of(tiny("opt")).post_norm is False
    assert architecture_of(tiny("opt", do_layer_norm_before=False)).post_norm is True
    assert "decoder.project_in" in architecture_of(tiny("opt", word_embed_proj_dim=16)).embeddings
    assert len(embeddings(tiny("opt", word_embed_proj_dim=16))) == 3
    assert len(embeddings(tiny("electra"))) == 2
    assert len(embeddings(tiny("electra", embedding_size=32))) == 1
    assert len(embeddings(tiny("deberta-v2"))) == 3
    assert len(embeddings(tiny("deberta-v2", conv_kernel_size=3, conv_act="gelu"))) == 4
    assert (
        len(embeddings(tiny("deberta-v2", relative_attention=False, norm_rel_ebd="none", position_biased_input=True)))
        == 1
    )
    assert len(blocks(tiny("albert", num_hidden_groups=2, inner_group_num=2))) == 4
    assert OPTConfig().do_layer_norm_before
    assert not hasattr(DebertaV2Config(), "conv_kernel_size")


def test_an_unknown_family_is_named_with_what_works() -> None:
    config = T5Config(vocab_size=32, d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2)
    with pytest.raises(RequestError, match=r'"t5" are not known.*bert.*full, head and lora work without') as caught:
        architecture_of(T5Model(config))
    assert "modernbert" in str(caught.value)
    for function in (blocks, embeddings):
        with pytest.raises(RequestError, match="t5"):
            function(T5Model(config))


def test_a_missing_part_is_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("bert")
    wrong = replace(architectures.TABLE["bert"], embeddings=("embeddings", "projection"), blocks="encoder.layers.*")
    monkeypatch.setitem(architectures.TABLE, "bert", wrong)
    with pytest.raises(RequestError, match="BertModel has no part projection"):
        embeddings(model)
    with pytest.raises(RequestError, match=r"BertModel has no part encoder\.layers"):
        blocks(model)


def test_what_is_no_model_of_transformers_is_refused() -> None:
    with pytest.raises(RequestError, match="Linear has no model of transformers inside"):
        blocks(nn.Linear(2, 2))
