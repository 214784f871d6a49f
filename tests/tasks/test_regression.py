"""Regression: numbers in, a scale learned, numbers out in their own unit, with intervals that hold."""

import json
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_transfer import tasks
from nlp_transfer.errors import RequestError, RowError
from nlp_transfer.tasks.regression import Regression
from nlp_transfer.training.batch import Batch

relaxed = settings(deadline=None, database=None, max_examples=60)


def rows_of(targets):
    return Dataset.from_dict({"text": [f"text {i}" for i in range(len(targets))], "target": list(targets)})


def fitted(targets=(1.0, 2.0, 3.0, 6.0), **given):
    return Regression(**given).fit(rows_of(targets))


@pytest.mark.parametrize(
    ("cell", "decimal", "number"),
    [
        ("3.5", ".", 3.5),
        (" -2 ", ".", -2),
        ("1e3", ".", 1000),
        (".5", ".", 0.5),
        (7, ".", 7),
        (0.25, ".", 0.25),
        (Decimal("0.25"), ".", 0.25),
        ("3,5", ",", 3.5),
        ("3", ",", 3),
    ],
)
def test_numbers_are_read(cell, decimal, number):
    task = Regression(decimal=decimal)
    assert task.fault("target", cell) is None
    assert task._number(cell) == number


@pytest.mark.parametrize(
    ("cell", "decimal", "words"),
    [
        ("good", ".", "finite number"),
        ("3,5", ".", "--task.decimal ,"),
        ("1.200,5", ",", "finite number"),
        ("1_000", ".", "finite number"),
        ("nan", ".", "finite number"),
        ("inf", ".", "finite number"),
        (float("inf"), ".", "finite number"),
        (10**400, ".", "finite number"),
        (True, ".", "finite number"),
        ([1.0], ".", "finite number"),
        ("", ".", "empty"),
        (None, ".", "empty"),
        (float("nan"), ".", "empty"),
        ("The soup was far too cold.", ".", "swapped"),
    ],
)
def test_what_is_no_number_is_refused(cell, decimal, words):
    assert words in Regression(decimal=decimal).fault("target", cell)


@relaxed
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.integers(0, 1000))
def test_what_is_learned_is_given_back_in_the_targets_own_unit(targets, seed):
    if np.std(targets) < 1e-6 * (1 + np.abs(targets).max()):
        return
    task, rows = fitted(targets), rows_of(targets)
    features = task.encode(
        {"text": rows["text"], "target": rows["target"]}, lambda texts, **_: {"input_ids": [[5]] * len(texts)}
    )
    standardised = np.array(features["target"])
    assert standardised.mean() == pytest.approx(0, abs=1e-6)
    assert standardised.std() == pytest.approx(1)
    answers = task.decode(standardised[:, None].astype(np.float32), rows, rows)
    assert [answer.value for answer in answers] == pytest.approx(targets, rel=1e-4, abs=1e-4 * np.std(targets))
    assert task.score(answers, rows)["r2"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("targets", "words"), [([3, 3.0, "3"], "target 3: expected numbers that differ"), ([1e300, -1e300], "too large")]
)
def test_targets_that_make_no_task_are_refused(targets, words):
    rows = rows_of([str(target) for target in targets])
    with pytest.raises(RequestError, match=words):
        Regression().fit(rows)


def test_a_row_that_is_no_number_is_named():
    with pytest.raises(RowError, match='"many"') as caught:
        fitted(["1", "2", "many"])
    assert caught.value.row == 2


@pytest.mark.parametrize(
    "given", [{"coverage": 0.0}, {"coverage": 1.0}, {"tolerance": -1.0}, {"tolerance": float("nan")}]
)
def test_settings_out_of_range_are_refused(given):
    with pytest.raises(RequestError, match=f"task.{next(iter(given))}"):
        Regression(**given)


def test_loss_over_weight_is_the_mean_squared_error():
    logits, targets = torch.randn(5, 1, generator=torch.Generator().manual_seed(0)), torch.arange(5.0)
    batch = Batch({"input_ids": torch.zeros(5, 1)}, {"target": targets})
    total, weight = fitted().loss(SimpleNamespace(logits=logits), batch)
    assert float(total / weight) == pytest.approx(float(torch.nn.functional.mse_loss(logits[:, 0], targets)))


