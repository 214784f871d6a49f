"""Large files: what is laid out on the disk is what memory would hold, and the same is said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from nlp_transfer import fine_tune, judging, rows, scratch
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data import columns, cuts, encoding, grouping, parquet, repeats
from nlp_transfer.data.files import read
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.sources import single
from nlp_transfer.data.splits import load
from nlp_transfer.errors import RequestError, Stopped
from nlp_transfer.evaluation import answers, errors, intervals
from nlp_transfer.judging import write_errors
from nlp_transfer.metrics import spearman_correlation
from nlp_transfer.rows import Writer, column, windows
from nlp_transfer.runs import Run, load_run
from nlp_transfer.scratch import selected
from nlp_transfer.tasks import Task, find, names
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.training.batch import Batch

WORDS = ("rain", "sun", "a cold wind", "the old bridge", "two boats", "bread", "an empty street", "snow")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Parquet file is a large one, and all that follows is as with millions of rows."""
    monkeypatch.setattr(parquet, "LEAST", 0)
    monkeypatch.setattr(columns, "MANY", 0)
    monkeypatch.setattr(columns, "WINDOW", 16)
    monkeypatch.setattr(rows, "ROWS", 16)
    monkeypatch.setattr(encoding, "LARGE", 0)
    monkeypatch.setattr(encoding, "WRITTEN", 64)
    monkeypatch.setattr(rows, "WRITTEN", 1024)
    monkeypatch.setattr(rows, "APART", 4)
    for module in (cuts, errors, grouping, rows, scratch, spearman_correlation):
        monkeypatch.setattr(module, "SPAN", 16)
    monkeypatch.setattr(scratch, "MANY", 1)
    monkeypatch.setattr(repeats, "PART", 16)
    monkeypatch.setattr(answers, "MANY", 0)
    monkeypatch.setattr(answers, "WINDOW", 16)
    monkeypatch.setattr(judging, "TOGETHER", 16)
    monkeypatch.setattr(intervals, "SPAN", 16)


def weather(count: int, labels: tuple[Any, ...] = ("dry", "wet")) -> dict[str, list[Any]]:
    """Rows of a few labels; some repeat others, one is short, two disagree."""
    texts = [f"{WORDS[i % 8]} and {WORDS[i // 8 % 8]} on day {i}" for i in range(count)]
    texts[1] = texts[2] = texts[0].upper()
    texts[5], texts[40] = "ok", texts[3]
    return {"text": texts, "label": [labels[i % len(labels)] for i in range(count)]}


def write(path: Path, cells: Mapping[str, Any]) -> Path:
    """A Parquet file in several row groups."""
    pyarrow.parquet.write_table(pyarrow.table(dict(cells)), path, row_group_size=40)
    return path


def outcome(source: Any, task: str = "classification", **settings: Any) -> Any:
    """Everything that is read of a source and said about it, or why it is refused."""
    try:
        data = load(DataSettings(source=source, **settings), {}, find(task)(), seed=3)
    except RequestError as error:
        return str(error)
    cells = {
        name: {each: column(split.rows, each) for each in split.rows.column_names}
        for name, split in data.splits.items()
    }
    return data.report(), data.task.to_json(), cells


