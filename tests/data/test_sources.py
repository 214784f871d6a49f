"""Sources: a file, a folder, a data set on disk or memory, each given as tables by split."""

import collections

import datasets
import numpy
import pandas
import pytest

from nlp_transfer.data import sources
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.errors import RequestError

ROWS = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}, {"text": "three", "label": "a"}]
COLUMNS = {"text": ["one", "two", "three"], "label": ["a", "b", "a"]}


def csv_of(folder, name, rows=ROWS):
    path = folder / name
    path.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows), encoding="utf-8")
    return path


def refusal(call, *arguments):
    with pytest.raises(RequestError) as caught:
        call(*arguments)
    return str(caught.value)


# files and folders


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_file_is_the_training_split(tmp_path, kind):
    path = csv_of(tmp_path, "rows.csv")
    found = sources.open_source(kind(path))
    assert list(found) == ["train"]
    assert found["train"].columns == COLUMNS


def test_a_home_folder_may_be_written_as_tilde(tmp_path, monkeypatch):
    csv_of(tmp_path, "rows.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sources.open_source("~/rows.csv")["train"].columns == COLUMNS


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "validation.csv", "test.csv"], {"train", "validation", "test"}),
        (["Training.CSV", "dev.csv", "eval.csv"], {"train", "validation", "test"}),
        (["train.csv", "valid.csv"], {"train", "validation"}),
        (["train.csv", "val.csv", "notes.csv", "README.md"], {"train", "validation"}),
        (["train.csv", "development.csv", "testing.csv"], {"train", "validation", "test"}),
        (["test.csv"], {"test"}),
    ],
)
def test_a_folder_gives_the_splits_that_its_files_name(tmp_path, names, splits):
    for name in names:
        csv_of(tmp_path, name)
    found = sources.open_source(str(tmp_path))
    assert set(found) == splits
    assert all(table.columns == COLUMNS for table in found.values())


def test_the_splits_of_a_folder_are_not_mixed_up(tmp_path):
    for name, row in zip(("test", "train", "validation"), ROWS, strict=True):
        csv_of(tmp_path, f"{name}.csv", [row])
    found = sources.open_source(tmp_path)
    assert {name: table.columns["text"] for name, table in found.items()} == {
        "test": ["one"],
        "train": ["two"],
        "validation": ["three"],
    }


@pytest.mark.parametrize(
    ("one", "other"), [("dev.csv", "validation.csv"), ("train.csv", "train.tsv"), ("test.csv", "test.csv.gz")]
)
def test_two_files_for_one_split_are_refused(tmp_path, one, other):
    csv_of(tmp_path, one)
    csv_of(tmp_path, other)
    message = refusal(sources.open_source, tmp_path)
    assert one in message
    assert other in message


def test_a_folder_without_split_files_says_what_it_holds(tmp_path):
    assert "no file" in refusal(sources.open_source, tmp_path)
    csv_of(tmp_path, "reviews.csv")
    message = refusal(sources.open_source, tmp_path)
    assert "reviews.csv" in message
    assert "train" in message


def test_validation_and_test_may_stand_apart(tmp_path):
    train, other = csv_of(tmp_path, "a.csv"), csv_of(tmp_path, "b.csv", ROWS[:1])
    found = sources.tables(DataSettings(str(train), validation=str(other), test=[ROWS[1]]))
    assert {name: len(table) for name, table in found.items()} == {"train": 3, "validation": 1, "test": 1}


def test_a_split_that_stands_apart_replaces_the_folder_s(tmp_path):
    for name in ("train.csv", "test.csv"):
        csv_of(tmp_path, name)
    found = sources.tables(DataSettings(str(tmp_path), test=ROWS[:1]))
    assert len(found["test"]) == 1


def test_no_source_and_no_training_rows_are_refused(tmp_path):
    assert "--data" in refusal(sources.tables, DataSettings())
    csv_of(tmp_path, "test.csv")
    message = refusal(sources.tables, DataSettings(str(tmp_path)))
    assert "train" in message
    assert str(tmp_path) in message


def test_a_single_table_of_several_splits_is_refused(tmp_path):
    csv_of(tmp_path, "test.csv")
    assert len(sources.single(tmp_path)) == 3
    csv_of(tmp_path, "train.csv")
    message = refusal(sources.single, tmp_path, "data.test")
    assert "data.test" in message
    assert "train" in message