def test_intervals_cover_what_they_promise_on_other_rows():
    generator, covered = np.random.default_rng(0), []
    task = fitted(coverage=0.8)
    for _ in range(200):
        rows = rows_of(generator.normal(size=50).tolist())
        outputs = np.zeros((50, 1), dtype=np.float32)
        known = task.calibrate(outputs[:25], rows.select(range(25)), rows.select(range(25)))
        new = rows.select(range(25, 50))
        answers = known.decode(outputs[25:], new, new)
        details = known.details(answers, new, known.judged(answers, new))["interval"]
        assert details["asked"] == 0.8
        covered.append(details["covered"])
    assert 0.8 <= np.mean(covered) <= 0.88


def test_an_interval_is_the_answer_give_or_take_an_error_of_validation():
    rows = rows_of([0.0, 1.0, 2.0, 10.0])
    task = fitted([0.0, 1.0, 2.0, 10.0], coverage=0.6)
    outputs = np.zeros((4, 1), dtype=np.float32)
    known = task.calibrate(outputs, rows, rows)
    assert known.margin == pytest.approx(3.25)  # errors 1.25, 2.25, 3.25, 6.75: the third of four
    [answer, *_] = known.decode(outputs, rows, rows)
    assert (answer.low, answer.value, answer.high) == pytest.approx((0.0, 3.25, 6.5))
    assert answer.words(2) == ["3.25", "0.00 to 6.50"]
    assert list(answer.cells()) == ["value", "low", "high"]
    assert tasks.from_json(json.loads(json.dumps(known.to_json()))) == known
    assert task.decode(outputs, rows, rows)[0].low is None


def test_mistakes_are_answers_that_are_off_by_more_than_the_tolerance():
    rows = rows_of([0.0, 1.0, 2.0, 10.0])
    outputs = np.zeros((4, 1), dtype=np.float32)
    # every answer is the mean, 3.25; half a standard deviation is 1.98
    for tolerance, wrong in ((None, [0, 1, 3]), (3.0, [0, 3]), (7.0, [])):
        task = fitted([0.0, 1.0, 2.0, 10.0], tolerance=tolerance)
        found = task.mistakes(task.decode(outputs, rows, rows), rows)
        assert [mistake.row for mistake in found] == wrong
        details = task.details([], rows, task.judged(task.decode(outputs, rows, rows), rows))
        assert details["tolerance"] == pytest.approx(tolerance or np.std([0.0, 1.0, 2.0, 10.0]) / 2)
        assert all(mistake.confidence == pytest.approx(abs(mistake.answer - mistake.gold)) for mistake in found)


def test_a_code_for_a_missing_number_is_remarked():
    targets = [*np.linspace(1, 5, 40), 9999.0]
    [remark] = fitted(targets).remarks(rows_of(targets))
    assert remark.kind == "far_targets"
    assert "9999" in remark.message
    assert remark.rows == [40]
    assert not fitted().remarks(rows_of([1.0, 2.0, 3.0, 6.0]))


def test_the_strata_are_fifths_of_the_targets():
    strata = list(fitted(range(10)).strata(rows_of(range(10))))
    assert sorted(strata) == strata
    assert {strata.count(band) for band in strata} == {2}


@pytest.mark.parametrize(("target", "rows"), [(0.1, 30), (0.7, 37), (5, 3), (1e-9, 11)])
def test_targets_that_are_all_the_same_are_refused(target, rows):
    with pytest.raises(RequestError, match="every training row has the target"):
        fitted([target] * rows)


@pytest.mark.parametrize("usual", [[5] * 80 + [3, 4] * 10, [0] * 197 + [1, 2, 3]])
def test_a_code_for_a_missing_number_is_told_where_most_targets_are_the_same(usual):
    task = fitted([*usual, -999])
    (remark,) = task.remarks(rows_of([*usual, -999]))
    assert "the farthest -999" in remark.message
    assert list(remark.rows) == [len(usual)]
    assert not fitted(usual).remarks(rows_of(usual))
