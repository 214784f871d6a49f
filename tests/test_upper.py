"""The upper part alone: training on stored states is training of the whole model, whose lower part is still."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, DebertaV2Config, set_seed

from nlp_transfer import RequestError, fine_tune, load_run, methods, samples
from nlp_transfer.architectures import blocks, embeddings
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.activations import HALF, Once, StoredFeatures
from nlp_transfer.data.apart import unchanging
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.heads import load_with_head
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings
from tests.families import ENCODER, FAMILIES
from tests.matrix import backbones, tokenizer

SETTINGS = TrainSettings(epochs=2, batch_size=8, learning_rate=3e-3, precision="fp32", warmup=0.0)
TOP_ONLY = {"freeze": {"lowest": 1}, "lora": {"layers": (1,)}, "adapter": {"layers": (1,), "bottleneck_size": 8}}
TASK = Classification()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return backbones(tmp_path_factory.mktemp("backbones"))


@dataclass
class Prepared:
    """A model whose upper block learns, with dropout, and features of 24 training and 8 validation rows."""

    method: Any
    model: Any
    head: tuple[str, ...]
    features: dict[str, Features]

    @classmethod
    def of(cls, folder: Path, method: str, **settings: Any) -> Prepared:
        data = load(DataSettings(str(samples.path("classification"))), {}, TASK, seed=0)
        backbone = Backbone.find(ModelSettings(str(folder)))
        chosen = methods.find(method)(**(settings or TOP_ONLY[method]))
        set_seed(1)
        loaded = load_with_head(backbone, *data.task.head(), "mean", 0.2)
        features = {
            name: Features.of(data.splits[name].rows.select(range(rows)), data.task, backbone.tokenizer())
            for name, rows in {"train": 24, "validation": 8}.items()
        }
        return cls(chosen, chosen.apply(loaded.model, loaded.head), loaded.head, features)

    def stored(self, folder: Path, **limits: Any) -> tuple[Any, dict[str, Features], str]:
        said: list[str] = []
        frozen = self.method.frozen_blocks(self.model)
        model, features = Once(nullcontext, folder, **limits).through(self.model, self.features, frozen, said.append)
        return model, features, said[0]

    def losses(self, model: Any, features: Features) -> list[float]:
        plan = LengthBuckets(features.lengths, SETTINGS.batch_size, 1, seed=0)
        groups = self.method.parameter_groups(model, self.head, SETTINGS)
        still = unchanging(self.model, self.method.frozen_blocks(self.model))
        engine = accelerator("fp32")
        loop = Loop(model, groups, plan, features.fetch, features.task.loss, SETTINGS, engine, still=still)
        set_seed(2)
        return [float(step.loss) for step in loop]

    def learned(self) -> dict[str, torch.Tensor]:
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize(
    ("method", "family"),
    [
        *(("freeze", family) for family in FAMILIES if family != "albert"),
        *((method, family) for method in ("lora", "adapter") for family in ("bert", "gpt2", "qwen3")),
    ],
)
def test_same_losses_weights_and_outputs_as_without_storing(
    method: str, family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    plain = Prepared.of(folders[family], method)
    expected = plain.losses(plain.model, plain.features["train"])
    outputs = outputs_of(plain.model, plain.features["validation"], 8)

    apart = Prepared.of(folders[family], method)
    upper, features, said = apart.stored(tmp_path)
    assert said.startswith("the lowest block ran once over 32 rows")
    assert isinstance(features["train"], StoredFeatures)
    np.testing.assert_allclose(apart.losses(upper, features["train"]), expected, atol=1e-4)
    np.testing.assert_allclose(outputs_of(upper, features["validation"], 8), outputs, atol=1e-4)
    # what was learned stands in the whole model, which is as it was
    assert isinstance(apart.model, PeftModel) == (method != "freeze")
    for name, value in plain.learned().items():
        torch.testing.assert_close(apart.learned()[name], value, atol=1e-4, rtol=0)
    np.testing.assert_allclose(outputs_of(apart.model, apart.features["validation"], 8), outputs, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "distilbert", "qwen3"])
def test_the_lower_part_is_not_run_again(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    prepared = Prepared.of(folders[family], "freeze")
    upper, features, _ = prepared.stored(tmp_path)
    for module in (embeddings(prepared.model)[0], blocks(prepared.model)[0]):
        module.register_forward_pre_hook(lambda *_: pytest.fail("what lies below ran again"))
    prepared.losses(upper, features["train"])
    with pytest.raises(pytest.fail.Exception):
        prepared.model(**prepared.features["train"].fetch(np.arange(2)).inputs)


def test_a_part_that_never_changes_has_no_dropout(folders: dict[str, Path]) -> None:
    prepared = Prepared.of(folders["bert"], "freeze")
    still = unchanging(prepared.model, prepared.method.frozen_blocks(prepared.model))
    prepared.losses(prepared.model, prepared.features["train"])
    assert not any(module.training for part in still for module in part.modules())
    assert prepared.model.backbone.encoder.layer[1].training


@pytest.mark.parametrize("limit", [0, 1e-6])
def test_where_there_is_no_room_it_runs_in_every_epoch(limit: float, folders: dict[str, Path], tmp_path: Path) -> None:
    prepared = Prepared.of(folders["bert"], "freeze")
    model, features, said = prepared.stored(tmp_path, gigabytes=limit)
    assert model is prepared.model
    assert features is prepared.features
    assert said.startswith("what never changes runs in every epoch: its activations would take 0.00 GiB")
    assert f"train.store_gigabytes is {limit:g}" in said


def test_a_family_that_cannot_be_taken_apart_runs_whole(tmp_path: Path) -> None:
    # a convolution beside the lowest block changes what comes out of it
    config = DebertaV2Config(**{**ENCODER, "num_hidden_layers": 3, "conv_kernel_size": 3, "conv_act": "gelu"})
    set_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path / "backbone")
    tokenizer().save_pretrained(tmp_path / "backbone")
    prepared = Prepared.of(tmp_path / "backbone", "lora", layers=(2,))
    model, _, said = prepared.stored(tmp_path)
    assert model is prepared.model
    assert "its blocks read more than the states of those below" in said


def test_states_in_half_take_half_and_are_near(folders: dict[str, Path], tmp_path: Path) -> None:
    prepared = Prepared.of(folders["bert"], "freeze")
    _, exact, _ = prepared.stored(tmp_path)
    _, half, _ = prepared.stored(tmp_path, half=True)
    assert half["train"].vectors.values.dtype == HALF
    assert 2 * half["train"].vectors.values.nbytes == exact["train"].vectors.values.nbytes
    indices = np.arange(5)
    torch.testing.assert_close(
        half["train"].vectors.padded(indices), exact["train"].vectors.padded(indices), atol=0, rtol=2**-8
    )


@pytest.mark.parametrize(("method", "long_texts"), [("adapter", "truncate"), ("freeze", "windows")])
def test_a_run_is_the_same_with_and_without(
    method: str, long_texts: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"source": str(samples.path("classification")), "limit": 40, "max_length": 24}
    task = {"name": "classification", "long_texts": long_texts, "stride": 4}
    given = {"model": str(folders["bert"]), "task": task, "data": data}
    given |= {"method": {"name": method, **TOP_ONLY[method]}}
    rows = ["A cheap flight to the sea.", "The parcel has not come."]
    answers = []
    for name, gigabytes in (("with", 1.0), ("without", 0.0)):
        train = {"epochs": 2, "learning_rate": 1e-2, "precision": "fp32", "store_gigabytes": gigabytes}
        run = fine_tune(**given, train=train, output=tmp_path / name)
        assert ("ran once over" in capsys.readouterr().err) == (name == "with")
        answers.append([answer.probability for answer in load_run(run.folder).predict(rows)])
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(RequestError, match="store_gigabytes is -1: expected 0 or more"):
        TrainSettings(store_gigabytes=-1)
