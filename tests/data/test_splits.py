"""Splits: three of them whatever the source brought, checked row by row, the cut a function of the seed."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import NAMES, fingerprint, load, load_one
from nlp_transfer.errors import RequestError
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.tasks.entities import Entities
from nlp_transfer.tasks.regression import Regression
from nlp_transfer.tasks.sentiment import Sentiment

relaxed = settings(deadline=None, database=None, max_examples=40)


def rows_of(counts):
    """Rows with so many of each label, every text different."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


def loaded(source, seed=0, columns=None, task=None, **data):
    return load(DataSettings(source, **data), columns or {}, task or Classification(), seed)


def texts(data):
    return {name: list(split.rows["text"]) for name, split in data.splits.items()}


def csv_of(path, rows, names=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(row.values() for row in rows)
    return str(path)


def refusal(*arguments, **settings):
    with pytest.raises(RequestError) as caught:
        loaded(*arguments, **settings)
    return str(caught.value)


ROWS = rows_of({"a": 60, "b": 30, "c": 10})


# the cut


@relaxed
@given(
    st.lists(st.integers(1, 80), min_size=2, max_size=5).filter(lambda sizes: sum(sizes) >= 20),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
)
def test_a_cut_keeps_the_shares_of_the_labels(sizes, seed, validation, test):
    counts = {f"label {i}": size for i, size in enumerate(sizes)}
    rows = rows_of(counts)
    data = loaded(rows, seed, validation_fraction=validation, test_fraction=test)
    assert tuple(data.splits) == NAMES
    # every row is in one split, and only there
    found = texts(data)
    assert sorted(text for split in found.values() for text in split) == sorted(row["text"] for row in rows)
    for name, fraction in (("validation", validation), ("test", test)):
        taken = Counter(data.splits[name].rows["label"])
        assert abs(len(data.splits[name]) - fraction * len(rows)) <= 1
        for label, count in counts.items():
            # within a row or two: one is rounded, and one row of each label must stay for training
            assert abs(taken[label] - fraction * count) <= 1 + len(counts)
            assert taken[label] < count
    assert set(data.splits["train"].rows["label"]) == set(counts)


def test_a_cut_of_large_labels_is_exact():
    data = loaded(rows_of({"a": 600, "b": 300, "c": 100}))
    for name, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        counts = Counter(data.splits[name].rows["label"])
        assert {label: count / share for label, count in counts.items()} == pytest.approx(
            {"a": 600, "b": 300, "c": 100}, abs=2.5 / share
        )


def test_the_rows_keep_their_labels_and_places(tmp_path):
    path = csv_of(tmp_path / "rows.csv", ROWS)
    label_of = {row["text"]: row["label"] for row in ROWS}
    line_of = {row["text"]: line for line, row in enumerate(ROWS, 2)}
    for split in loaded(path).splits.values():
        for row in split.rows:
            assert row == {"text": row["text"], "label": label_of[row["text"]], "place": line_of[row["text"]]}


def test_the_same_seed_gives_the_same_split_and_another_another():
    assert texts(loaded(ROWS, 3)) == texts(loaded(ROWS, 3))
    first, other = texts(loaded(ROWS, 3)), texts(loaded(ROWS, 4))
    assert all(first[name] != other[name] for name in NAMES)


def test_splits_that_the_source_has_are_kept_and_missing_ones_cut():
    test = rows_of({"a": 5, "b": 5, "c": 1})
    data = loaded({"train": ROWS, "test": test})
    assert texts(data)["test"] == [row["text"] for row in test]
    assert len(data.splits["validation"]) == 10
    assert len(data.splits["train"]) == 90


def test_three_splits_are_taken_as_they_are():
    splits = {"train": ROWS, "validation": ROWS[:50], "test": ROWS[40:]}
    data = loaded(splits)
    assert texts(data) == {name: [row["text"] for row in rows] for name, rows in splits.items()}


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.2, 0.3), (0.5, 0.25), (0.01, 0.01)])
def test_fractions_are_of_all_rows(validation, test):
    data = loaded(ROWS, validation_fraction=validation, test_fraction=test)
    assert len(data.splits["validation"]) == round(100 * validation)
    assert len(data.splits["test"]) == round(100 * test)


def test_fractions_are_of_the_rows_that_the_task_uses():
    rows = rows_of({"negative": 50, "neutral": 100, "positive": 50})
    data = loaded(rows, task=Sentiment(grades="two"), validation_fraction=0.1, test_fraction=0.2)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 70, "validation": 10, "test": 20}
    assert any("100 of 200" in warning.message for warning in data.warnings)


