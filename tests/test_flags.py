"""What a person wrote becomes nested values, of which only the form is checked."""

import pytest

from nlp_transfer.errors import RequestError
from nlp_transfer.flags import flags, merge, read_yaml, sections, words


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("", {}),
        ("--seed 3", {"seed": "3"}),
        ("--seed=3", {"seed": "3"}),
        ("--seed -1", {"seed": "-1"}),
        ("--seed 1 --seed 2", {"seed": "2"}),
        ("--train.epochs 2 --train.batch_size 8", {"train": {"epochs": "2", "batch_size": "8"}}),
        ("--task sentiment", {"task": {"name": "sentiment"}}),
        (
            "--model minilm --method full --data a.csv",
            {"model": {"name": "minilm"}, "method": {"name": "full"}, "data": {"source": "a.csv"}},
        ),
        ("--task.grades two --task sentiment", {"task": {"grades": "two", "name": "sentiment"}}),
        ("--columns.text review", {"columns": {"text": "review"}}),
        ("--task.class_weights.bad 2", {"task": {"class_weights": {"bad": "2"}}}),
        ("--data.skip_bad_rows", {"data": {"skip_bad_rows": "true"}}),
        ("--data.skip_bad_rows --seed 3", {"data": {"skip_bad_rows": "true"}, "seed": "3"}),
        ("--data.skip_bad_rows false", {"data": {"skip_bad_rows": "false"}}),
        ("--columns.text=--odd", {"columns": {"text": "--odd"}}),
        ("--columns.text=a=b", {"columns": {"text": "a=b"}}),
        ("--data=", {"data": {"source": ""}}),
    ],
)
def test_flags_become_nested_values(line, values):
    assert flags(line.split()) == values


def test_a_value_may_hold_blanks_and_dots():
    assert flags(["--data", "my files/a.b.csv"]) == {"data": {"source": "my files/a.b.csv"}}


@pytest.mark.parametrize(
    "arguments", [["sentiment"], ["--seed", "1", "2"], ["-s", "1"], ["--", "a"], ["--data", "my", "file.csv"]]
)
def test_a_word_without_a_flag_is_refused(arguments):
    with pytest.raises(RequestError, match=r"belongs to no flag.*--name value"):
        flags(arguments)


@pytest.mark.parametrize(
    "line", ["--train 3 --train.epochs 2", "--seed 1 --seed.x 2", "--task.grades two --task.grades.x 1"]
)
def test_flags_that_contradict_each_other_are_refused(line):
    with pytest.raises(RequestError, match=r"contradicts"):
        flags(line.split())


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"model": "minilm"}, {"model": {"name": "minilm"}}),
        ({"task": "sentiment", "data": "a.csv"}, {"task": {"name": "sentiment"}, "data": {"source": "a.csv"}}),
        ({"method": {"name": "full"}}, {"method": {"name": "full"}}),
        ({"train": {"epochs": 1}, "seed": 3, "head": "mean"}, {"train": {"epochs": 1}, "seed": 3, "head": "mean"}),
    ],
)
def test_sections_of_one_word_are_written_out(written, values):
    assert sections(written) == values


def test_sections_are_copies():
    written = {"train": {"epochs": 1}}
    sections(written)["train"]["epochs"] = 2
    assert written == {"train": {"epochs": 1}}