def test_several_splits_where_one_is_meant_are_refused_with_what_to_pass():
    rows = datasets.Dataset.from_list(ROWS)
    message = refusal(sources.single, datasets.DatasetDict({"train": rows, "test": rows}))
    assert all(word in message for word in ("train, test", "expected one", 'rows["train"]'))


@pytest.mark.parametrize("name", ["none.csv", "folder/none.jsonl.gz", "a b/c", "../none/here/"])
def test_what_can_only_be_a_path_is_not_looked_for_on_the_hub(name):
    message = refusal(sources.open_source, name)
    assert "does not exist" in message
    assert "Hub" not in message


# the Hub


def test_a_hub_data_set_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    message = refusal(sources.open_source, "someone/no-such-data")
    assert "someone/no-such-data" in message
    assert "Hub" in message


def test_what_datasets_loads_from_a_folder_comes_as_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        csv_of(folder, name)
    found = sources._hub(str(folder), None, None)
    assert set(found) == {"train", "test"}
    assert found["train"].columns == COLUMNS
    assert found["train"].unit == "row"
    assert found["train"].places == [1, 2, 3]
    assert "test" in found["test"].origin


# memory


def class_labels():
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    return datasets.Dataset.from_dict({"text": COLUMNS["text"], "label": [0, 1, 0]}, features=features)


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        tuple(ROWS),
        [collections.OrderedDict(row) for row in ROWS],
        pandas.DataFrame(ROWS),
        pandas.DataFrame(ROWS).astype("category"),
        pandas.DataFrame(ROWS, index=[7, 7, 9]),
        datasets.Dataset.from_list(ROWS),
        class_labels(),
    ],
    ids=["list", "tuple", "mappings", "frame", "categories", "index", "dataset", "class_labels"],
)
def test_rows_in_memory_are_the_training_split(rows):
    found = sources.open_source(rows)
    assert list(found) == ["train"]
    assert found["train"].columns == COLUMNS
    assert found["train"].places == [1, 2, 3]
    assert found["train"].unit == "row"


def test_rows_may_lack_cells():
    table = sources.open_source([{"text": "a"}, {"label": 1}])["train"]
    assert table.columns == {"text": ["a", None], "label": [None, 1]}


@pytest.mark.parametrize("dtype", ["Int64", "float64", "string", "category", "object"])
def test_missing_cells_of_a_frame_are_none(dtype):
    frame = pandas.DataFrame(
        {"label": pandas.Series([1, None, 0] if dtype != "string" else ["1", None, "0"], dtype=dtype)}
    )
    cells = sources.open_source(frame)["train"].columns["label"]
    assert cells[1] is None
    assert [int(cell) for cell in (cells[0], cells[2])] == [1, 0]


def test_lists_of_a_frame_that_was_read_from_parquet_are_lists(tmp_path):
    cells = {"words": [["a", "b"], []], "answers": [{"text": ["a"], "start": [1]}, None], "list": [[{"n": [1.5]}], []]}
    pandas.DataFrame(cells).to_parquet(tmp_path / "rows.parquet")
    frame = pandas.read_parquet(tmp_path / "rows.parquet")
    assert isinstance(frame["answers"][0]["text"], numpy.ndarray)
    assert sources.open_source(frame)["train"].columns == cells
    assert sources.open_source(frame.to_dict("records"))["train"].columns == cells
    assert sources.open_source(str(tmp_path / "rows.parquet"))["train"].columns == cells


def test_numbers_of_numpy_are_numbers():
    [cell] = sources.open_source([{"spans": [numpy.int64(3), {"flag": numpy.bool_(True)}]}])["train"].columns["spans"]
    assert (type(cell[0]), type(cell[1]["flag"])) == (int, bool)


@pytest.mark.parametrize("missing", [-1, -100, None])
def test_in_a_list_of_class_labels_what_is_not_told_is_missing(missing):
    features = datasets.Features({"label": datasets.List(datasets.ClassLabel(names=["no", "yes"]))})
    rows = datasets.Dataset.from_dict({"label": [[1, missing], None, [0]]}, features=features)
    assert sources.open_source(rows)["train"].columns["label"] == [["yes", None], None, ["no"]]


