"""Prefix and prompt tuning: what stands before the text is read by all of it, and disturbs nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from transformers import AutoModel

from nlp_transfer import RequestError, fine_tune, samples
from nlp_transfer.methods import Method
from nlp_transfer.methods.prefix import Prefix
from nlp_transfer.methods.prompt import Prompt
from nlp_transfer.models.pooled import PooledClassifier, PooledConfig
from nlp_transfer.training.settings import TrainSettings
from tests.families import batch, tiny


def pooled(family: str, pooling: str) -> PooledClassifier:
    base = tiny(family, AutoModel)
    attention = {"attn_implementation": base.config._attn_implementation}
    config = PooledConfig(backbone_config=base.config, pooling=pooling, num_labels=3, **attention)
    return PooledClassifier(config, base).eval()


def head(model: torch.nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters() if name.startswith(("classifier", "score"))]


def tuned(method: Method, model: torch.nn.Module) -> Any:
    torch.manual_seed(0)
    made: Any = method.apply(model, head(model))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "prompt_encoder" in name:
                parameter.normal_()
    return made.eval()


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "gpt2", "opt", "bloom", "llama", "qwen3"])
@pytest.mark.parametrize(("cls", "pooling"), [(Prefix, "own"), (Prefix, "mean"), (Prompt, "mean"), (Prompt, "last")])
def test_padding_changes_nothing_and_the_prompt_does(cls: type[Method], pooling: str, family: str) -> None:
    plain = tiny(family, num_labels=3) if pooling == "own" else pooled(family, pooling)
    model = tuned(cls(length=3), copy.deepcopy(plain))
    rows = batch()
    with torch.no_grad():
        together = model(**rows).logits
        assert not torch.allclose(together, plain(**rows).logits, atol=1e-4), "the text must read it"
        for i, length in enumerate(rows["attention_mask"].sum(1)):
            alone = {name: values[i : i + 1, :length] for name, values in rows.items()}
            torch.testing.assert_close(model(**alone).logits, together[i : i + 1], atol=1e-5, rtol=1e-4)


def test_a_prefix_gives_what_peft_gives_where_it_knows_the_head() -> None:
    ours = tuned(Prefix(length=3), tiny("bert", num_labels=3))
    config = PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3, modules_to_save=["classifier"])
    theirs = get_peft_model(tiny("bert", num_labels=3), config).eval()
    theirs.prompt_encoder.load_state_dict(ours.prompt_encoder.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(**batch()).logits, theirs(**batch()).logits)


def test_a_prefix_begins_near_the_backbone() -> None:
    plain = tiny("bert", num_labels=3)
    model = Prefix(length=3).apply(copy.deepcopy(plain), head(plain)).eval()
    vectors = model.prompt_encoder["default"].embedding.weight
    assert 0.01 < float(vectors.detach().std()) < 0.03
    assert not torch.equal(vectors[0], vectors[1]), "equal ones would stay equal"


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_the_text_leaves_room_for_it(method: str, tiny_bert: Path, tmp_path: Path) -> None:
    rows: dict[str, Any] = {"source": str(samples.path("sentiment")), "limit": 60}
    common = {"task": "sentiment", "model": str(tiny_bert), "train": {"max_steps": 2}, "silent": True}
    longest = fine_tune(**common, data=rows, output=tmp_path / "plain").report["recipe"]["data"]["max_length"]
    run = fine_tune(**common, method={"name": method, "length": 5}, data=rows, output=tmp_path / "run")
    assert run.report["recipe"]["data"]["max_length"] == longest - 5
    assert run.predict(["word " * 500])[0].label in run.task.classes
    with pytest.raises(
        RequestError, match=rf"data.max_length is {longest}, .* at most {longest} tokens, 5 of them before"
    ):
        fine_tune(**common, method={"name": method, "length": 5}, data={**rows, "max_length": longest})
    with pytest.raises(RequestError, match=rf"at most {longest} tokens, {longest} of them before the text"):
        fine_tune(**common, method={"name": method, "length": longest}, data=rows)


def test_auto_pooling_never_reads_a_prompt(tiny_bert: Path, tiny_gpt2: Path, tmp_path: Path) -> None:
    for model, expected in ((tiny_bert, "mean"), (tiny_gpt2, "last")):
        run = fine_tune(
            task="sentiment", model=str(model), method="prompt", data={"source": str(samples.path("sentiment")), "limit": 60},
            train={"max_steps": 1}, output=tmp_path / expected, silent=True,
        )  # fmt: skip
        assert run.report["recipe"]["head"]["pooling"] == expected


@pytest.mark.parametrize(
    ("method", "model", "message"),
    [
        (Prompt(), lambda: tiny("bert"), r"BertForSequenceClassification finds .* --head.pooling mean or last"),
        (Prompt(), lambda: pooled("bert", "cls"), r"would read the first vector of the prompt"),
        (Prefix(), lambda: tiny("distilbert"), r"distilbert takes no keys and values .* use prompt, lora or adapter"),
    ],
)
def test_what_cannot_work_is_refused_with_what_can(method: Method, model: Any, message: str) -> None:
    made = model()
    with pytest.raises(RequestError, match=message):
        method.apply(made, head(made))


def test_a_prefix_and_gradient_checkpointing_exclude_each_other() -> None:
    model = tiny("bert")
    with pytest.raises(RequestError, match=r"train.gradient_checkpointing takes away"):
        Prefix().parameter_groups(model, head(model), TrainSettings(gradient_checkpointing=True, learning_rate=1.0))


@pytest.mark.parametrize("method", [Prefix, Prompt])
def test_a_length_of_nothing_is_refused(method: type) -> None:
    with pytest.raises(RequestError, match=r"method.length is 0"):
        method(length=0)