LABELS = {
    "words": {"label": ["dry", "wet"]},
    "numbers": {"label": [0, 1]},
    "fractions": {"label": [1.0, 2.5, 4.0], "task": "regression"},
    "stars": {"label": [1, 3, 5], "task": "sentiment", "grades": "two"},
    "lists": {"label": [["rain"], [], ["rain", "wind"]], "task": "multi_label"},
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("settings", [{}, {"limit": 50, "test_fraction": 0.0}], ids=["whole", "limited"])
def test_a_large_file_is_read_as_a_small_one(
    kind: str, settings: dict[str, Any], tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = LABELS[kind]
    task = str(how.get("task", "classification"))
    path = write(tmp_path / "weather.parquet", weather(120, tuple(how["label"])))
    assert isinstance(read(path).columns, parquet.Columns)
    found = outcome(path, task, **settings)
    monkeypatch.setattr(parquet, "LEAST", 2**20)
    assert not isinstance(read(path).columns, parquet.Columns)
    assert found == outcome(path, task, **settings)
    assert {"duplicate_rows", "conflicting_answers"} & {each["kind"] for each in found[0]["warnings"]}


def test_a_large_file_is_read_as_csv(tmp_path: Path, large: None) -> None:
    cells_of = weather(120)
    csv = tmp_path / "weather.csv"
    csv.write_text(
        "".join(
            f"{text},{label}\n"
            for text, label in zip(["text", *cells_of["text"]], ["label", *cells_of["label"]], strict=True)
        )
    )
    (said, task, cells), (other, its, their) = outcome(write(tmp_path / "w.parquet", cells_of)), outcome(csv)
    assert task == its
    for name in cells:
        assert [place + 1 for place in cells[name].pop("place")] == their[name].pop("place")
    assert cells == their
    assert said["fingerprint"] == other["fingerprint"]
    assert [(each["kind"], each["count"]) for each in said["warnings"]] == [
        (each["kind"], each["count"]) for each in other["warnings"]
    ]


BROKEN: dict[str, dict[str, Any]] = {
    "an empty text": {"text": [*"abcd" * 25, " "], "label": [*"xy" * 50, "x"]},
    "no label": {
        "text": [f"text {i}" for i in range(60)],
        "label": [None if i in (17, 44) else "xy"[i % 2] for i in range(60)],
    },
    "numbers for texts": {"text": [*range(50)], "label": [*"xy" * 25]},
    "one class": {"text": [f"text {i}" for i in range(50)], "label": ["x"] * 50},
    "free text as labels": {"text": [f"text {i}" for i in range(50)], "label": [f"label {i}" for i in range(50)]},
    "no column": {"words": ["a"] * 50, "label": [*"xy" * 25]},
    "objects as labels": {"text": [f"text {i}" for i in range(50)], "label": [{"a": i % 2} for i in range(50)]},
    "half a text": {"text": pyarrow.array([b"caf\xc3\xa9"] * 30 + [b"caf\xe9"] * 20), "label": [*"xy" * 25]},
    "bytes that are texts": {"text": pyarrow.array([b"caf\xc3\xa9 %d" % i for i in range(50)]), "label": [*"xy" * 25]},
    "words for a dictionary": {
        "text": [f"text {i}" for i in range(50)],
        "label": pyarrow.array([*"xy" * 25]).dictionary_encode(),
    },
    "numbers beyond 64 bits": {
        "text": [f"text {i}" for i in range(50)],
        "label": pyarrow.array([2**63, 2**63 + 1] * 25, pyarrow.uint64()),
    },
}


@pytest.mark.parametrize("skip", [False, True], ids=["refused", "left out"])
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_with_a_large_file_is_said_in_the_same_words(
    kind: str, skip: bool, tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.parquet", BROKEN[kind])
    found = outcome(path, skip_bad_rows=skip)
    monkeypatch.setattr(parquet, "LEAST", 2**20)
    assert found == outcome(path, skip_bad_rows=skip)


def test_many_rows_of_a_dataset_are_read_as_few(tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    several = {**weather(120), "tags": [[i % 2] for i in range(120)]}
    features = {
        "text": Value("string"),
        "label": ClassLabel(names=["dry", "wet"]),
        "tags": List(ClassLabel(names=["a", "b"])),
    }
    made = Dataset.from_dict({**several, "label": [i % 2 for i in range(120)]}, Features(features))
    made.save_to_disk(tmp_path / "saved")
    source = Dataset.load_from_disk(str(tmp_path / "saved")).select(np.arange(119, 4, -1))
    assert isinstance(single(source).columns, columns.LargeColumns)
    assert single(source).columns["tags"] == [["ab"[i % 2]] for i in range(119, 4, -1)]
    found = outcome(source)
    monkeypatch.setattr(columns, "MANY", 2**16)
    assert not isinstance(single(source).columns, columns.LargeColumns)
    assert found == outcome(source)
    assert found[1]["classes"] == ("dry", "wet")


def test_a_large_file_that_breaks_off_is_refused(tmp_path: Path, large: None) -> None:
    path = write(tmp_path / "rows.parquet", weather(400))
    content = bytearray(path.read_bytes())
    content[60:300] = bytes(240)
    path.write_bytes(content)
    assert "is no Parquet file that can be read" in outcome(path)


def test_a_disk_that_is_full_is_said_and_nothing_stays(
    tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "write", full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    path = write(tmp_path / "rows.parquet", weather(100))
    assert "No space left on device. Name a folder on a larger disk with NLP_TRANSFER_CACHE or TMPDIR." in outcome(path)
    assert [*tmp_path.iterdir()] == [path]


def test_splits_may_be_several_large_files(tmp_path: Path, large: None) -> None:
    for name, count in (("train", 100), ("validation", 60), ("test", 48)):
        write(tmp_path / f"{name}.parquet", weather(count))
    report, _, cells = outcome(tmp_path)
    assert report["rows"] == {"train": 100, "validation": 60, "test": 48}
    assert [*cells["test"]["place"]] == [*range(1, 49)]
    assert any(each["kind"] == "seen_in_training" and each["count"] == 60 for each in report["warnings"])


def test_windows_give_the_cells_of_a_selection_in_its_order() -> None:
    whole = Dataset.from_dict({"number": [*range(1000)], "text": [f"{i}" for i in range(1000)]})
    for chosen in (np.arange(3, 900, 2), np.arange(0, 1000, 97), np.random.default_rng(0).permutation(1000)):
        found = whole.select(chosen)
        assert column(found, "number") == chosen.tolist()
        cells = [window.to_pydict() for _, window in windows(found, ["text", "number"], size=64)]
        assert [number for each in cells for number in each["number"]] == chosen.tolist()
        assert [text for each in cells for text in each["text"]] == [f"{i}" for i in chosen]


@pytest.mark.parametrize("name", names())
def test_rows_are_encoded_into_a_file_as_into_memory(name: str, tmp_path: Path, tiny_bert: Path) -> None:
    task = find(name)()
    sample = [{each: row[each] for each in row if each != "id"} for row in task.sample * 20]
    data = load(DataSettings(source={"train": sample, "validation": sample, "test": sample}), {}, task, seed=0)
    tokenizer, chosen = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(32), data.splits["train"].rows
    held = encoding.anew(chosen, data.task, tokenizer)
    with (tmp_path / "rows.arrow").open("w+b") as file:
        laid_out = encoding.anew(chosen, data.task, tokenizer, file)
    assert laid_out.features == held.features
    assert laid_out.to_dict() == held.to_dict()


def test_a_kill_leaves_nothing_of_rows_that_are_encoded_into_a_file(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Watched(Classification):
        def encode(self, rows: Any, tokenizer: Any) -> Any:
            seen.extend(tmp_path.iterdir())
            return super().encode(rows, tokenizer)

    monkeypatch.setattr(encoding, "LARGE", 0)
    monkeypatch.setattr(encoding, "scratch", lambda: tmp_path)
    rows = Dataset.from_dict({"text": ["a text"] * 3000, "label": ["a", "b", "a"] * 1000})
    tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(16)
    made = encoding.made(rows, Watched(classes=("a", "b")), tokenizer)
    assert len(made) == 3000
    assert seen == []


@pytest.mark.parametrize("name", names())
def test_a_task_that_sees_its_rows_together_says_so(name: str) -> None:
    task = find(name)
    assert task.rows_apart == (task.faults is Task.faults and task.uniform is Task.uniform)


def trained(source: Path, model: Path, output: Path, **settings: Any) -> Run:
    train = {"max_steps": 6, "batch_size": 4, "learning_rate": 1e-3, "precision": "fp32", **settings}
    return fine_tune(
        task="classification",
        data=str(source),
        model=str(model),
        train=train,
        output=output,
        silent=True,
        resume=output.exists(),
    )


@pytest.mark.parametrize("name", [name for name in names() if find(name).rows_apart])
def test_many_rows_are_judged_as_few(name: str, large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = [{each: row[each] for each in row if each != "id"} for row in find(name).sample * 20]
    data = load(DataSettings(source={"train": sample, "validation": sample, "test": sample}), {}, find(name)(), seed=0)
    split, width = data.splits["test"], data.task.head()[1]["num_labels"]
    outputs = np.random.default_rng(0).normal(size=(len(split), width)).astype(np.float32)
    found = []
    for many in (0, 2**16):
        monkeypatch.setattr(answers, "MANY", many)
        monkeypatch.setattr(errors, "SPAN", 16 if many else 2**16)
        task = data.task.calibrate(outputs, split.rows, split.rows)
        decoded = answers.decoded(task, outputs, split.rows, split.rows)
        judged = answers.judged_from(task, decoded, split.rows)
        mistakes = answers.mistakes_in(task, decoded, split.rows)
        assert [type(each) is list for each in (decoded, mistakes)] == [bool(many)] * 2
        assert 0 < len(mistakes) < len(split)
        said = errors.analysis(task, judged, mistakes, split)
        kept = {key: (values.dtype, values.tolist()) for key, values in judged.items()}
        found.append(
            (task, kept, [*mistakes], [*answers.surest(mistakes)], said, task.details(decoded, split.rows, judged))
        )
    assert found[0] == found[1]


def test_a_training_on_a_large_file_is_that_on_a_small_one(
    tmp_path: Path, tiny_bert: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "weather.parquet", weather(120))
    found = trained(path, tiny_bert, tmp_path / "large")
    assert rows._maps
    judged = found.evaluate(path)
    assert isinstance(judged.answers, answers.Answers)
    monkeypatch.undo()
    other = trained(path, tiny_bert, tmp_path / "small")
    assert found.scores == other.scores
    for name in ("predictions/test.jsonl", "predictions/validation.jsonl"):
        assert (found.folder / name).read_text() == (other.folder / name).read_text()
    theirs = other.evaluate(path)
    assert judged.scores == theirs.scores
    assert judged.intervals.keys() == theirs.intervals.keys()
    assert judged.details == theirs.details
    assert isinstance(judged.mistakes, answers.Mistakes)
    assert [*judged.mistakes] == theirs.mistakes
    assert judged.mistakes[3] == theirs.mistakes[3]
    assert judged.mistakes[-9:-2] == theirs.mistakes[-9:-2]
    assert [*judged.places] == [*theirs.places]
    for name, each in {"large": judged, "small": theirs}.items():
        assert write_errors(each, path, tmp_path / f"{name}.jsonl") == len(theirs.mistakes)
    assert (tmp_path / "large.jsonl").read_text() == (tmp_path / "small.jsonl").read_text()
    assert [*judged.answers] == theirs.answers
    assert judged.answers[7] == theirs.answers[7]
    assert judged.answers[-9:-2] == theirs.answers[-9:-2]


def test_a_resumed_training_fetches_no_batch_again(
    tmp_path: Path, tiny_bert: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlp_transfer.data.features import Features
    from nlp_transfer.training.fit import Fit

    monkeypatch.setenv("NLP_TRANSFER_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr(encoding, "SMALL", 0)
    encoding._remembered.clear()
    path, fetched, judging = write(tmp_path / "weather.parquet", weather(120)), [], []
    fetch, keep, judge = Features.fetch, Fit._keep, Fit._judge

    def watched(self: Features, indices: np.ndarray) -> Batch:
        if not judging:
            fetched.append(sorted(indices.tolist()))
        return fetch(self, indices)

    def stopping(self: Fit) -> None:
        if self.history.step == 3:
            self.stop.asked = "a test"
        keep(self)

    def apart(self: Fit) -> None:
        judging.append(True)
        judge(self)

    monkeypatch.setattr(Features, "fetch", watched)
    monkeypatch.setattr(Fit, "_judge", apart)
    whole = trained(path, tiny_bert, tmp_path / "whole")
    steps, fetched[:] = fetched[:6], []
    judging.clear()
    monkeypatch.setattr(Fit, "_keep", stopping)
    with pytest.raises(Stopped):
        trained(path, tiny_bert, tmp_path / "parted")
    assert fetched == steps[:3]
    fetched.clear()
    encoding._remembered.clear()  # as in a process that has just begun
    monkeypatch.setattr(Fit, "_keep", keep)
    monkeypatch.setattr(encoding, "anew", None)  # what the first run encoded is found, and nothing made
    trained(path, tiny_bert, tmp_path / "parted")
    assert fetched == steps[3:]
    assert load_run(whole.folder).scores


@pytest.mark.parametrize("name", [name for name in names() if find(name).rows_apart])
def test_what_a_task_learns_of_rows_does_not_hold_them(
    name: str, tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rows, scratch):
        monkeypatch.setattr(module, "SPAN", 2**11)
    for constant, size in {"WRITTEN": 2**16, "ROWS": 2**10}.items():
        monkeypatch.setattr(rows, constant, size)
    sample = Dataset.from_list([{each: row[each] for each in row if each != "id"} for row in find(name).sample])

    def held(count: int) -> int:
        with (tmp_path / f"{count}.arrow").open("w+b") as file:
            writer = Writer(file, sample.data.schema)
            for _ in range(0, count, 1000):
                writer.write({each: (sample[each][:] * 1000)[:1000] for each in sample.column_names})
            many = writer.mapped()
        tracemalloc.start()
        task = find(name)().fit(many)
        learned = task.read(many)
        assert len(set(task.strata(learned))) > 1
        assert isinstance(task.remarks(learned), list)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    held(1_000)  # what is made once
    sizes = 4_000, 24_000
    few, many = map(held, sizes)
    assert many - few < 4 * (sizes[1] - sizes[0])


def test_ranks_of_many_numbers_are_those_of_few(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    some = np.random.default_rng(0).integers(0, 40, (2, 100)).astype(float)
    many = spearman_correlation.spearman_correlation(*some)
    monkeypatch.undo()
    assert many == pytest.approx(spearman_correlation.spearman_correlation(*some), rel=1e-12)


@pytest.mark.slow
def test_memory_hardly_grows_with_the_rows(tmp_path: Path) -> None:
    """Training and evaluation in fresh processes. Texts and token ids are some 400 bytes a row, a number is 8."""
    script = Path(__file__).parents[2] / "benchmarks" / "large_data.py"
    sizes, output = (70_000, 1_070_000), tmp_path / "figures.json"
    command = [sys.executable, str(script), "--rows", *map(str, sizes), "--max_steps", "20", "--judged", "1000"]
    subprocess.run(
        [*command, "--folder", str(tmp_path), "--output", str(output)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    few, many = json.loads(output.read_text())["figures"]
    assert few["rows_by_split"] == {"train": sizes[0] - 2000, "validation": 1000, "test": 1000}
    for part in ("train", "evaluate"):
        grown = many[part]["peak_anonymous_bytes"] - few[part]["peak_anonymous_bytes"]
        # a measurement of a process varies by more than ten megabytes, one list of all rows would be eight
        assert grown < 8 * (sizes[1] - sizes[0]) + 2**24, part


def test_rows_that_are_selected_are_those_that_datasets_selects() -> None:
    whole = Dataset.from_dict({"text": [f"row {i}" for i in range(50)], "label": list(range(50))})
    first, second = np.array([3, 9, 4, 4, 49, 0]), np.array([5, 0, 2])
    once, twice = selected(whole, first), selected(selected(whole, first), second)
    assert once[:] == whole.select(first)[:]
    assert twice[:] == whole.select(first).select(second)[:]
    assert twice.with_format("arrow")[:].equals(whole.select(first).select(second).with_format("arrow")[:])
    assert [each for _, window in windows(twice, ["label"], 2) for each in window.column(0).to_pylist()] == [0, 3, 4]
    assert len({whole._fingerprint, once._fingerprint, twice._fingerprint}) == 3
    assert selected(whole, first)._fingerprint == once._fingerprint
    assert once.map(lambda row: {"label": row["label"] + 1})["label"][:] == [4, 10, 5, 5, 50, 1]
