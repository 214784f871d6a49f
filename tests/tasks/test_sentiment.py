"""Sentiment: what people write for a verdict, read as polarity or stars."""

import json

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_transfer import tasks
from nlp_transfer.errors import RequestError, RowError
from nlp_transfer.metrics.mean_absolute_error import mean_absolute_error
from nlp_transfer.metrics.quadratic_kappa import quadratic_kappa
from nlp_transfer.tasks.sentiment import NUMBERS, POLARITY, STAR_CLASSES, Sentiment

SPELLINGS = [(spelling, polarity) for polarity, spellings in POLARITY.items() for spelling in spellings.split()]


def rows_of(labels):
    return Dataset.from_dict({"text": [f"text {i}" for i in range(len(labels))], "label": list(labels)})


def fitted(labels, **given):
    """The task of these labels, each of which stands in several rows."""
    return Sentiment(**given).fit(rows_of(list(labels) * 4))


def read(labels, **given):
    """What the labels of a file become, by a task that was fitted to them."""
    return list(fitted(labels, **given).read(rows_of(labels))["label"])


def refusal(labels, **given):
    with pytest.raises(RequestError) as caught:
        fitted(labels, **given)
    return str(caught.value)


# words of polarity


@pytest.mark.parametrize(("spelling", "polarity"), SPELLINGS)
@pytest.mark.parametrize("written", [str, str.upper, str.title, lambda s: f"  {s.replace('_', '  ')} "])
def test_every_spelling_of_a_polarity_is_understood(spelling, polarity, written):
    others = [name for name in POLARITY if name != polarity]
    assert read([written(spelling), *others]) == [polarity, *others]


def test_spellings_may_be_mixed():
    labels = ["pos", "Negative", "👍", "thumbs down", "Very positive"]
    assert read(labels) == ["positive", "negative", "positive", "negative", "positive"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["positive", "negative"], ("negative", "positive")),
        (["positive", "neutral", "negative"], ("negative", "neutral", "positive")),
        (["positive", "neutral"], ("neutral", "positive")),
        ([1, 2, 3], ("negative", "neutral", "positive")),
    ],
)
def test_classes_run_from_negative_to_positive(labels, classes):
    assert fitted(labels).classes == classes


# numbers of polarity


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda numbers: "_".join(numbers))
@pytest.mark.parametrize("kind", ["text", "number", "float"])
def test_every_set_of_numbers_is_understood(numbers, kind):
    labels = list(numbers)
    if "true" in numbers:
        labels = {"text": labels, "number": [False, True], "float": ["FALSE", "True"]}[kind]
    elif kind != "text":
        labels = [{"number": int, "float": float}[kind](label) for label in labels]
    assert read(labels) == list(numbers.values())
    assert fitted(labels).scale_read == "polarity"


def test_words_and_numbers_may_stand_together():
    assert read(["1", "pos", "0", "negative"]) == ["positive", "positive", "negative", "negative"]


def test_a_named_polarity_scale_needs_no_full_set_of_numbers():
    assert read(["-1", "neutral"], scale="polarity") == ["negative", "neutral"]


# stars


