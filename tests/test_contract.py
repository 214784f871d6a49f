"""Every task with every method on both kinds of backbone: what each promises, kept by all."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, set_seed

from nlp_transfer import methods, samples, tasks
from nlp_transfer.backbone import Backbone, LoadedModel, ModelSettings
from nlp_transfer.data.batches import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import Data, load
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.heads import load_with_head
from nlp_transfer.tasks import Task
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings
from tests.training.test_loop import InOrder

TASKS, METHODS, POOLINGS = tasks.names(), methods.names(), ("own", "mean", "last")


def test_the_matrix_has_cells() -> None:
    assert len(TASKS) >= 2
    assert len(METHODS) >= 1


def read(name: str) -> Data:
    return load(DataSettings(str(samples.path(name))), {}, tasks.find(name)(), seed=0)


def build(folder: Path, task: Task, pooling: str) -> tuple[LoadedModel, Backbone]:
    backbone = Backbone.find(ModelSettings(str(folder)))
    set_seed(0)
    return load_with_head(backbone, *task.head(), pooling, dropout=0.0), backbone


def steps(model: torch.nn.Module, method: methods.Method, features: Features, settings: TrainSettings) -> list[float]:
    plan = InOrder(len(features), 8)
    groups = method.parameter_groups(model, settings)
    loop = Loop(model, groups, plan, features.fetch, features.task.loss, settings, accelerator(settings.precision))
    return [float(step.loss) for step in loop]


@pytest.fixture(params=TASKS, scope="module")
def data(request: pytest.FixtureRequest) -> Data:
    return read(request.param)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("method_name", METHODS)
def test_cell(data: Data, method_name: str, pooling: str, tiny: Path, tmp_path: Path) -> None:
    task, method = data.task, methods.find(method_name)()
    loaded, backbone = build(tiny, task, pooling)
    model = method.apply(loaded.model, loaded.head)
    tokenizer = backbone.tokenizer()
    rows = data.splits["train"].rows.select(range(8))
    features = Features.of(rows, task, tokenizer)

    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in learning if any(name.endswith(head) for head in loaded.head)}, "the head does not learn"

    # three steps on the same rows lower the loss
    fast = TrainSettings(precision="fp32", epochs=4, learning_rate=3e-3, warmup=0.0)
    losses = steps(copy.deepcopy(model), method, features, fast)
    assert losses[-1] < losses[0]

    # two steps without weight decay move every weight that learns, and no other
    before = copy.deepcopy(model.state_dict())
    settings = TrainSettings(
        precision="fp32", epochs=2, learning_rate=1e-2, weight_decay=0.0, warmup=0.0, schedule="constant"
    )
    set_seed(0)
    steps(model, method, features, settings)
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == (name in learning), f"{name} {'moved' if moved else 'did not move'}"

    # saved and loaded again it is the same model
    outputs = outputs_of(model, features, batch_size=3)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = task.head()[0].from_pretrained(tmp_path)
    loaded_features = Features.of(rows, task, AutoTokenizer.from_pretrained(tmp_path))
    np.testing.assert_allclose(outputs_of(again, loaded_features, batch_size=8), outputs, atol=1e-6)
    merged = method.merge(model)
    np.testing.assert_allclose(outputs_of(merged, features, batch_size=8), outputs, atol=1e-5)


@pytest.mark.parametrize("method_name", METHODS)
def test_bf16_trains(data: Data, method_name: str, tiny: Path) -> None:
    method = methods.find(method_name)()
    loaded, backbone = build(tiny, data.task, "own")
    model = method.apply(loaded.model, loaded.head)
    features = Features.of(data.splits["train"].rows.select(range(8)), data.task, backbone.tokenizer())
    losses = steps(model, method, features, TrainSettings(epochs=4, learning_rate=3e-3, precision="bf16", warmup=0.0))
    assert losses[-1] < losses[0]


def test_a_task_survives_json(data: Data) -> None:
    assert tasks.from_json(json.loads(json.dumps(data.task.to_json()))) == data.task


def test_a_task_answers_every_row_with_its_own_words(data: Data) -> None:
    task, rows = data.task, data.splits["test"].rows
    generator = np.random.default_rng(0)
    outputs = generator.normal(size=(len(rows), len(task.head()[1]["id2label"]))).astype(np.float32)
    answers = task.decode(outputs, rows, rows)
    assert len(answers) == len(rows)
    scores = task.score(answers, rows)
    assert task.primary.metric in scores
    assert all(isinstance(value, float) for value in scores.values())
    json.dumps([answer.cells() for answer in answers])
    json.dumps(task.details(answers, rows))


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_sample_fits_it(name: str) -> None:
    cls = tasks.find(name)
    rows = Dataset.from_list([dict(row) for row in cls.sample])
    task = cls().fit(rows)
    assert len(task.read(rows)) == len(rows)
    assert set(cls.answer_columns) <= set(cls.columns) == set(rows.column_names)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_rate_and_says_what_learns(name: str) -> None:
    cls = methods.find(name)
    assert 1e-6 < cls.default_learning_rate < 1
    assert cls.__doc__
