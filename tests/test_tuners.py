"""Tuners around a model: what is held in bf16, what is a head, and targets that miss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CamembertConfig,
    CamembertForSequenceClassification,
    T5Config,
    T5ForSequenceClassification,
)

from nlp_transfer import RequestError, fine_tune, methods, samples
from nlp_transfer.methods.lora import LoRA
from nlp_transfer.runs import Run
from nlp_transfer.tuners import head_modules, hold_frozen, linears
from tests.families import tiny

POOLER = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]


def tuned(tmp: Path, model: Path, name: str, method: str = "lora", **train: object) -> Run:
    return fine_tune(
        task="sentiment",
        data={"source": str(samples.path("sentiment")), "limit": 40},
        model=str(model),
        method=method,
        train={"max_steps": 5, "precision": "bf16", "dropout": 0.0, "learning_rate": 1e-2, **train},
        output=tmp / name,
        silent=True,
    )


@pytest.mark.parametrize("method", ["adapter", "ia3", "lora", "prefix", "prompt"])
def test_what_is_held_in_bf16_learns_the_same(method: str, tiny_bert: Path, tmp_path: Path) -> None:
    held, plain = (tuned(tmp_path, tiny_bert, frozen, method, frozen=frozen) for frozen in ("auto", "fp32"))
    assert [run.report["recipe"]["train"]["frozen"] for run in (held, plain)] == ["bf16", "fp32"]
    files = [(run.folder / "model" / "adapter_model.safetensors").read_bytes() for run in (held, plain)]
    assert files[0] == files[1]
    assert held.scores == plain.scores


@pytest.mark.parametrize(
    ("method", "train"),
    [("full", {}), ("lora", {"precision": "fp32"}), ({"name": "lora", "variant": "dora"}, {})],
)
def test_what_would_learn_otherwise_is_held_in_fp32(
    method: Any, train: dict[str, Any], tiny_bert: Path, tmp_path: Path
) -> None:
    assert tuned(tmp_path, tiny_bert, "run", method, **train).report["recipe"]["train"]["frozen"] == "fp32"


def test_only_frozen_linears_change_their_format() -> None:
    model = LoRA(rank=2).apply(tiny("bert"), ["classifier.weight", "classifier.bias"])
    hold_frozen(model, "bf16")
    half = {name for name, weight in model.named_parameters() if weight.dtype == torch.bfloat16}
    assert half
    assert all("base_layer" in name or "original_module" in name for name in half)
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if name in half)


def test_bf16_for_what_is_frozen_is_refused_where_it_would_change_results(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"train\.frozen is bf16 and train\.precision fp32"):
        tuned(tmp_path, tiny_bert, "run", frozen="bf16", precision="fp32")
    with pytest.raises(RequestError, match="save what learns alone"):
        hold_frozen(tiny("bert"), "bf16")


@pytest.mark.parametrize(
    ("family", "head", "expected"),
    [
        ("bert", ["classifier.weight", "classifier.bias"], ["classifier"]),
        (
            "bert",
            ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"],
            ["bert.pooler", "classifier"],
        ),
        ("gpt2", ["score.weight"], ["score"]),
    ],
)
def test_the_modules_of_a_head_are_as_large_as_they_can_be(family: str, head: list[str], expected: list[str]) -> None:
    assert head_modules(tiny(family), head) == expected


def test_a_head_in_the_middle_of_a_module_is_refused() -> None:
    with pytest.raises(RequestError, match="share a module"):
        head_modules(tiny("bert"), ["classifier.weight"])


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (("quarry",), r"quarry matches no linear.*query"),
        (("query", "vaule"), r"vaule matches no linear.*value"),
        ((r".*layer\.0\..*query",), r"matches nothing in the blocks 1 of bert\.encoder\.layer"),
        (("value", "layer.0.attention.self.query"), r"matches nothing in the blocks 1 of bert\.encoder\.layer"),
        ((r".*(query",), "no regular expression"),
    ],
)
def test_targets_that_miss_are_refused_with_what_there_is(targets: tuple[str, ...], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        LoRA(targets=targets).apply(tiny("bert"), ["classifier.weight", "classifier.bias"])


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_all_linear_is_every_linear_but_the_heads(family: str) -> None:
    model = tiny(family)
    head = [name for name, _ in model.named_parameters() if name.startswith(("classifier", "score"))]
    names = set(linears(model, head))
    assert names
    assert not names & {"classifier", "score"}
    assert len(LoRA().apply(model, head).base_model.targeted_module_names) == len(names)


def test_the_parts_of_one_block_are_no_stack_of_blocks() -> None:
    """T5 holds attention and feed-forward of a block in a list of two."""
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
    model = T5ForSequenceClassification(T5Config(**sizes, num_decoder_layers=2, decoder_start_token_id=0))
    tuned = LoRA(targets=("q", "v")).apply(
        model, [name for name, _ in model.named_parameters() if "classification" in name]
    )
    assert len(tuned.base_model.targeted_module_names) == 2 * (2 + 2 * 2)


@pytest.mark.parametrize("settings", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ()}])
def test_settings_that_no_model_could_have_are_refused(settings: dict) -> None:
    with pytest.raises(RequestError, match=rf"method\.{next(iter(settings))}"):
        LoRA(**settings)


def test_a_family_outside_the_table_of_architectures_has_what_needs_no_table() -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    head = [f"classifier.{part}" for part in ("dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias")]

    def camembert() -> torch.nn.Module:
        return CamembertForSequenceClassification(CamembertConfig(vocab_size=64, **config))

    for method in ("full", "head", "lora"):
        model = methods.find(method)().apply(camembert(), head)
        assert any(weight.requires_grad for weight in model.parameters())
    for method in ("freeze", "adapter"):
        with pytest.raises(RequestError, match=r"\"camembert\" are not known.*full, head and lora work without"):
            methods.find(method)().apply(camembert(), head)