@pytest.mark.parametrize(
    ("label", "stars"),
    [
        ("4", 4),
        (4, 4),
        (4.0, 4),
        ("4 stars", 4),
        ("1 star", 1),
        ("4stars", 4),
        ("4 Stars ", 4),
        ("4_stars", 4),
        ("4/5", 4),
        ("4 / 5", 4),
        ("4 out of 5", 4),
        ("4 of 5", 4),
        ("4★", 4),
        ("four", 4),
        ("Two stars", 2),
        ("one star", 1),
        ("five", 5),
        ("three of 5", 3),
        ("4.0", 4),
        ("★★★★☆", 4),
        ("★★★★", 4),
        ("★☆☆☆☆", 1),
        ("⭐⭐⭐", 3),
        ("4.5", 5),
        (4.5, 5),
        ("4,5", 5),
        ("4.5/5", 5),
        ("4.4", 4),
        (2.5, 3),
        (0.5, 1),
    ],
)
def test_every_spelling_of_stars_is_understood(label, stars):
    labels = [label, "1", "2", "3", "4", "5"]
    labels = [str(each) if isinstance(label, str) else float(each) for each in labels]
    assert read(labels, grades="five")[0] == STAR_CLASSES[stars - 1]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2, 3, 4, 5], ["negative", "negative", "neutral", "positive", "positive"]),
        ([1, 2.5, 3.5, 4.5], ["negative", "neutral", "neutral", "positive"]),
        (["1 star", "5 stars"], ["negative", "positive"]),
        (["★☆☆☆☆", "★★★☆☆", "★★★★★"], ["negative", "neutral", "positive"]),
    ],
)
def test_stars_become_three_classes_unless_told_otherwise(labels, expected):
    task = fitted(labels)
    assert task.scale_read == "stars"
    assert list(task.read(rows_of(labels))["label"]) == expected


def test_stars_from_zero_are_recognised_and_can_be_named():
    expected = ["negative", "negative", "neutral", "positive", "positive"]
    assert fitted(range(5)).scale_read == "stars_from_zero"
    assert read(range(5)) == expected
    assert read([0, 2, 4], scale="stars_from_zero") == ["negative", "neutral", "positive"]
    assert read(range(5), grades="five") == list(STAR_CLASSES)
    assert read([1, 2, 3, 4], scale="stars_from_zero") == expected[1:]


@pytest.mark.parametrize(("scale", "labels"), [("stars", [1, 5]), ("stars", [1, 2]), ("stars_from_zero", [0, 1])])
def test_a_named_scale_is_kept_whatever_the_labels_look_like(scale, labels):
    assert fitted(labels, scale=scale, negative_to=1, positive_from=2).scale_read == scale


@pytest.mark.parametrize(
    ("negative_to", "positive_from", "expected"),
    [
        (2.0, 4.0, "--0++"),
        (1.0, 5.0, "-000+"),
        (3.0, 4.0, "---++"),
        (2.5, 3.0, "--+++"),
        (1.5, 4.5, "-000+"),
    ],
)
def test_thresholds_place_the_stars(negative_to, positive_from, expected):
    signs = {"negative": "-", "neutral": "0", "positive": "+"}
    found = read([1, 2, 3, 4, 5], negative_to=negative_to, positive_from=positive_from)
    assert "".join(signs[grade] for grade in found) == expected


@settings(deadline=None, database=None, max_examples=60)
@given(st.floats(1, 5), st.sampled_from([(2.0, 4.0), (1.0, 5.0), (2.9, 3.1)]))
def test_any_number_of_stars_falls_where_the_thresholds_say(stars, thresholds):
    negative_to, positive_from = thresholds
    task = fitted([1, 2, 3, 4, 5], negative_to=negative_to, positive_from=positive_from)
    expected = "negative" if stars <= negative_to else "positive" if stars >= positive_from else "neutral"
    assert list(task.read(rows_of([stars]))["label"]) == [expected]


# grades and the neutral rule


@pytest.mark.parametrize(
    ("neutral", "expected"),
    [
        ("leave_out", ["negative", "negative", "positive", "positive"]),
        ("negative", ["negative", "negative", "negative", "positive", "positive"]),
        ("positive", ["negative", "negative", "positive", "positive", "positive"]),
    ],
)
def test_two_grades_place_or_leave_out_the_neutral(neutral, expected):
    task = fitted([1, 2, 3, 4, 5], grades="two", neutral=neutral)
    assert task.classes == ("negative", "positive")
    assert list(task.read(rows_of([1, 2, 3, 4, 5]))["label"]) == expected


def test_rows_that_are_left_out_take_their_texts_along():
    task = fitted(["neg", "neutral", "pos"], grades="two")
    assert task.read(rows_of(["pos", "neutral", "neg"])).to_list() == [
        {"text": "text 0", "label": "positive"},
        {"text": "text 2", "label": "negative"},
    ]