def test_class_labels_become_names_and_minus_one_is_missing():
    features = datasets.Features({"label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"label": [1, -1, 0, None]}, features=features)
    assert sources.open_source(rows)["train"].columns["label"] == ["yes", None, "no", None]


@pytest.mark.parametrize("form", ["torch", "numpy", "pandas", "arrow"])
@pytest.mark.parametrize("several", [None, datasets.List, datasets.LargeList])
def test_the_format_of_a_data_set_changes_no_cell(form, several):
    label = datasets.ClassLabel(names=["no", "yes"])
    features = {"text": datasets.Value("string"), "label": several(label) if several else label}
    cells = {"text": ["a", "b"], "label": [[1], [0, 1]] if several else [1, 0]}
    rows = datasets.Dataset.from_dict(cells, features=datasets.Features(features))
    found = sources.open_source(rows.with_format(form, columns=["label"]))["train"].columns
    assert dict(found) == {"text": ["a", "b"], "label": [["yes"], ["no", "yes"]] if several else ["yes", "no"]}


def test_a_transform_of_a_data_set_is_its_rows():
    rows = datasets.Dataset.from_dict({"text": ["a"]}).with_transform(lambda _: {"text": ["of the transform"]})
    assert sources.open_source(rows)["train"].columns == {"text": ["of the transform"]}


def test_tuples_and_sets_are_lists():
    rows = [{"labels": ("b", "a"), "spans": [(0, numpy.int64(2), "P")]}, {"labels": {"b", "a"}, "spans": ()}]
    columns = sources.open_source(rows)["train"].columns
    assert columns == {"labels": [["b", "a"], ["a", "b"]], "spans": [[[0, 2, "P"]], []]}


@pytest.mark.parametrize("kind", [dict, datasets.DatasetDict])
def test_splits_in_memory_under_their_usual_names(kind):
    def some(n):
        return datasets.Dataset.from_list(ROWS[:n])

    found = sources.open_source(kind({"train": some(3), "dev": some(2), "test": some(1), "unsupervised": some(3)}))
    assert {name: len(table) for name, table in found.items()} == {"train": 3, "validation": 2, "test": 1}


def test_splits_in_memory_may_be_of_different_kinds():
    found = sources.open_source({"train": ROWS, "test": pandas.DataFrame(ROWS[:1])})
    assert {name: len(table) for name, table in found.items()} == {"train": 3, "test": 1}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (3, ["int", "list of dicts"]),
        (ROWS[0].items(), ["dict_items"]),
        (pandas.Series(["a"]), ["Series", "pandas frame"]),
        ((row for row in ROWS), ["generator"]),
        (["a text"], ["row 1", "str", "dict"]),
        ([ROWS[0], None], ["row 2", "NoneType"]),
        ([], ["no rows"]),
        (pandas.DataFrame({"text": []}), ["no rows"]),
        (pandas.DataFrame([["a", "b"]], columns=["text", "text"]), ["several columns", "text"]),
        (datasets.Dataset.from_dict({"text": []}), ["no rows"]),
        ({"text": ["a"], "label": ["b"]}, ["text, label", "train", "from_dict"]),
        ({}, ["train"]),
        ({"train": {"train": ROWS}}, ["dict", "one split"]),
        ({"train": ROWS, "test": []}, ["test", "no rows"]),
        ({"train": ROWS, "test": 4}, ["test", "int"]),
        ({"train": "a.csv", "test": "b.csv"}, ["train", "a.csv", '"source"']),
        ({"train": ROWS, "limit": 2}, ["limit", '"source"']),
        ([{0: "a", 1: "b"}], ["row 1", "column 0", "name"]),
    ],
)
def test_what_is_no_rows_is_refused(source, words):
    message = refusal(sources.open_source, source)
    assert all(word in message for word in words)


def test_a_row_of_a_csv_reader_with_too_many_cells_is_a_bad_one():
    table = sources.open_source([*ROWS, {**ROWS[0], None: ["more"]}])["train"]
    assert len(table) == len(ROWS) == len(table.columns["text"])
    assert table.bad == [(len(ROWS) + 1, "more cells than the header has names")]


def test_splits_in_memory_are_told_apart():
    found = sources.tables(DataSettings(ROWS, validation=list(ROWS), test=datasets.Dataset.from_list(ROWS)))
    assert [table.origin for table in found.values()] == ["data", "data (validation)", "data (test)"]


def test_sources_are_described_by_their_path_or_as_memory(tmp_path):
    assert sources.described("reviews.csv") == "reviews.csv"
    assert sources.described(tmp_path) == str(tmp_path)
    assert "memory" in sources.described(ROWS)
