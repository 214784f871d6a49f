"""Classification: labels, weights, loss, answers and scores."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from transformers import AutoModelForSequenceClassification

from nlp_transfer import tasks
from nlp_transfer.errors import RequestError, RowError
from nlp_transfer.tasks.classification import Classification, label_text
from nlp_transfer.training.batch import Batch

relaxed = settings(deadline=None, database=None, max_examples=60)


def rows_of(labels):
    return Dataset.from_dict({"text": [f"text {i}" for i in range(len(labels))], "label": list(labels)})


def fitted(rows=("no", "no", "yes", "yes"), **given):
    """The task of rows with these labels."""
    return Classification(**given).fit(rows_of(rows))


def refusal(*arguments, **given):
    with pytest.raises(RequestError) as caught:
        fitted(*arguments, **given)
    return str(caught.value)


# labels


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a", "c"], ("a", "b", "c")),
        ([10, 9, 100], ("9", "10", "100")),
        (["10", "9", "100", "-1"], ("-1", "9", "10", "100")),
        ([1.5, 1.0, 0.5], ("0.5", "1", "1.5")),
        (["b", "10", "a", "9"], ("9", "10", "a", "b")),
        (["Zebra", "apple"], ("Zebra", "apple")),
        ([True, False], ("False", "True")),
        (["nan", "b", "2"], ("2", "b", "nan")),
        (["b", "nan", "2"], ("2", "b", "nan")),
    ],
)
def test_labels_are_sorted_numbers_by_value_then_words(labels, classes):
    assert fitted(labels * 2).classes == classes


@pytest.mark.parametrize(
    ("label", "text"),
    [(1, "1"), (1.0, "1"), (1.5, "1.5"), ("1.0", "1"), ("v1.0", "v1.0"), (True, "True"), ("a b", "a b")],
)
def test_whole_numbers_lose_their_decimal_point(label, text):
    assert label_text(label) == text


def test_numbers_in_settings_are_labels():
    task = Classification(labels=(1, 0), class_weights={0: 2.0, 1.0: 3})
    assert (task.labels, task.class_weights) == (("1", "0"), {"0": 2.0, "1": 3})


def test_given_labels_keep_their_order():
    assert fitted(["a", "b", "c"] * 2, labels=("c", "a", "b")).classes == ("c", "a", "b")


@pytest.mark.parametrize(
    ("labels", "given", "words"),
    [
        (["a", "b"] * 3, ("a", "b", "z"), ["task.labels", "z", "a, b"]),
        (["a", "b"] * 3, ("a", "b", "a"), ["task.labels", "a", "more than once"]),
        (["a", "b"] * 3, ("a",), ["task.labels", "b"]),
        (["a"] * 5, None, ["two classes", "a"]),
        ([f"text {i}" for i in range(9)], None, ["9 different values in 9 rows", "swapped", "--columns.label"]),
    ],
)
def test_labels_that_make_no_task_are_refused(labels, given, words):
    message = refusal(labels, labels=given)
    assert all(word in message for word in words)


def test_labels_are_read_as_text_and_unknown_ones_refused_with_their_row():
    task = fitted([1, 2, 1, 2])
    assert task.read(rows_of([2.0, 1.0]))["label"] == ["2", "1"]
    with pytest.raises(RowError, match=r'"22".*Did you mean "2"') as caught:
        task.read(rows_of([1, 22]))
    assert caught.value.row == 1


def test_given_labels_refuse_rows_of_others():
    with pytest.raises(RequestError, match=r"labels c, which task\.labels does not name"):
        fitted(["a", "b", "c"] * 2, labels=("a", "b"))
    with pytest.raises(RowError, match=r'"c"'):
        fitted(["a", "b"] * 2, labels=("b", "a")).read(rows_of(["a", "c"]))


def test_a_list_of_labels_is_refused_with_its_row():
    with pytest.raises(RowError, match="a list of 2 labels") as caught:
        fitted([["a"], ["b", "c"]][1:] * 3)
    assert caught.value.row == 0


def test_rows_without_labels_pass_unchanged():
    rows = Dataset.from_dict({"text": ["one"]})
    assert fitted().read(rows) is rows


def test_the_head_knows_the_labels_by_name():
    auto, config = fitted(["b", "a", "c"] * 2).head()
    assert auto is AutoModelForSequenceClassification
    assert config["num_labels"] == 3
    assert config["id2label"] == {0: "a", 1: "b", 2: "c"}
    assert config["label2id"] == {"a": 0, "b": 1, "c": 2}


def test_the_strata_are_the_labels():
    assert list(fitted().strata(rows_of(["no", "yes", "no"]))) == ["no", "yes", "no"]


# weights and loss


@relaxed
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5))
def test_balanced_weights_are_those_of_scikit_learn(sizes):
    labels = [f"label {i}" for i, size in enumerate(sizes) for _ in range(size + 1)]
    task = fitted(labels, class_weights="balanced")
    assert task.weights == pytest.approx(
        compute_class_weight("balanced", classes=np.array(task.classes), y=np.array(labels))
    )


def test_balanced_weights_follow_the_order_of_given_labels():
    task = fitted(["a"] * 3 + ["b"], labels=("b", "a"), class_weights="balanced")
    assert task.weights == pytest.approx((2.0, 2 / 3))


def test_given_weights_leave_the_others_at_one():
    assert fitted(class_weights={"yes": 2.5}).weights == (1.0, 2.5)
    assert fitted().weights is None


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"yess": 2.0}, ["task.class_weights", "yess", 'Did you mean "yes"']),
        ({"yes": 0.0}, ["task.class_weights.yes", "above 0"]),
        ({"yes": -1.0}, ["task.class_weights.yes"]),
        ({"yes": math.nan}, ["task.class_weights.yes"]),
        ({"no": math.inf}, ["task.class_weights.no"]),
    ],
)
def test_wrong_weights_are_refused(weights, words):
    message = refusal(class_weights=weights)
    assert all(word in message for word in words)


@relaxed
@given(st.sampled_from(["none", "balanced", {"c": 7.0}]), st.integers(1, 30), st.integers(0, 1000))
def test_loss_over_weight_is_the_weighted_mean_of_torch(class_weights, rows, seed):
    task = fitted(["a", "a", "a", "b", "b", "c"], class_weights=class_weights)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 3, generator=generator)
    labels = torch.randint(0, 3, (rows,), generator=generator)
    batch = Batch({"input_ids": torch.zeros(rows, 1)}, {"label": labels})
    total, weight = task.loss(SimpleNamespace(logits=logits), batch)
    weights = None if task.weights is None else torch.tensor(task.weights)
    assert float(total / weight) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels, weights)), rel=1e-5
    )


def test_sums_of_parts_make_the_loss_of_the_whole():
    task = fitted(["a", "a", "a", "b", "b", "c"], class_weights="balanced")
    logits, labels = (
        torch.randn(9, 3, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2]),
    )

    def loss(rows):
        batch = Batch({"input_ids": torch.zeros(len(labels[rows]), 1)}, {"label": labels[rows]})
        return task.loss(SimpleNamespace(logits=logits[rows]), batch)

    parts = [loss(slice(0, 4)), loss(slice(4, 9))]
    assert float(sum(p[0] for p in parts) / sum(p[1] for p in parts)) == pytest.approx(
        float(loss(slice(0, 9))[0] / loss(slice(0, 9))[1]), rel=1e-5
    )


def test_the_loss_of_half_precision_logits_is_computed_in_full():
    logits = torch.tensor([[30.0, -30.0], [0.1, 0.2]], dtype=torch.bfloat16)
    batch = Batch({"input_ids": torch.zeros(2, 1)}, {"label": torch.tensor([1, 0])})
    assert fitted().loss(SimpleNamespace(logits=logits), batch)[0].dtype == torch.float32


# answers

LOGITS = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0], [0.0, 5.0, 0.0], [1.0, 0.0, 0.5]], dtype=np.float32)
GOLD = ["a", "b", "b", "c"]


@pytest.fixture
def task():
    return fitted(["a", "b", "c"] * 3)


@pytest.fixture
def answers(task):
    return task.decode(LOGITS, Dataset.from_dict({}), rows_of(GOLD))


def test_answers_are_the_softmax_of_the_logits(answers):
    assert [answer.label for answer in answers] == ["a", "c", "b", "a"]
    first = math.exp(2) / (math.exp(2) + 2)
    assert answers[0].probability == pytest.approx(first)
    assert answers[0].probabilities == pytest.approx({"a": first, "b": (1 - first) / 2, "c": (1 - first) / 2})
    for answer in answers:
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.probability == max(answer.probabilities.values()) == answer.probabilities[answer.label]


def test_cells_of_an_answer_are_flat_and_fit_json(answers):
    cells = answers[1].cells()
    assert list(cells) == ["label", "probability", "probability_a", "probability_b", "probability_c"]
    assert cells["label"] == "c"
    assert cells["probability"] == cells["probability_c"]
    assert json.loads(json.dumps(cells)) == cells


def test_scores_by_hand(task, answers):
    scores = task.score(answers, rows_of(GOLD))
    # right: rows 0 and 2; F1 of a is 2/3, of b 2/3, of c 0
    assert scores["accuracy"] == pytest.approx(0.5)
    assert scores["macro_f1"] == pytest.approx(4 / 9)
    assert scores["weighted_f1"] == pytest.approx((2 / 3 + 2 * 2 / 3) / 4)
    assert {"matthews_correlation", "expected_calibration_error"} < set(scores)
    assert all(type(score) is float for score in scores.values())
    assert task.primary.metric in scores


def test_scores_of_drawn_rows_come_from_the_judged_arrays(task, answers):
    judged = task.judged(answers, rows_of(GOLD))
    drawn = np.array([0, 0, 2, 1])
    expected = task.score([answers[i] for i in drawn], rows_of([GOLD[i] for i in drawn]))
    assert task.metrics({name: values[drawn] for name, values in judged.items()}) == pytest.approx(expected)


def test_details_by_hand(task, answers):
    details = task.details(answers, rows_of(GOLD), task.judged(answers, rows_of(GOLD)))
    assert details["confusion_matrix"] == {"labels": ["a", "b", "c"], "rows": [[1, 0, 0], [0, 1, 1], [1, 0, 0]]}
    assert details["per_class"]["a"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert details["per_class"]["b"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert details["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert json.loads(json.dumps(details))["confusion_matrix"] == details["confusion_matrix"]


# saving


@pytest.mark.parametrize(
    "task",
    [
        Classification(),
        Classification(labels=("b", "a"), class_weights={"b": 2.0}),
        fitted(["a", "b", "c"] * 2),
        fitted([1, 2, 10] * 2, class_weights="balanced"),
        fitted(["a", "b"] * 2, labels=("b", "a"), class_weights={"b": 2.0}),
    ],
)
def test_a_task_survives_json(task):
    assert tasks.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_settings_hold_nothing_that_was_learned():
    assert fitted(class_weights="balanced").settings() == Classification(class_weights="balanced").settings()
    long_texts = {"long_texts", "head_share", "stride", "pool_windows", "max_windows"}
    assert set(Classification().settings()) == {"labels", "class_weights", "calibration", *long_texts}


def test_the_sample_is_a_data_set_of_the_task():
    task = Classification().fit(Dataset.from_list([dict(row) for row in Classification.sample]))
    assert task.classes == ("billing", "delivery")
    assert task.name == "classification"
    assert tasks.find("classification") is Classification


def test_answers_and_scores_agree_where_two_logits_round_to_one_probability():
    task, rows = Classification(classes=("a", "b")), rows_of(["b", "a"])
    answers = task.decode(np.array([[0, 1e-8], [1, 0]], np.float32), rows, rows)
    judged = task.judged(answers, rows)
    matrix = task.details(answers, rows, judged)["confusion_matrix"]["rows"]
    assert [answer.label for answer in answers] == ["a", "a"]
    assert [mistake.row for mistake in task.mistakes(answers, rows)] == [0]
    assert task.metrics(judged)["accuracy"] == 0.5
    assert matrix == [[1, 0], [1, 0]]
