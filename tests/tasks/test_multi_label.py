"""Multi-label: forms of labels, thresholds, loss, answers and scores."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.metrics import classification_report
from transformers import AutoModelForSequenceClassification

from nlp_transfer import tasks
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.errors import RequestError, RowError
from nlp_transfer.recipe import Recipe
from nlp_transfer.tasks.multi_label import Answer, MultiLabel
from nlp_transfer.training.batch import Batch

SETS = [["a"], ["a", "b"], [], ["c"], ["b"], ["a", "c"]]


def rows_of(labels):
    return Dataset.from_dict({"text": [f"text {i}" for i in range(len(labels))], "labels": list(labels)})


def fitted(cells=SETS, /, **given):
    return MultiLabel(**given).fit(rows_of(cells))


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["a", "a|b", "", "c", "b", "a|c"], "|"),
        (["a", "a; b", " ", "c", "b", "a ;c"], ";"),
        (["a", "b, a", "", "c", "b", "a,c,"], ","),
        (["a", "a|b", "", "c", "b", "c|a|a"], "|"),
        (['["a"]', "['a', 'b']", "[]", '["c"]', "['b']", '["a","c"]'], ""),
        (SETS, ""),
        (["['a']", "['a' 'b']", "[]", "['c']", '["b"]', "['a'\n 'c']"], ""),  # of numpy, by pandas
        ([{"a": f"{'a' in s:d}", "b": str("b" in s), "c": "x" if "c" in s else ""} for s in SETS], ""),
    ],
)
def test_every_form_of_labels_is_read_the_same(cells, separator):
    task = fitted(cells)
    assert (task.classes, task.separator_read) == (("a", "b", "c"), separator)
    assert task.read(rows_of(cells))["labels"][:] == SETS
    assert not [cell for cell in cells if MultiLabel().fault("labels", cell)]
    assert not [cell for cell in cells if task.fault("labels", cell)]


def test_one_odd_cell_does_not_say_how_all_are_read():
    cells = ["food, staff", "staff", "room, food", "food; staff", "room", "staff, room"]
    assert fitted(cells).separator_read == ","
    held = fitted(["Health, Beauty", "Health, Beauty|Food", "Food", "Health, Beauty"])
    assert (held.classes, held.separator_read) == (("Food", "Health, Beauty"), "|")


def test_a_separator_may_be_what_yaml_reads_otherwise(tmp_path):
    for mark in ("#", "~", ": "):
        recipe = Recipe.make(task={"name": "multi_label", "separator": mark}, data="a.csv")
        assert recipe.task.separator == mark
        (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
        assert Recipe.read(tmp_path / "recipe.yaml").task.separator == mark
        words = ["--task", "multi_label", "--data", "a.csv", "--task.separator", mark]
        assert Recipe.from_flags(words).task.separator == mark


def test_few_labels_in_many_rows_are_no_free_text():
    cells = [[]] * 200 + [[name] for name in "abcdeabc"]
    assert fitted(cells).classes == ("a", "b", "c", "d", "e")
    with pytest.raises(RequestError, match="as free text would"):
        fitted([[name] for name in "abcdefgh"])
    assert fitted([[name] for name in "abcdefgh"], labels=tuple("abcdefgh")).classes == tuple("abcdefgh")


def test_labels_may_be_named_as_numbers():
    assert fitted([["1"], ["2"], ["1", "2"]], labels=(2, 1.0)).classes == ("2", "1")


def test_a_label_with_the_mark_that_we_write_is_read_again():
    assert Answer(("v", "w"), {"v": 1.0, "w": 1.0}).cells()["labels"] == "v|w"
    task = fitted([["v|w"], ["v"], ["w", "v|w"]] * 2)
    for labels in ((), ("v|w",), ("v", "v|w"), ("v", "w")):
        cell = Answer(labels, dict.fromkeys(task.classes, 0.5)).cells()["labels"]
        assert task.read(rows_of([cell]))["labels"][0] == list(labels)


def test_numbers_are_labels_too_and_a_separator_can_be_named():
    assert fitted([[1, 2], [10], [2.0], [1, 10]]).classes == ("1", "2", "10")
    assert fitted(["[ 1  2]", "[10]", "[2.]", "[ 1 10]"]).classes == ("1", "2", "10")
    assert fitted(["Paris, France", "Rome, Italy/Paris, France"], separator="/").classes == (
        "Paris, France",
        "Rome, Italy",
    )


@pytest.mark.parametrize("cell", [None, float("nan"), b"a", [["a"]], [None], {"a": "perhaps"}])
def test_what_is_no_cell_of_labels_is_refused(cell):
    assert MultiLabel().fault("labels", cell)


def test_labels_that_training_lacks_are_refused_with_the_nearest():
    task = fitted([["joy"], ["anger"]])
    assert 'Did you mean "anger"' in task.fault("labels", "angr")
    with pytest.raises(RowError, match='"angr"') as caught:
        task.read(rows_of([["joy"], ["joy", "angr"]]))
    assert caught.value.row == 1


FORMS = {
    "lists": SETS,
    "json": [json.dumps(names) for names in SETS],
    "flags": [{name: str(int(name in names)) for name in "abc"} for names in SETS],
    **{mark: [mark.join(names) for names in SETS] for mark in ("|", ";", ", ")},
}


@pytest.mark.parametrize("other", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_a_run_reads_every_form_whatever_that_of_training(form, other):
    task = fitted(FORMS[form])
    assert not [cell for cell in FORMS[other] if task.fault("labels", cell)]
    assert task.read(rows_of(FORMS[other]))["labels"][:] == SETS


def test_a_cell_is_split_only_into_labels_that_are_known():
    task = fitted([["Paris, France"], ["Rome, Italy"], ["Paris"], ["Rome"]] * 2)
    assert task.read(rows_of(["Paris, France", "Paris, Rome", "Rome, Italy; Paris"]))["labels"][:] == [
        ["Paris, France"],
        ["Paris", "Rome"],
        ["Paris", "Rome, Italy"],
    ]
    assert task.fault("labels", "Rome; Pariss").startswith(
        'the label "Pariss" is not one of training. Did you mean "Paris"'
    )
    assert task.fault("labels", "Oslo; Bergen").startswith('the label "Oslo; Bergen" is not one of training.')


@pytest.mark.parametrize(
    ("labels", "given", "words"),
    [
        ([["a"]] * 4, {}, "two classes"),
        ([[]] * 4, {}, "no training row has a label"),
        ([["a"], ["b"]], {"labels": ("a",)}, "labels b, which task.labels does not name"),
        ([["a"], ["b"]], {"labels": ("a", "b", "c")}, "names c, which no training row has"),
        ([[f"text number {i}"] for i in range(9)], {}, "swapped"),
    ],
)
def test_labels_that_make_no_task_are_refused(labels, given, words):
    with pytest.raises(RequestError, match=words):
        fitted(labels, **given)


def test_a_split_without_any_label_can_be_read_and_cut(tmp_path):
    rows = [{"text": f"text {i}", "labels": ["a", "b"][: i % 3]} for i in range(60)]
    bare = [{"text": f"other {i}", "labels": []} for i in range(3)]
    data = load(DataSettings({"train": rows, "test": bare}), {}, MultiLabel(), seed=0)
    assert data.splits["test"].rows["labels"][:] == [[]] * 3
    assert len(data.splits["validation"]) == 6
    assert data.task.encode(data.splits["test"].rows[:], tokenizer)["labels"] == [[0, 0]] * 3


def tokenizer(texts, **_):
    return {"input_ids": [[5]] * len(texts)}


def test_the_strata_are_the_rarest_labels():
    assert list(fitted().strata(rows_of(SETS))) == ["a", "b", "", "c", "b", "c"]


def test_the_head_answers_each_label_by_itself():
    auto, config = fitted().head()
    assert auto is AutoModelForSequenceClassification
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {0: "a", 1: "b", 2: "c"}


def test_loss_over_weight_is_the_mean_of_torch():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]).float()
    batch = Batch({"input_ids": torch.zeros(5, 1)}, {"labels": labels})
    total, weight = fitted().loss(SimpleNamespace(logits=logits), batch)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    assert float(total / weight) == pytest.approx(float(expected))


LOGITS = np.array([[2, -2, -2], [1, -1, -3], [-4, -4, -4], [-1, 3, 0.5], [-2, 1, -1], [3, -2, 2]], dtype=np.float32)


def test_answers_scores_and_mistakes_by_hand():
    task, rows = fitted(), rows_of(SETS)
    answers = task.decode(LOGITS, rows, rows)
    assert [answer.labels for answer in answers] == [("a",), ("a",), (), ("b", "c"), ("b",), ("a", "c")]
    assert answers[0].probabilities["a"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert answers[5].cells()["labels"] == "a|c"
    assert answers[2].words() == ["(none)", ""]
    scores = task.score(answers, rows)
    assert scores["micro_f1"] == pytest.approx(2 * 6 / (7 + 7))
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 4 + 1) / 3)
    assert scores["subset_accuracy"] == pytest.approx(4 / 6)
    assert scores["ranking_average_precision"] == pytest.approx((5 + 1 / 2) / 6)
    wrong = task.mistakes(answers, rows)
    assert [(mistake.row, mistake.gold, mistake.answer) for mistake in wrong] == [(1, "a|b", "a"), (3, "c", "b|c")]
    assert wrong[1].confidence == pytest.approx(1 / (1 + np.exp(-3)))
    assert json.dumps([answer.cells() for answer in answers])


def test_details_are_those_of_scikit_learn_label_by_label():
    task, rows = fitted(), rows_of(SETS)
    answers = task.decode(LOGITS, rows, rows)
    details = task.details(answers, rows, task.judged(answers, rows))
    table = classification_report(
        task._table(SETS, len(SETS)),
        (LOGITS >= 0).astype(int),
        target_names=task.classes,
        output_dict=True,
        zero_division=0,
    )
    for name in task.classes:
        expected = {"f1" if key == "f1-score" else key: value for key, value in table[name].items()}
        assert details["per_label"][name] == pytest.approx({"threshold": 0.5, **expected})
    assert details["rows_without_label"] == {"true": 1, "answered": 1}


def test_drawn_rows_are_scored_from_the_judged_arrays():
    task, rows = fitted(), rows_of(SETS)
    answers, drawn = task.decode(LOGITS, rows, rows), np.array([0, 3, 3, 5])
    judged = {name: values[drawn] for name, values in task.judged(answers, rows).items()}
    expected = task.score([answers[i] for i in drawn], rows_of([SETS[i] for i in drawn]))
    assert task.metrics(judged) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("thresholds", "different", "metric"),
    [("half", 0, "micro_f1"), ("shared", 1, "micro_f1"), ("per_label", 3, "macro_f1")],
)
def test_thresholds_come_from_validation_and_never_lower_its_f1(thresholds, different, metric):
    generator = np.random.default_rng(0)
    truth = generator.random((80, 3)) < (0.5, 0.3, 0.2)
    rows = rows_of([[name for name, yes in zip("abc", row, strict=True) if yes] for row in truth])
    outputs = (truth * 1.5 + generator.normal(size=truth.shape) - (2.0, 1.0, 3.0)).astype(np.float32)
    task = MultiLabel(thresholds=thresholds).fit(rows)
    calibrated = task.calibrate(outputs, rows, rows)
    assert len(set(calibrated.cutoffs)) == different
    assert tasks.from_json(json.loads(json.dumps(calibrated.to_json()))) == calibrated
    before, after = (one.score(one.decode(outputs, rows, rows), rows) for one in (task, calibrated))
    assert after[metric] >= before[metric]
    assert (after[metric] > before[metric]) == (different > 0)
    assert calibrated.settings() == task.settings()


def test_remarks_name_rare_labels_and_rows_without_any():
    task = fitted([["a"]] * 30 + [["b"]] * 2)
    assert [remark.kind for remark in task.remarks(rows_of([["a"]] * 30 + [["b"]] * 2))] == ["imbalance"]
    task = fitted([[], [], [], ["a"], ["b"]])
    assert [remark.kind for remark in task.remarks(rows_of([[], [], [], ["a"], ["b"]]))] == ["no_labels"]