@pytest.mark.parametrize(
    "settings",
    [{"validation_fraction": 0.0}, {"test_fraction": 1.0}, {"validation_fraction": 0.5, "test_fraction": 0.5}],
)
def test_impossible_fractions_are_refused(settings):
    with pytest.raises(RequestError, match=r"data\.\w+_fraction"):
        DataSettings(**settings)


def test_too_few_rows_to_cut_are_refused():
    message = refusal(rows_of({"a": 1, "b": 1}))
    assert "too few" in message
    assert "--data.validation" in message


@relaxed
@given(st.lists(st.integers(3, 60), min_size=2, max_size=4), st.integers(0, 100), st.data())
def test_a_limit_is_met_and_keeps_a_row_of_every_label(sizes, seed, draw):
    counts = {f"label {i}": size for i, size in enumerate(sizes)}
    rows = rows_of(counts)
    limit = draw.draw(st.integers(max(2, len(counts)), len(rows)))
    splits = {"train": rows, "validation": rows, "test": rows}
    data = loaded(splits, seed, limit=limit)
    kept = data.splits["train"].rows
    assert len(kept) == min(limit, len(rows))
    assert len(set(kept["text"])) == len(kept)
    assert set(kept["label"]) == set(counts)
    assert len(data.splits["test"]) == len(rows)


def test_a_limit_keeps_shares_and_follows_the_seed():
    splits = {"train": rows_of({"a": 600, "b": 300, "c": 100}), "validation": ROWS, "test": ROWS}
    data = loaded(splits, 1, limit=100)
    counts = Counter(data.splits["train"].rows["label"])
    assert counts == {"a": pytest.approx(60, abs=2), "b": pytest.approx(30, abs=2), "c": pytest.approx(10, abs=2)}
    assert texts(data) == texts(loaded(splits, 1, limit=100))
    assert texts(data)["train"] != texts(loaded(splits, 2, limit=100))["train"]
    assert any("100 of 1000" in note for note in data.notes)


@pytest.mark.parametrize("limit", [None, 30])
def test_numbers_are_learned_from_the_rows_that_are_left_to_train_on(limit):
    settings = DataSettings([{"text": f"text {i}", "target": i * i} for i in range(100)], limit=limit)
    data = load(settings, {}, Regression(), 0)
    targets = np.array(data.splits["train"].rows["target"])
    assert len(targets) == (limit or 80)
    assert (data.task.mean, data.task.deviation) == pytest.approx((targets.mean(), targets.std()))
    rows = [{"text": f"text {i}", "label": "rare" if i % 20 == 0 else "usual"} for i in range(200)]
    for task in (Classification(class_weights="balanced"), Classification()):
        data = load(DataSettings(rows, limit=limit), {}, task, 0)
        counts = Counter(data.splits["train"].rows["label"])
        weights = tuple(sum(counts.values()) / 2 / counts[name] for name in ("rare", "usual"))
        assert data.task.weights == (pytest.approx(weights) if task.class_weights == "balanced" else None)
    words = [{"text": "Ada met Bob", "entities": entities(i)} for i in range(100)]
    data = load(DataSettings(words, limit=limit), {}, Entities(class_weights="balanced"), 0)
    left = data.splits["train"].rows["entities"]
    spans = Counter(span["label"] for found in left for span in found)
    counts = [3 * len(left) - sum(spans.values()), spans["A"], spans["B"]]
    weights = [3 * len(left) / 3 / count for count in counts]
    assert data.task.weights == pytest.approx([weights[0], weights[1], weights[1], weights[2], weights[2]])


def entities(i):
    """A, and in a third of all rows B."""
    return [{"start": 0, "end": 3, "label": "A"}, {"start": 8, "end": 11, "label": "B"}][: 1 + (i % 3 == 0)]


def test_a_limit_above_the_rows_changes_nothing():
    assert texts(loaded(ROWS, limit=1000)) == texts(loaded(ROWS))


# the report


def test_equal_rows_have_equal_fingerprints_whatever_the_form(tmp_path):
    rows = rows_of({1: 12, 2: 12})
    as_csv = csv_of(tmp_path / "rows.csv", rows)
    as_lines = tmp_path / "rows.jsonl"
    as_lines.write_text("".join(json.dumps({"label": row["label"], "text": row["text"]}) + "\n" for row in rows))
    found = [loaded(source).report()["fingerprint"] for source in (as_csv, str(as_lines), rows)]
    assert len(set(found)) == 1


