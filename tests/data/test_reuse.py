"""Stored activations and encoded rows are reused by later runs, and computed anew where anything they depend on is another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import set_seed

from nlp_transfer import fine_tune, methods, rows, samples
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data import encoding, identity, store, vectors
from nlp_transfer.data.activations import Once, StoredFeatures
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.data.store import Store
from nlp_transfer.heads import load_with_head
from nlp_transfer.scratch import CACHE
from nlp_transfer.tasks.classification import Classification
from tests.matrix import backbones

FREEZE = {"method": "freeze", "lowest": 1}
LORA = {"method": "lora", "layers": (1,)}
ADAPTER = {"method": "adapter", "layers": (1,), "bottleneck_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return backbones(tmp_path_factory.mktemp("backbones"), ["bert"])["bert"]


@dataclass
class Case:
    """All that stored activations depend on, and some on which they do not."""

    folder: Path
    method: dict[str, Any] = field(default_factory=lambda: dict(FREEZE))
    task: Classification = field(default_factory=Classification)
    pooling: str = "mean"
    dropout: float = 0.2
    max_length: int = 48
    rows: int = 24
    labels: int = 0
    seed: int = 1
    half: bool = False
    gigabytes: float = 1.0
    autocast: Callable[[], Any] = nullcontext
    change_model: Callable[[Any], None] = lambda _: None
    change_tokenizer: Callable[[Any], None] = lambda _: None

    def run(self, kept: Store | None, work: Path) -> tuple[dict[str, Any], list[str]]:
        """The stored features of a run, and what it said."""
        data = load(DataSettings(str(samples.path("classification"))), {}, self.task, seed=0)
        backbone = Backbone.find(ModelSettings(str(self.folder)))
        tokenizer = backbone.tokenizer(self.max_length)
        self.change_tokenizer(tokenizer)
        settings = dict(self.method)
        method = methods.find(settings.pop("method"))(**settings)
        set_seed(self.seed)
        loaded = load_with_head(backbone, *data.task.head(), self.pooling, self.dropout)
        model = method.apply(loaded.model, loaded.head)
        self.change_model(model)
        rows = data.splits["train"].rows
        turned = np.roll(np.arange(len(rows)), self.labels)
        labels = rows.select(turned)["label"][:]
        rows = Dataset.from_dict({"text": rows["text"][:], "label": labels, "place": rows["place"][:]})
        features = {"train": Features.of(rows.select(range(self.rows)), data.task, tokenizer)}
        said: list[str] = []
        once = Once(self.autocast, work, gigabytes=self.gigabytes, half=self.half, store=kept)
        return once.through(model, features, method.frozen_blocks(model), said.append)[1], said


def bfloat() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


def lowest(model: Any) -> Any:
    return model.backbone.encoder.layer[0]


@torch.no_grad()
def another_block(model: Any) -> None:
    lowest(model).output.dense.bias[3] += 1e-6


@torch.no_grad()
def another_embedding(model: Any) -> None:
    model.backbone.embeddings.word_embeddings.weight[7, 3] += 1e-6


@torch.no_grad()
def another_block_above(model: Any) -> None:
    model.backbone.encoder.layer[1].output.dense.bias += 1


def another_setting(model: Any) -> None:
    model.backbone.config.layer_norm_eps = 1e-6


def another_attention(model: Any) -> None:
    model.set_attn_implementation("eager")


def shorter_numbers(model: Any) -> None:
    lowest(model).to(torch.bfloat16).float()


def another_padding(tokenizer: Any) -> None:
    tokenizer.pad_token = "[UNK]"


def another_word(tokenizer: Any) -> None:
    tokenizer.add_tokens(["the"])


OTHERS: dict[str, dict[str, Any]] = {
    "a weight of a block": {"change_model": another_block},
    "a weight of the embeddings": {"change_model": another_embedding},
    "weights held shorter": {"change_model": shorter_numbers},
    "a setting of the architecture": {"change_model": another_setting},
    "the attention's implementation": {"change_model": another_attention},
    "how many blocks": {"method": {"method": "freeze", "lowest": 2}},
    "the whole backbone": {"method": {"method": "head"}},
    "what the head reads": {"method": {"method": "head"}, "pooling": "last"},
    "the limit of tokens": {"max_length": 24},
    "which rows": {"rows": 23},
    "the tokenizer": {"change_tokenizer": another_word},
    "the padding": {"change_tokenizer": another_padding},
    "windows": {"task": Classification(long_texts="windows", stride=4), "max_length": 24},
    "the end of long texts": {"task": Classification(long_texts="head_and_tail"), "max_length": 24},
    "the precision of sums": {"autocast": bfloat},
    "the precision of states": {"half": True},
}

SAME: dict[str, dict[str, Any]] = {
    "the seed": {"seed": 2},
    "the dropout": {"dropout": 0.0},
    "a block above": {"change_model": another_block_above},
    "the head's pooling": {"pooling": "last"},
    "the labels": {"labels": 7},
    "a method that learns as far down": {"method": {"method": "lora", "layers": (1,)}},
}


@pytest.fixture(scope="module")
def kept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A cache that a run has filled, and what it put there."""
    cache = tmp_path_factory.mktemp("cache")
    features, said = Case(folder).run(Store(cache), cache)
    assert said == [said[0]]
    assert said[0].startswith("the lowest block ran once over 24 rows")
    assert features["train"].reused is None
    return cache, features["train"].vectors.values