def test_three_grades_of_polarity():
    assert fitted(["pos", "neutral", "neg"], grades="three").classes == ("negative", "neutral", "positive")


def test_five_grades_are_ordered_classes_of_stars():
    assert fitted([5, 4, 3, 2, 1], grades="five").classes == STAR_CLASSES
    assert fitted([5, 3, 1], grades="five").classes == ("1 star", "3 stars", "5 stars")


def test_class_weights_go_by_class():
    task = Sentiment(class_weights="balanced").fit(rows_of(["pos"] * 6 + ["neg"] * 2))
    assert task.weights == pytest.approx((2.0, 2 / 3))
    assert fitted([1, 2, 3, 4, 5], class_weights={"neutral": 3.0}).weights == (1.0, 3.0, 1.0)
    assert "task.class_weights" in refusal([1, 2, 3, 4, 5], class_weights={"4 stars": 3.0})


# what is refused


@pytest.mark.parametrize(
    "labels",
    [["happy", "sad"], [1, 2], [0, 1, 2, 3, 4, 5], ["billing", "positive"], ["0", "1", "maybe"], [-2, -1, 0, 1, 2]],
)
def test_labels_that_are_no_verdict_are_refused_with_a_way_out(labels):
    message = refusal(labels)
    assert all(str(label) in message for label in labels)
    assert "--task.scale" in message
    assert "classification" in message


@pytest.mark.parametrize(
    ("labels", "settings", "row", "word"),
    [
        ([1, 5, 6], {"scale": "stars"}, 2, "1 to 5"),
        ([1, 0], {"scale": "stars"}, 1, "1 to 5"),
        ([*range(1, 11)], {}, 5, "1 to 5"),
        ([0, 4, 5], {"scale": "stars_from_zero"}, 2, "0 to 4"),
        (["one", "ten"], {"scale": "stars"}, 1, "ten"),
        (["5", "4/10"], {"scale": "stars"}, 1, "4/10"),
        (["pos", "neg", "great"], {"scale": "polarity"}, 2, "great"),
        (["pos", "7"], {"scale": "polarity"}, 1, "7"),
    ],
)
def test_a_label_outside_a_named_scale_is_refused_with_its_row(labels, settings, row, word):
    with pytest.raises(RowError, match=word) as caught:
        Sentiment(**settings).fit(rows_of(labels))
    assert caught.value.row == row


def test_a_verdict_that_training_lacks_is_refused_with_its_row():
    task = fitted(["pos", "neg"])
    with pytest.raises(RowError, match=r"neutral") as caught:
        task.read(rows_of(["pos", "mixed"]))
    assert caught.value.row == 1
    with pytest.raises(RowError, match=r"wonderful"):
        task.read(rows_of(["wonderful"]))


def test_one_class_is_refused():
    assert "two classes" in refusal(["pos", "good"])
    assert "two classes" in refusal([4, 5])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"negative_to": 4.0, "positive_from": 4.0}, ["task.negative_to", "task.positive_from"]),
        ({"negative_to": 0.0}, ["task.negative_to"]),
        ({"positive_from": 6.0}, ["task.positive_from"]),
        ({"labels": ("a", "b")}, ["task.labels", "task.grades"]),
        ({"grades": "five", "scale": "polarity"}, ["task.grades", "star", "polarity"]),
    ],
)
def test_settings_that_contradict_are_refused_before_any_data(settings, words):
    with pytest.raises(RequestError) as caught:
        Sentiment(**settings)
    assert all(word in str(caught.value) for word in words)


def test_five_grades_of_polarity_labels_are_refused():
    message = refusal(["pos", "neg"], grades="five")
    assert "star" in message
    assert "pos" in message


# the report