@pytest.mark.parametrize("change", ["text", "label", "order"])
def test_other_rows_have_another_fingerprint(change):
    rows = [dict(row) for row in ROWS]
    if change == "order":
        rows[0], rows[1] = rows[1], rows[0]
    else:
        rows[0][change] = {"text": "other", "label": "b"}[change]
    before, after = (loaded({"train": r, "validation": r, "test": r}) for r in (ROWS, rows))
    assert before.report()["fingerprint"] != after.report()["fingerprint"]
    assert fingerprint([before.splits["train"].rows]) != before.report()["fingerprint"]


def test_the_report_counts_rows_and_names_columns(tmp_path):
    path = csv_of(tmp_path / "rows.csv", ROWS, ("Review", "Stars"))
    report = loaded(path).report()
    assert report["rows"] == {"train": 80, "validation": 10, "test": 10}
    assert report["columns"] == {"text": "Review", "label": "Stars"}
    assert report["origins"] == dict.fromkeys(NAMES, path)
    assert json.loads(json.dumps(report)) == report


# which column is which


@pytest.mark.parametrize(
    ("names", "columns", "chosen"),
    [
        (("text", "label"), {}, ("text", "label")),
        (("TEXT", " Label "), {}, ("TEXT", "Label")),
        (("Review", "Category"), {}, ("Review", "Category")),
        (("mine", "yours"), {"text": "mine", "label": "yours"}, ("mine", "yours")),
        (("mine", "label"), {"text": "mine"}, ("mine", "label")),
        # what the recipe gives away is not taken again
        (("type", "category"), {"text": "type"}, ("type", "category")),
    ],
)
def test_columns_are_found_by_usual_names_or_by_the_recipe(tmp_path, names, columns, chosen):
    data = loaded(csv_of(tmp_path / "rows.csv", ROWS, names), columns=columns)
    assert (data.columns["text"], data.columns["label"]) == chosen
    assert data.splits["train"].rows[0]["text"].startswith("text ")
    assert data.task.classes == ("a", "b", "c")


def test_the_more_usual_name_wins_and_other_columns_are_left_aside():
    rows = [{"id": i, "category": "x", "label": row["label"], "text": row["text"]} for i, row in enumerate(ROWS)]
    data = loaded(rows)
    assert data.columns == {"text": "text", "label": "label"}
    assert set(data.splits["train"].rows.column_names) == {"text", "label", "place"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"txt": "text"}, ["columns.txt", 'Did you mean "text"', "classification"]),
        ({"text": "txet"}, ["columns.text", "txet", 'Did you mean "text"', "rows.csv"]),
        ({"label": "Label"}, ["columns.label", 'Did you mean "label"']),
    ],
)
def test_a_mapping_that_fits_nothing_names_the_nearest(tmp_path, columns, words):
    message = refusal(csv_of(tmp_path / "rows.csv", ROWS), columns=columns)
    assert all(word in message for word in words)


def test_a_missing_column_says_what_there_is_and_what_to_do(tmp_path):
    message = refusal(csv_of(tmp_path / "rows.csv", ROWS, ("text", "verdict")))
    assert all(word in message for word in ("rows.csv", "label", "verdict", "--columns.label"))


def test_a_missing_column_of_another_split_names_that_file(tmp_path):
    test = csv_of(tmp_path / "other.csv", ROWS, ("review", "label"))
    message = refusal(csv_of(tmp_path / "rows.csv", ROWS), test=test)
    assert all(word in message for word in ("other.csv", 'no column "text"', "rows.csv", "review", "all files"))


# rows that cannot be used

BAD_CELLS = [
    ("text", ""),
    ("text", "  \t"),
    ("label", ""),
    ("label", " "),
]


@pytest.mark.parametrize(("column", "cell"), BAD_CELLS)
def test_an_empty_cell_is_refused_with_file_line_and_column(tmp_path, column, cell):
    rows = [dict(row) for row in ROWS]
    rows[4][column] = rows[9][column] = cell
    message = refusal(csv_of(tmp_path / "rows.csv", rows))
    assert all(
        word in message for word in ("rows.csv, line 6", f'"{column}"', "empty", "6, 11", "2 lines", "skip_bad_rows")
    )


@pytest.mark.parametrize(("column", "cell"), BAD_CELLS)
def test_bad_rows_are_left_out_and_counted_where_that_is_wanted(tmp_path, column, cell):
    rows = [dict(row) for row in ROWS]
    rows[4][column] = rows[9][column] = cell
    data = loaded(csv_of(tmp_path / "rows.csv", rows), skip_bad_rows=True)
    assert sum(len(split) for split in data.splits.values()) == 98
    assert not {"text 4", "text 9"} & {text for split in texts(data).values() for text in split}
    [warning] = data.warnings
    assert warning.count == 2
    assert all(word in str(warning) for word in ("2 bad rows", "rows.csv", "6", "11"))