@pytest.mark.parametrize(
    ("under", "over", "merged", "lost"),
    [
        ({"seed": 1}, {"seed": 2}, {"seed": 2}, []),
        ({"train": {"epochs": 1, "clip": 2}}, {"train": {"epochs": 3}}, {"train": {"epochs": 3, "clip": 2}}, []),
        ({}, {"train": {"epochs": 3}}, {"train": {"epochs": 3}}, []),
        (
            {"task": {"name": "sentiment", "grades": "two"}},
            {"task": {"neutral": "negative"}},
            {"task": {"name": "sentiment", "grades": "two", "neutral": "negative"}},
            [],
        ),
        (
            {"task": {"name": "sentiment", "grades": "two"}},
            {"task": {"name": "sentiment"}},
            {"task": {"name": "sentiment", "grades": "two"}},
            [],
        ),
        (
            {"task": {"name": "sentiment", "grades": "two", "scale": "stars"}},
            {"task": {"name": "classification", "labels": "a,b"}},
            {"task": {"name": "classification", "labels": "a,b"}},
            ["task", "classification", "sentiment", "grades", "scale"],
        ),
        (
            {"method": {"name": "lora", "rank": 16}},
            {"method": {"name": "full"}},
            {"method": {"name": "full"}},
            ["method", "full", "lora", "rank"],
        ),
        ({"method": {"name": "lora"}}, {"method": {"name": "full"}}, {"method": {"name": "full"}}, []),
        (
            {"model": {"name": "org/a", "revision": "abc"}},
            {"model": {"name": "org/b"}},
            {"model": {"name": "org/b"}},
            ["model", "org/a", "org/b", "model.revision abc"],
        ),
        (
            {"model": {"name": "org/a", "revision": "abc"}},
            {"model": {"name": "org/b", "revision": "def"}},
            {"model": {"name": "org/b", "revision": "def"}},
            [],
        ),
        (
            {"model": {"name": "a", "revision": "b"}},
            {"model": {"name": "a"}},
            {"model": {"name": "a", "revision": "b"}},
            [],
        ),
        # another backbone keeps the settings of its section
        (
            {"model": {"name": "minilm", "from_scratch": True}},
            {"model": {"name": "other"}},
            {"model": {"name": "other", "from_scratch": True}},
            [],
        ),
        (
            {"task": {"name": "sentiment", "class_weights": {"positive": 1.0, "negative": 1.0}}},
            {"task": {"class_weights": {"negative": 2.0}}},
            {"task": {"name": "sentiment", "class_weights": {"positive": 1.0, "negative": 2.0}}},
            [],
        ),
    ],
)
def test_values_over_others(under, over, merged, lost):
    said = []
    merge(under, over, said)
    assert under == merged
    assert len(said) == bool(lost)
    assert all(word in said[0] for word in lost)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a,b", ["a", "b"]),
        (" a , b,", ["a", "b"]),
        ("[a, b]", ["a", "b"]),
        (r".*\.quer[y]", [r".*\.quer[y]"]),
        (r"[qk].*[vo]", [r"[qk].*[vo]"]),
        (r".*\.\d{1,2}\..*(query,|value)", [r".*\.\d{1,2}\..*(query,|value)"]),
        ("query,.*val[ue]", ["query", ".*val[ue]"]),
        ("a", ["a"]),
        ("null", None),
        (None, None),
        ([1, 2.5, "a"], ["1", "2.5", "a"]),
        ([True], [True]),
        (3, 3),
    ],
)
def test_lists_of_words(value, expected):
    assert words(value) == expected


# YAML


def test_yaml_is_read_as_it_stands(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("task: sentiment\ntrain: {epochs: 2}\ncolumns: {text: Kritik – ganz}\n", encoding="utf-8")
    assert read_yaml(file) == {"task": "sentiment", "train": {"epochs": 2}, "columns": {"text": "Kritik – ganz"}}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"task: [a", "YAML"),
        (b"task: a: b", "line 1"),
        (b"task: sentiment\n\ttrain: 1", "line 2"),
        (b"task: !!python/object/apply:os.getcwd []", "YAML"),
        (b"seed: 2024-13-45", "YAML"),
        (b"[" * 20_000, "YAML"),
        (b"task: caf\xe9", "cannot be read"),
        (b"", "settings by name"),
        (b"sentiment", "settings by name"),
        (b"- task: sentiment", "settings by name"),
    ],
)
def test_what_is_no_recipe_is_refused_with_the_file(tmp_path, content, word):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        read_yaml(file)
    assert str(file) in str(caught.value)
    assert word in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(RequestError, match=r"none\.yaml does not exist"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(RequestError, match=r"cannot be read"):
        read_yaml(tmp_path)
