"""Inspection: what makes scores doubtful is found, counted and placed, and nothing else is."""

import copy
import json
from typing import ClassVar

import numpy as np
import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from nlp_transfer import report
from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.data.features import Features
from nlp_transfer.data.findings import Finding, Place, share
from nlp_transfer.data.inspection import cut_texts, folded, inspected
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.tasks.sentiment import Sentiment


def rows_of(*pairs):
    return [{"text": text, "label": label} for text, label in pairs]


def some(count, start=0, labels="ab"):
    return rows_of(*((f"text number {start + i}", labels[i % len(labels)]) for i in range(count)))


def found(train=(), validation=(), test=(), task=None):
    source = {
        "train": some(20) + rows_of(*train),
        "validation": some(6, 100) + rows_of(*validation),
        "test": some(6, 200) + rows_of(*test),
    }
    return load(DataSettings(source), {}, task or Classification(), seed=0).warnings


def written(findings):
    return [(finding.kind, finding.count, [str(place) for place in finding.places]) for finding in findings]


def test_sound_rows_have_no_findings():
    assert found() == []


def test_rows_that_repeat_an_earlier_one():
    repeated = [("Text  Number 0", "a"), ("text number 1\n", "b"), ("text number 2", "a"), ("text number 3", "b")]
    [finding] = found(train=repeated)
    assert (finding.kind, finding.count) == ("duplicate_rows", 4)
    assert [str(place) for place in finding.places] == [f"data (train), row {row}" for row in (21, 22, 23)]
    assert "4 rows of 24" in finding.message


def test_rows_to_judge_by_that_training_has_too():
    findings = found(train=[("Übung  macht", "a")], validation=[("übung macht", "a")], test=[("TEXT number 4 ", "a")])
    assert written(findings) == [
        ("seen_in_training", 1, ["data (validation), row 7 (as data (train), row 21)"]),
        ("seen_in_training", 1, ["data (test), row 7 (as data (train), row 5)"]),
    ]
    assert "14 %" in findings[0].message


def test_one_text_with_several_labels():
    findings = found(train=[("Text number 0", "b"), ("fine and good", "a")], test=[("fine and good", "b")])
    assert [finding.kind for finding in findings] == ["seen_in_training", "conflicting_answers"]
    conflict = findings[1]
    assert conflict.count == 4
    assert "2 texts" in conflict.message
    assert [str(place) for place in conflict.places] == [
        "data (train), row 1",
        "data (train), row 21",
        "data (train), row 22",
    ]


def test_very_short_texts():
    [finding] = found(test=[("ok", "a"), (" ! ", "b"), ("yes", "a")])
    assert written([finding]) == [("short_texts", 2, ["data (test), row 7", "data (test), row 8"])]


def test_labels_that_look_alike():
    more = [(f"more {i}", label) for i, label in enumerate(["A", "a ", "a ", "A", "A"])]
    [finding] = found(train=more)
    assert written([finding]) == [("similar_labels", 5, [f"data (train), row {row}" for row in (21, 22, 23)])]
    assert '"a" and "A" and "a "' in finding.message


def test_sentiment_reads_labels_that_look_alike_as_one():
    rows = rows_of(
        *((f"text number {i}", label) for i, label in enumerate(["Positive", "positive ", "NEG", "neg"] * 6))
    )
    assert load(DataSettings(rows), {}, Sentiment(), seed=0).warnings == []


def test_rare_labels():
    [finding] = found(train=[(f"more {i}", "a") for i in range(80)] + [("rare one", "c"), ("rare two", "c")])
    assert written([finding]) == [("imbalance", 2, ["data (train), row 101", "data (train), row 102"])]
    assert '"c" (2)' in finding.message
    assert "class_weights" in finding.message


def test_ten_times_rarer_is_not_yet_rare():
    rows = [("more", "a")] * 0 + [(f"more {i}", "a") for i in range(40)]
    assert found(train=[*rows, *((f"less {i}", "c") for i in range(5))]) == []


def test_rows_left_out_by_the_rule_of_the_task_are_counted():
    labels = ["positive", "negative"]
    rows = [{"text": f"text number {i}", "label": labels[i % 2] if i % 5 else "neutral"} for i in range(40)]
    [finding] = load(DataSettings(rows), {}, Sentiment(grades="two"), seed=0).warnings
    assert written([finding]) == [("left_out", 8, ["data, row 1", "data, row 6", "data, row 11"])]