@pytest.mark.parametrize("other", [None, *SAME])
def test_a_later_run_reuses_what_does_not_depend_on_what_changed(
    other: str | None, folder: Path, kept: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Once, "_passes", lambda *_: pytest.fail("computed again"))
    features, said = Case(folder, **(SAME[other] if other else {})).run(Store(kept[0]), tmp_path)
    assert isinstance(features["train"], StoredFeatures)
    np.testing.assert_array_equal(features["train"].vectors.values, kept[1])
    assert said == [said[0]]
    assert said[0].startswith("reused: the lowest block ran over 24 rows in an earlier run, in ")


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_it_depends_on_makes_it_anew(
    other: str, folder: Path, kept: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    case = replace(Case(folder), **OTHERS[other])
    cache = Store(kept[0])
    features, said = case.run(cache, tmp_path)
    assert features["train"].reused is None
    assert "ran once over" in said[0]
    # it is kept beside the first
    assert case.run(cache, tmp_path)[0]["train"].reused is not None
    assert Case(folder).run(cache, tmp_path)[0]["train"].reused is not None


@pytest.mark.parametrize("other", ["code", "threads", "format"])
def test_another_version_of_the_code_or_another_number_of_threads_makes_it_anew(
    other: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Case(folder).run(Store(tmp_path), tmp_path)
    if other == "code":
        monkeypatch.setattr(identity, "code", lambda: "another")
    elif other == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 999)
    else:
        monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    assert Case(folder).run(Store(tmp_path), tmp_path)[0]["train"].reused is None
    assert Case(folder).run(Store(tmp_path), tmp_path)[0]["train"].reused is not None


def test_what_is_mapped_from_the_store_is_what_was_computed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Case(folder, half=True).run(None, tmp_path)[0]["train"]
    monkeypatch.setattr(vectors, "LARGE", 100)
    for _ in range(2):
        mapped = Case(folder, half=True).run(Store(tmp_path / "cache"), tmp_path)[0]["train"]
        assert isinstance(mapped.vectors.values, np.memmap)
        indices = np.array([3, 0, 5])
        assert torch.equal(mapped.vectors.padded(indices), plain.vectors.padded(indices))


def test_what_is_too_large_for_the_store_is_kept_for_the_run(folder: Path, tmp_path: Path) -> None:
    features, said = Case(folder).run(Store(tmp_path / "cache", gigabytes=1e-6), tmp_path)
    assert features["train"].reused is None
    assert said[0].startswith("what is computed once is kept for this run alone: it would take 0.00 GiB")
    assert said[1].startswith("the lowest block ran once")
    assert Store(tmp_path / "cache").used == 0


def test_what_goes_while_it_is_looked_for_is_computed_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, cache = Case(folder), Store(tmp_path / "cache")
    expected = case.run(cache, tmp_path)[0]["train"].vectors.values
    find = Store.find

    def gone(self: Store, key: str) -> Any:
        found = find(self, key)
        if found:
            shutil.rmtree(found.path)  # as another process that makes room does it
        return found

    monkeypatch.setattr(Store, "find", gone)
    features, said = case.run(cache, tmp_path)
    assert features["train"].reused is None
    assert "ran once over" in said[0]
    np.testing.assert_array_equal(features["train"].vectors.values, expected)


def test_code_that_stands_in_no_file_could_be_any(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = identity.code_of
    monkeypatch.setattr(identity, "code_of", lambda kind: None if "BertLayer" in kind.__name__ else known(kind))
    cache = Store(tmp_path / "cache")
    for _ in range(2):
        assert Case(folder).run(cache, tmp_path)[0]["train"].reused is None
    assert cache.used == 0


def test_what_may_not_be_kept_is_not_reused_either(folder: Path, kept: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    case = Case(folder, gigabytes=0.0)
    features, said = case.run(Store(kept[0]), tmp_path)
    assert not isinstance(features["train"], StoredFeatures)
    assert "train.store_gigabytes is 0" in said[0]


# encoded rows


def test_rows_are_encoded_once_for_all_processes_and_anew_for_any_change(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Counting(Classification):
        """Classification that tells when it encodes."""

        def encode(self, rows: Any, tokenizer: Any) -> Any:
            calls.append(len(rows["text"]))
            return super().encode(rows, tokenizer)

    def encoded(text: str = "a text", length: int = 16, token: str | None = None, **settings: Any) -> Dataset:
        encoding._remembered.clear()  # as in a process that has just begun
        tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(length)
        if token:
            tokenizer.add_tokens([token])
        rows = Dataset.from_dict({"text": [text, "b"] * 2, "label": ["a", "b"] * 2, "place": [len(calls) + 1] * 4})
        task = Counting(classes=("a", "b"), **settings)
        return Features.of(rows, task, tokenizer, Store(tmp_path)).columns

    monkeypatch.setattr(encoding, "SMALL", 0)
    first = encoded()
    again = encoded()
    assert calls == [4]
    assert again.to_dict() == first.to_dict()
    assert again.features == first.features
    assert rows._maps  # mapped, not held
    others: list[dict[str, Any]] = [
        {"text": "another text"},
        {"length": 8},
        {"token": "text"},
        {"long_texts": "windows", "stride": 4},
        {"long_texts": "head_and_tail", "head_share": 0.5},
    ]
    for number, other in enumerate(others, start=2):
        encoded(**other)
        assert calls == [4] * number
        encoded(**other)
        assert calls == [4] * number
    encoded()
    assert calls == [4] * (len(others) + 1)
    monkeypatch.setattr(identity, "code", lambda: "another")
    encoded()
    assert calls == [4] * (len(others) + 2)


def test_a_full_disk_costs_only_what_would_have_been_kept(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(16)
    rows = Dataset.from_dict({"text": ["a full disk"] * 3, "label": ["a", "b", "a"]})
    anew, said = encoding.anew, []

    def full(*given: Any) -> Dataset:
        if len(given) == 4:
            raise OSError(28, "No space left on device")
        return anew(*given)

    monkeypatch.setattr(encoding, "SMALL", 0)
    monkeypatch.setattr(encoding, "anew", full)
    features = Features.of(rows, Classification(classes=("a", "b")), tokenizer, Store(tmp_path, say=said.append))
    assert len(features) == 3
    assert said == ["encoded rows are kept for this run alone: [Errno 28] No space left on device."]
    assert Store(tmp_path).used == 0


def test_few_rows_are_not_worth_a_file(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(16)
    rows = Dataset.from_dict({"text": ["one of a few rows"] * 3, "label": ["a", "b", "a"]})
    Features.of(rows, Classification(classes=("a", "b")), tokenizer, Store(tmp_path))
    assert not list(tmp_path.iterdir())


# whole runs


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", [FREEZE, LORA, ADAPTER], ids=lambda method: method["method"])
def test_runs_share_what_they_have_in_common_and_are_the_same_as_without(
    method: dict[str, Any],
    precision: str,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {name: value for name, value in method.items() if name != "method"}
    given = {"model": str(tiny_bert), "task": "classification", "method": {"name": method["method"], **settings}}
    given |= {"data": {"source": str(samples.path("classification")), "limit": 40}}
    given |= {"train": {"epochs": 2, "precision": precision}}
    monkeypatch.setattr(encoding, "SMALL", 0)
    weights, said = {}, {}
    for name, folder in (("off", "off"), ("first", str(tmp_path / "cache")), ("second", str(tmp_path / "cache"))):
        monkeypatch.setenv(CACHE, folder)
        encoding._remembered.clear()
        run = fine_tune(**given, output=tmp_path / name)
        weights[name] = next(run.artefact.glob("*.safetensors")).read_bytes()
        said[name] = capsys.readouterr().err
        saved = run.report["time"]["saved_seconds"]
        assert sorted(saved) == (["activations", "encoded"] if name == "second" else [])
    assert weights["off"] == weights["first"] == weights["second"]
    assert "ran once over" in said["off"]
    assert "ran once over" in said["first"]
    assert "ran once over" not in said["second"]
    assert "reused: the lowest block ran over" in said["second"]