@pytest.mark.parametrize(
    ("column", "cell", "word"),
    [
        ("text", None, "empty"),
        ("text", float("nan"), "empty"),
        ("text", 12.5, "float"),
        ("text", ["a"], "list"),
        ("text", "half \ud83d pair", "surrogate"),
        ("label", None, "empty"),
        ("label", float("nan"), "empty"),
        ("label", {"a": 1}, "dict"),
        ("label", "\ud83d", "surrogate"),
    ],
)
def test_a_cell_of_the_wrong_kind_is_refused_with_its_row(column, cell, word):
    rows = [dict(row) for row in ROWS]
    rows[6][column] = cell
    message = refusal(rows)
    assert all(part in message for part in ("row 7", f'"{column}"', word))


def test_rows_that_could_not_be_read_count_as_bad(tmp_path):
    path = tmp_path / "rows.csv"
    csv_of(path, ROWS)
    path.write_text(path.read_text() + "one cell too many,a,b\n")
    message = refusal(str(path))
    assert "line 102" in message
    assert "3 cells" in message
    data = loaded(str(path), skip_bad_rows=True)
    assert sum(len(split) for split in data.splits.values()) == 100
    assert "102" in str(data.warnings[0])


def test_bad_rows_alone_are_refused_even_where_they_may_be_skipped(tmp_path):
    path = csv_of(tmp_path / "rows.csv", [{"text": "", "label": "a"}] * 3)
    message = refusal(path, skip_bad_rows=True)
    assert "line 2" in message
    assert "every row" in message


def test_numbers_beside_words_are_one_kind_of_label():
    rows = [{**row, "label": 1 if row["label"] == "a" else row["label"]} for row in ROWS]
    assert loaded(rows).task.classes == ("1", "b", "c")


# what the task refuses


def test_a_label_that_training_lacks_is_refused_with_file_and_line(tmp_path):
    test = [dict(row) for row in ROWS[:8]]
    test[5]["label"] = "aa"
    train, other = csv_of(tmp_path / "rows.csv", ROWS), csv_of(tmp_path / "other.csv", test)
    message = refusal(train, test=other)
    assert all(word in message for word in ("other.csv, line 7", '"aa"', 'Did you mean "a"'))


def test_a_label_that_the_scale_lacks_is_refused_with_file_and_line(tmp_path):
    rows = [{**row, "label": 1 + i % 5} for i, row in enumerate(ROWS)]
    rows[12]["label"] = 17
    message = refusal(csv_of(tmp_path / "rows.csv", rows), task=Sentiment(scale="stars"))
    assert all(word in message for word in ("rows.csv, line 14", '"17"'))


def test_one_class_is_refused():
    message = refusal(rows_of({"a": 30}))
    assert "a" in message
    assert "two classes" in message


def test_swapped_columns_are_refused():
    message = refusal([{"text": row["label"], "label": row["text"]} for row in ROWS])
    assert "swapped" in message
    assert "--columns" in message


# one source for a fitted task


@pytest.fixture
def fitted():
    return loaded(ROWS).task


def test_rows_to_predict_need_no_label(fitted):
    warnings = []
    split = load_one([{"text": "new", "label": ""}], fitted, False, warnings, {}, {})
    assert split.rows["text"] == ["new"]
    assert "label" not in split.rows.column_names
    assert not warnings


def test_rows_to_judge_need_labels_of_training(fitted):
    assert load_one(ROWS, fitted, True, [], {}, {}).rows["label"] == [row["label"] for row in ROWS]
    with pytest.raises(RequestError, match=r"label"):
        load_one([{"text": "new"}], fitted, True, [], {}, {})
    with pytest.raises(RequestError, match=r"row 2.*unknown"):
        load_one([ROWS[0], {"text": "new", "label": "unknown"}], fitted, True, [], {}, {})


def test_remembered_columns_hold_where_they_exist_and_given_ones_always(fitted):
    remembered = {"text": "mine", "label": "yours"}
    both = [{"mine": "1", "text": "2", "other": "3"}]
    assert load_one(both, fitted, False, [], {}, remembered).rows["text"] == ["1"]
    assert load_one(both, fitted, False, [], {"text": "other"}, remembered).rows["text"] == ["3"]
    assert load_one([{"text": "2"}], fitted, False, [], {}, remembered).rows["text"] == ["2"]
    with pytest.raises(RequestError, match=r"columns\.text"):
        load_one([{"text": "2"}], fitted, False, [], {"text": "mine"}, {})
