"""Every task and every method by itself: what each promises, kept by all. Together they stand in `test_matrix.py`."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset

from nlp_transfer import methods, samples, tasks
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import Data, load
from nlp_transfer.evaluation.outputs import outputs_of
from tests.families import tiny
from tests.matrix import tokenizer

TASKS, METHODS = tasks.names(), methods.names()


def test_there_are_members_to_test() -> None:
    assert len(TASKS) >= 4
    assert len(METHODS) >= 5


def read(name: str) -> Data:
    return load(DataSettings(str(samples.path(name))), {}, tasks.find(name)(), seed=0)


@pytest.fixture(params=TASKS, scope="module")
def data(request: pytest.FixtureRequest) -> Data:
    return read(request.param)


def test_a_task_survives_json(data: Data) -> None:
    assert tasks.from_json(json.loads(json.dumps(data.task.to_json()))) == data.task


def test_a_task_answers_every_row_with_its_own_words(data: Data) -> None:
    task, rows = data.task, data.splits["test"].rows
    auto_class, head = task.head()
    model = tiny("bert", auto_class, **head)
    features = Features.of(rows, task, tokenizer())
    outputs = outputs_of(model, features, batch_size=64)
    kept = task.kept(features.columns)
    assert len(outputs) == (len(features) if kept is None else kept.sum())
    task = task.calibrate(outputs, features.columns, rows)
    answers = task.decode(outputs, features.columns, rows)
    assert len(answers) == len(rows)
    scores = task.score(answers, rows)
    assert task.primary.metric in scores
    assert all(isinstance(value, float) for value in scores.values())
    json.dumps([answer.cells() for answer in answers])
    json.dumps(task.details(answers, rows, task.judged(answers, rows)))


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_sample_fits_it(name: str) -> None:
    cls = tasks.find(name)
    rows = Dataset.from_list([dict(row) for row in cls.sample])
    task = cls().fit(rows)
    assert len(task.read(rows)) == len(rows)
    assert {*cls.answer_columns, *cls.further_columns, *cls.optional_columns} < set(cls.columns)
    assert set(cls.columns) - set(cls.optional_columns) == set(rows.column_names)
    assert task.asked_columns


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_rate_and_says_what_learns(name: str) -> None:
    cls = methods.find(name)
    assert 1e-6 < cls.default_learning_rate < 1
    assert cls.__doc__