@pytest.mark.parametrize(
    ("labels", "settings", "words", "absent"),
    [
        (["pos", "neg"], {}, ["polarity", "words"], ["star", "neutral rows"]),
        ([0, 1], {}, ["polarity", "0 as negative", "1 as positive"], ["star"]),
        ([1, 2, 3, 4, 5], {}, ["stars from 1 to 5", "2 negative", "4 positive"], ["neutral rows"]),
        ([1, 2, 3, 4, 5], {"negative_to": 1.5}, ["1.5 negative"], []),
        ([0, 1, 2, 3, 4], {}, ["counted from zero"], []),
        ([1, 2, 3, 4, 5], {"grades": "five"}, ["ordered"], ["2 negative"]),
        ([1, 2, 3, 4, 5], {"grades": "two"}, ["neutral rows left out"], []),
        ([1, 2, 3, 4, 5], {"grades": "two", "neutral": "negative"}, ["neutral rows", "as negative"], ["left out"]),
    ],
)
def test_notes_say_how_the_labels_were_read(labels, settings, words, absent):
    [note] = fitted(labels, **settings).notes()
    assert all(word in note for word in words)
    assert not any(word in note for word in absent)


def answers_of(task, predicted):
    """One answer per row whose most probable class is the named one."""
    logits = np.eye(len(task.classes), dtype=np.float32)[[task.classes.index(name) for name in predicted]] * 5
    return task.decode(logits, None, None)


@pytest.mark.parametrize("present", [[1, 2, 3, 4, 5], [1, 2, 4, 5], [1, 5]])
def test_five_grades_are_judged_by_their_distance_in_stars(present):
    task = fitted(present, grades="five", scale="stars")
    generator = np.random.default_rng(len(present))
    predicted, gold = generator.choice(present, 40), generator.choice(present, 40)
    names = dict(enumerate(STAR_CLASSES, 1))
    answers = answers_of(task, [names[number] for number in predicted])
    scores = task.score(answers, rows_of([names[number] for number in gold]))
    assert scores["accuracy"] == pytest.approx(np.mean(predicted == gold))
    assert scores["mean_absolute_error"] == pytest.approx(mean_absolute_error(predicted, gold))
    assert scores["quadratic_kappa"] == pytest.approx(quadratic_kappa(predicted, gold))


@pytest.mark.parametrize(
    ("labels", "settings"), [(["pos", "neg"], {}), ([1, 2, 3, 4, 5], {}), ([1, 2, 3, 4, 5], {"grades": "two"})]
)
def test_other_grades_have_no_distance(labels, settings):
    task = fitted(labels, **settings)
    scores = task.score(answers_of(task, ["positive", "negative"]), rows_of(["positive", "positive"]))
    assert scores["accuracy"] == 0.5
    assert not {"mean_absolute_error", "quadratic_kappa"} & set(scores)


# saving


@pytest.mark.parametrize(
    "task",
    [
        Sentiment(),
        Sentiment(grades="two", neutral="negative", negative_to=1.5, class_weights={"negative": 2.0}),
        fitted(["pos", "neg"]),
        fitted([-1, 0, 1], class_weights="balanced"),
        fitted([1, 2, 3, 4, 5], grades="five"),
    ],
)
def test_a_task_survives_json_and_reads_on_as_before(task):
    again = tasks.from_json(json.loads(json.dumps(task.to_json())))
    assert again == task
    assert type(again) is Sentiment
    assert again.notes() == task.notes()


def test_settings_hold_nothing_that_was_learned():
    assert fitted([-1, 1]).settings() == Sentiment().settings()
    assert set(Sentiment().settings()) == {
        "class_weights", "calibration", "scale", "grades", "negative_to", "positive_from", "neutral",
        "long_texts", "head_share", "stride", "pool_windows", "max_windows",
    }  # fmt: skip


def test_the_sample_is_a_data_set_of_the_task():
    assert Sentiment().fit(Dataset.from_list([dict(row) for row in Sentiment.sample])).classes == (
        "negative",
        "positive",
    )
    assert Sentiment().name == "sentiment"
