"""What a backbone knew before, and what is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2LMHeadModel,
    set_seed,
)

from nlp_transfer import fine_tune, samples
from nlp_transfer.architectures import body
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.comparison import forgetting
from nlp_transfer.comparison.forgetting import language_model_loss, measured


def loss_of(model: Any, folder: Path) -> float | None:
    backbone = Backbone.find(ModelSettings(str(folder)))
    return language_model_loss(model, backbone.tokenizer(), backbone)


def test_the_sentences_are_two_hundred_and_ours_alone() -> None:
    sentences = forgetting.sentences()
    assert len(sentences) == len(set(sentences)) == 200
    assert all(sentence.strip() == sentence and sentence.endswith(".") for sentence in sentences)


def test_of_a_decoder_the_loss_is_that_of_transformers(tiny_gpt2: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_gpt2).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    summed, tokens = 0.0, 0
    for sentence in forgetting.sentences():
        ids = tokenizer(sentence, return_tensors="pt", truncation=True)["input_ids"]
        with torch.inference_mode():
            summed += float(plain(ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert loss_of(AutoModel.from_pretrained(tiny_gpt2), tiny_gpt2) == pytest.approx(summed / tokens, abs=1e-4)


@pytest.fixture
def bert_with_head(tiny_bert: Path, tmp_path: Path) -> Path:
    set_seed(0)
    BertForMaskedLM(BertConfig.from_pretrained(tiny_bert)).save_pretrained(tmp_path / "masked")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "masked")
    return tmp_path / "masked"


def test_of_an_encoder_the_same_tokens_are_guessed_each_time(bert_with_head: Path) -> None:
    model = BertForMaskedLM.from_pretrained(bert_with_head).bert
    first = loss_of(model, bert_with_head)
    assert first == loss_of(model, bert_with_head)
    # random weights know nothing of 600 tokens
    assert first == pytest.approx(6.4, abs=0.5)


def test_a_checkpoint_without_its_head_has_no_loss(tiny_bert: Path) -> None:
    assert loss_of(AutoModel.from_pretrained(tiny_bert), tiny_bert) is None


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs on one backbone find what it knew before."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("method", ["full", "lora", "adapter", "head"])
def test_what_stands_in_the_backbone_counts_with_it(method: str, tiny_gpt2: Path, tmp_path: Path, cache: Path) -> None:
    run = fine_tune(
        task="sentiment",
        data={"source": str(samples.path("sentiment")), "limit": 32},
        model=str(tiny_gpt2),
        method=method,
        train={"max_steps": 12, "learning_rate": 3e-2},
        output=tmp_path / "run",
        silent=True,
    )
    found = measured(run, cache)
    loss = found["language_model_loss"]
    assert found.keys() == {"language_model_loss", "probe_classification", "probe_sentiment"}
    if method == "head":
        assert {figures["change"] for figures in found.values()} == {0.0}
    else:
        assert abs(loss["change"]) > 1e-4  # rounding in fp32 is about 1e-6
    if method == "full":
        # the head is tied to the embeddings, which have learned too
        whole = GPT2LMHeadModel.from_pretrained(tiny_gpt2)
        whole.transformer = body(run.model)
        whole.lm_head.weight = whole.transformer.wte.weight
        ids = run.tokenizer(forgetting.sentences()[0], return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            assert torch.isfinite(whole(ids, labels=ids).loss)
    cached = list(cache.iterdir())
    assert measured(run, cache) == found
    assert list(cache.iterdir()) == cached
    assert len(cached) == 1


def test_the_probes_know_what_a_backbone_says_of_texts(tiny_bert: Path) -> None:
    model = AutoModel.from_pretrained(tiny_bert)
    tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer()
    knows = forgetting._probe("classification", model, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert knows > forgetting._probe("classification", model, tokenizer) == pytest.approx(1 / 6, abs=0.05)