def test_bad_rows_are_listed_with_their_reasons_all_of_them(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [
        "text,label",
        *(f"text number {i},{'ab'[i % 2]}" for i in range(30)),
        ",a",
        "x,",
        "1,2,3",
        ",",
        "good one,b",
    ]
    path.write_text("\n".join(lines))
    data = load(DataSettings(str(path), skip_bad_rows=True), {}, Classification(), seed=0)
    [finding] = data.warnings
    assert (finding.kind, finding.count, len(finding.places)) == ("bad_rows", 4, 4)
    assert finding.places[0] == (str(path), "line 32", 'column "text": the cell is empty')
    assert finding.places[2] == (str(path), "line 34", "3 cells where the header has 2")
    assert str(finding).startswith("4 bad rows of ")
    assert "line 34 (3 cells where the header has 2)" in str(finding)
    assert "line 35" not in str(finding)
    assert data.report()["rows"] == {"train": 25, "validation": 3, "test": 3}


@pytest.mark.parametrize("count", [1, 3, 2500])
def test_labels_that_training_lacks_are_left_out_where_that_is_wanted(count):
    test = some(4, 100) + [{"text": f"other {i}", "label": f"c{i % 7}"} for i in range(count)] + some(4, 200)
    source = {"train": some(20), "validation": some(4, 300), "test": test}
    data = load(DataSettings(source, skip_bad_rows=True), {}, Classification(), seed=0)
    assert list(data.splits["test"].rows["text"]) == [row["text"] for row in some(4, 100) + some(4, 200)]
    [finding] = data.warnings
    assert (finding.kind, finding.count, len(finding.places)) == ("bad_rows", count, count)
    assert str(finding.places[0]) == "data (test), row 5"
    assert finding.places[0].reason.startswith('column "label": the label "c0" is not one of training.')


# texts longer than the limit


@pytest.fixture
def tokenizer(tiny_bert):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.model_max_length = 16
    return tokenizer


def split_of(*texts):
    rows = {"text": list(texts), "label": ["a"] * len(texts), PLACE: list(range(2, 2 + len(texts)))}
    return Split(Dataset.from_dict(rows), "rows.csv", "line")


def test_tokens_that_are_not_read_are_counted(tokenizer):
    task = Classification(classes=("a", "b"))
    # two special tokens: 14 words fill the limit, and lose nothing
    splits = {"train": split_of("a " * 14, "a " * 3, "a " * 15, "a " * 40), "validation": split_of("a " * 14)}
    features = {name: Features.of(split.rows, task, tokenizer) for name, split in splits.items()}
    [finding] = cut_texts(splits, features)
    assert written([finding]) == [("cut_texts", 2, ["rows.csv, line 4", "rows.csv, line 5"])]
    assert "2 rows of 4 longer than 16 tokens" in finding.message
    assert "27 of 80 tokens (34 %)" in finding.message
    assert tokenizer.model_max_length == 16


def test_a_task_that_reads_in_windows_loses_nothing(tokenizer):
    class Windows(Classification):
        def encode(self, rows, tokenizer):
            encoded = super().encode(rows, tokenizer)
            return {name: [cell for cell in cells for _ in range(2)] for name, cells in encoded.items()}

    splits = {"train": split_of("a " * 40, "b")}
    features = {"train": Features.of(splits["train"].rows, Windows(classes=("a", "b")), tokenizer)}
    assert cut_texts(splits, features) == []


# any task's columns


class Pairs(Classification):
    """Two texts and lists of labels, as tasks to come have them."""

    columns: ClassVar = {"first": ("first",), "second": ("second",), "labels": ("labels",)}
    answer_columns = ("labels",)

    def fault(self, column, cell):
        return None if column == "labels" and isinstance(cell, list) else super().fault(column, cell)

    def remarks(self, rows):
        return []


def test_a_task_of_several_columns_and_lists_of_answers():
    rows = {
        "first": ["one text", "one text", "ONE text", "no"],
        "second": ["other text", "another text", "other text", "other text"],
        "labels": [["a"], ["a"], ["a", "b"], []],
        PLACE: [2, 3, 4, 5],
    }
    findings = inspected(Pairs(), {"train": Split(Dataset.from_dict(rows), "rows.jsonl", "line")})
    assert written(findings) == [
        ("conflicting_answers", 2, ["rows.jsonl, line 2", "rows.jsonl, line 4"]),
        ("short_texts", 1, ["rows.jsonl, line 5"]),
    ]


# how it is said


def test_cells_are_folded():
    assert folded(" A\u00a0b\tC\n") == "a b c"
    assert folded("STRASSE") == folded("straße")
    assert folded(["x", 1]) == folded(["X", 1])


def test_a_finding_names_each_file_once():
    places = tuple(Place(origin, f"line {i}") for i, origin in enumerate(["a.csv", "a.csv", "b.csv", "b.csv"]))
    assert str(Finding("kind", "Something.", 4, places)) == "Something. First: a.csv, line 0; line 1; b.csv, line 2."
    assert str(Finding("kind", "Something.", 1, places[:1])) == "Something. That is: a.csv, line 0."
    assert str(Finding("kind", "Something.", 0)) == "Something."


def test_a_finding_tells_why_apart_from_where():
    found = Finding("kind", "Something.", 1, (Place("a.csv", "line 3", 'column "text": the cell is empty'),))
    assert str(found) == 'Something. That is: a.csv, line 3 (column "text": the cell is empty).'
    told = found.to_json()
    assert (told["rows"], told["reasons"]) == (["a.csv, line 3"], ['column "text": the cell is empty'])


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(1, 3, "33 %"), (1, 20, "5.0 %"), (1, 10_000, "less than 0.1 %"), (0, 5, "0.0 %")]
)
def test_shares_never_round_to_nothing(part, whole, expected):
    assert share(part, whole) == expected


def test_report_and_card_hold_kind_count_and_rows():
    data = load(DataSettings({"train": some(20), "validation": some(6, 50), "test": some(6)}), {}, Classification(), 0)
    [warning] = data.report()["warnings"]
    assert json.loads(json.dumps(warning)) == warning
    assert warning["kind"] == "seen_in_training"
    assert warning["count"] == 6
    assert len(warning["rows"]) == 3
    assert "100 %" in warning["message"]
    bullet = report._warning(warning)
    assert warning["message"] in bullet
    assert warning["rows"][2] in bullet


def test_looking_changes_no_row():
    data = load(DataSettings(some(40) + some(5)), {}, Classification(), seed=0)
    before = {name: copy.deepcopy(split.rows.to_dict()) for name, split in data.splits.items()}
    inspected(data.task, data.splits)
    assert {name: split.rows.to_dict() for name, split in data.splits.items()} == before
    assert np.sum([len(split) for split in data.splits.values()]) == 45
