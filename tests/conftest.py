"""Tiny models built from configurations, and the real data where it is at hand."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
    set_seed,
)

from nlp_transfer import samples
from nlp_transfer.comparison import drawing
from nlp_transfer.data.files import read
from nlp_transfer.evaluation import intervals

ROOT = Path(__file__).parent.parent

# nothing is taken from a cache of whoever runs the tests, nor left there; tests of the store have one of their own
os.environ["NLP_TRANSFER_CACHE"] = "off"

# what imports bring stays: to look through it for garbage, now and between tests, takes a quarter of their time
gc.disable()


# hundreds of runs are judged here, and half of their time went into how sure their scores are; tests of that draw as many as
# they need
DRAWS = 100
intervals.DRAWS = DRAWS
drawing.draw.__defaults__ = (DRAWS, 0)


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.enable()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


SHARED = Path(os.environ.get("NLP_TRANSFER_SHARED", ROOT.parent / "shared"))


def shared(path: str) -> Path:
    """A file or folder of the shared data; the test is skipped, visibly, where there is none."""
    if not (SHARED / path).exists():
        pytest.skip(f"{path} is not at hand: it lies beside the repository, or where NLP_TRANSFER_SHARED says")
    return SHARED / path


def _texts() -> list[str]:
    names = ("classification", "sentiment")
    return [text for name in names for text in read(samples.path(name) / "train.csv").columns["text"]]


def _save(folder: Path, tokenizer: PreTrainedTokenizerFast, auto: type, config: object) -> Path:
    set_seed(0)
    auto.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two small blocks with a word-piece tokenizer of its own."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(_texts(), trainers.WordPieceTrainer(vocab_size=600, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{
            name: f"[{name[:-6].upper()}]"
            for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        },
        model_max_length=64,
    )
    config = BertConfig(
        vocab_size=len(wrapped),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    return _save(tmp_path_factory.mktemp("tiny-bert"), wrapped, AutoModel, config)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two small blocks with a byte-level tokenizer of its own, which has no padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>", model_max_length=64
    )
    config = GPT2Config(
        vocab_size=len(wrapped), n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    return _save(tmp_path_factory.mktemp("tiny-gpt2"), wrapped, AutoModelForCausalLM, config)


@pytest.fixture(scope="session")
def tiny_gpt2_begins(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with a tokenizer that puts a token before every text, as Gemma's and Llama's do, before each of two too."""
    folder = tmp_path_factory.mktemp("begins") / "tiny-gpt2"
    shutil.copytree(tiny_gpt2, folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["tiny_bert", "tiny_gpt2"])
def tiny(request: pytest.FixtureRequest) -> Path:
    """Both kinds of backbone, an encoder and a decoder."""
    return request.getfixturevalue(request.param)
