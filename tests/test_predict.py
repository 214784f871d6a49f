"""Prediction of any size: every form into every other, in order, in one piece or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from rich.console import Console

from nlp_transfer import RequestError, Run, cli, fine_tune, load_run, predict_file, predicting, progress, samples
from nlp_transfer.data import encoding, streams, writers
from nlp_transfer.data.files import read
from nlp_transfer.errors import Interrupted

INPUTS = [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".jsonl.gz", ".parquet.gz"]
OUTPUTS = [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz"]
ADDED = ["predicted_label", "probability", "probability_negative", "probability_positive"]
WORDS = [
    "not",
    "a",
    "dull",
    "minute",
    "the",
    "soup",
    "was",
    "cold",
    "and",
    "I",
    "would",
    "buy",
    "it",
    "again",
    "though",
    "it",
    "costs",
    "too",
    "much",
]


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    data = str(samples.path("sentiment"))
    train = {"max_steps": 4, "learning_rate": 1e-3}
    output = tmp_path_factory.mktemp("predict") / "run"
    return fine_tune(task="sentiment", data=data, model=str(tiny_bert), output=output, train=train, silent=True)


@pytest.fixture(scope="module")
def expected(run: Run) -> list[Any]:
    return run.predict([row["text"] for row in texts(40)])


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ROWS", 16)


def texts(count: int) -> list[dict[str, str]]:
    """Rows of very different lengths, with columns that a task does not know."""
    generator = random.Random(0)
    made = [" ".join(generator.choices(WORDS, k=generator.randint(1, 30))) for _ in range(count)]
    return [{"id": f"{i:03}", "text": text, "label": "kept, as it is", "note": ""} for i, text in enumerate(made)]


def save(path: Path, rows: list[dict[str, str]]) -> Path:
    kind = [suffix for suffix in path.suffixes if suffix != ".gz"][-1]
    out = io.StringIO(newline="")
    if kind in (".csv", ".tsv"):
        writer = csv.DictWriter(out, rows[0].keys(), delimiter="\t" if kind == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    elif kind == ".json":
        json.dump(rows, out)
    elif kind != ".parquet":
        out.write("".join(json.dumps(row) + "\n" for row in rows))
    content = out.getvalue().encode()
    if kind == ".parquet":
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
        content = sink.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".") or path.name.endswith(".part")]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("form", INPUTS)
def test_every_form_into_every_other(
    run: Run, expected: list[Any], form: str, output: str, tmp_path: Path, small_windows: None
) -> None:
    rows = texts(40)
    done = predict_file(run, save(tmp_path / f"new{form}", rows), tmp_path / f"answers{output}")
    assert done.rows == 40
    after = read(tmp_path / f"answers{output}").columns
    assert list(after) == [*rows[0], *ADDED]
    assert {name: after[name] for name in rows[0]} == {name: [row[name] for row in rows] for name in rows[0]}
    assert after["predicted_label"] == [answer.label for answer in expected]
    for name in ("negative", "positive"):
        given = [float(cell) for cell in after[f"probability_{name}"]]
        assert given == pytest.approx([answer.probabilities[name] for answer in expected], abs=1e-6)
    assert not left_behind(tmp_path)


def test_rows_of_a_stream_are_not_remembered(run: Run, tmp_path: Path, small_windows: None) -> None:
    """Encoded windows were kept in memory, up to a quarter of a GiB, though none is asked for twice."""
    before = dict(encoding._remembered)
    predict_file(run, save(tmp_path / "new.csv", texts(40)), tmp_path / "answers.csv")
    assert encoding._remembered == before


def test_rows_are_read_by_length_inside_a_window_only(
    run: Run, tmp_path: Path, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    forward = type(run.model).forward

    def watched(self: object, *arguments: object, **inputs: object) -> object:
        seen.append(tuple(inputs["input_ids"].shape))  # type: ignore[attr-defined]
        return forward(self, *arguments, **inputs)

    monkeypatch.setattr(type(run.model), "forward", watched)
    predict_file(run, save(tmp_path / "new.csv", texts(40)), tmp_path / "answers.csv", batch_size=8)
    assert [rows for rows, _ in seen] == [8] * 5
    lengths = [length for _, length in seen]
    assert lengths[0] >= lengths[1]
    assert lengths[2] >= lengths[3]
    assert lengths[2] > lengths[1]


def test_long_cells_end_a_window_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(streams, "CHARACTERS", 100)
    path = save(tmp_path / "new.csv", [{"text": "x" * 60}] * 7)
    with streams.stream(path, ".csv") as stream:
        assert [len(window.records) for window in stream.windows] == [2, 2, 2, 1]


def test_a_stream_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ROWS", 1000)
    for form in (".csv", ".jsonl.gz", ".parquet"):
        with streams.stream(save(tmp_path / f"new{form}", texts(5000)), form.removesuffix(".gz")) as stream:
            shares = [stream.share() for _ in stream.windows]
        assert shares == sorted(shares, key=float), form  # type: ignore[arg-type]
        assert shares[-1] == 1.0


def test_types_of_a_parquet_file_are_kept(run: Run, tmp_path: Path, small_windows: None) -> None:
    table = pyarrow.table(
        {
            "text": [row["text"] for row in texts(40)],
            "at": pyarrow.array([datetime(2024, 2, 29, 12, 0, 1)] * 40, pyarrow.timestamp("ns", "UTC")),
            "count": pyarrow.array([None] * 20 + [3] * 20, pyarrow.int8()),
            "words": [["a", "b"]] * 40,
            "kind": pyarrow.array(["x"] * 40).dictionary_encode(),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    predict_file(run, tmp_path / "new.parquet", tmp_path / "answers.parquet")
    after = pyarrow.parquet.read_table(tmp_path / "answers.parquet")
    assert after.select(table.column_names).equals(table)
    predict_file(run, tmp_path / "new.parquet", tmp_path / "answers.jsonl")
    row = json.loads((tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert row["at"].startswith("2024-02-29 12:00:01")
    assert row["words"] == ["a", "b"]
    predict_file(run, tmp_path / "new.parquet", tmp_path / "answers.csv")
    assert read(tmp_path / "answers.csv").columns["words"][0] == '["a", "b"]'


ODD = [
    'comma, "quotes"',
    "two\nlines",
    "a\rlone return",
    "tab\there",
    " blank ",
    "naïve – 日本語 👍",
    "\u2028",
    "'",
    "=1+1",
]


@pytest.mark.parametrize("output", OUTPUTS)
def test_odd_cells_come_through_unchanged(run: Run, tmp_path: Path, output: str) -> None:
    rows = [{"text": f"a text {cell}", "more": cell} for cell in ODD]
    predict_file(run, save(tmp_path / "new.jsonl", rows), tmp_path / f"answers{output}")
    after = read(tmp_path / f"answers{output}").columns
    assert after["more"] == ODD
    assert after["text"] == [row["text"] for row in rows]


def test_separated_files_end_their_lines_in_line_feeds(run: Run, tmp_path: Path) -> None:
    predict_file(run, save(tmp_path / "new.csv", texts(3)), tmp_path / "answers.csv")
    content = (tmp_path / "answers.csv").read_bytes()
    assert b"\r" not in content
    assert content.count(b"\n") == 4


def test_half_a_surrogate_pair_beside_the_text_is_no_crash(run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text('{"text": "a text", "more": "\\ud800"}\n', encoding="utf-8")
    predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.jsonl")
    assert read(tmp_path / "answers.jsonl").columns["more"] == ["\ud800"]
    predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.csv")
    assert read(tmp_path / "answers.csv").columns["more"] == ["\\ud800"]
    with pytest.raises(RequestError, match="more"):
        predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.parquet")


def test_rows_of_json_lines_keep_columns_of_their_own(run: Run, tmp_path: Path, small_windows: None) -> None:
    rows: list[dict[str, object]] = [{"text": f"text {i}"} for i in range(40)]
    rows[2]["early"], rows[30]["late"] = 1, [2]
    save(tmp_path / "new.jsonl", rows)  # type: ignore[arg-type]
    predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [{name: line[name] for name in row} for line, row in zip(lines, rows, strict=True)] == rows
    assert [set(line) & {"early", "late"} for line in lines] == [set(row) - {"text"} for row in rows]
    for output in (".csv", ".parquet"):
        with pytest.raises(RequestError, match=r'new\.jsonl, line 31: column "late".*\.jsonl'):
            predict_file(run, tmp_path / "new.jsonl", tmp_path / f"answers{output}")
        assert not (tmp_path / f"answers{output}").exists()


def test_a_late_column_with_the_name_of_an_answer_is_refused(run: Run, tmp_path: Path, small_windows: None) -> None:
    rows = [{"text": f"text {i}"} for i in range(40)]
    rows[20]["probability"] = "mine"
    with pytest.raises(RequestError, match=r'line 21: column "probability".*Rename'):
        predict_file(run, save(tmp_path / "new.jsonl", rows), tmp_path / "answers.jsonl")


def test_a_parquet_column_keeps_one_type(run: Run, tmp_path: Path, small_windows: None) -> None:
    rows = [{"text": f"text {i}", "n": i, "mixed": i if i % 2 else "x", "late": None} for i in range(40)]
    rows[39]["late"] = 7
    save(tmp_path / "new.jsonl", rows)  # type: ignore[arg-type]
    predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.parquet")
    after = pyarrow.parquet.read_table(tmp_path / "answers.parquet")
    assert after["n"].to_pylist() == list(range(40))
    assert after["mixed"].to_pylist()[:2] == ["x", "1"]
    assert after["late"].to_pylist()[38:] == [None, "7"]
    for late in ("many", 4.5):
        rows[39]["n"] = late
        save(tmp_path / "new.jsonl", rows)  # type: ignore[arg-type]
        with pytest.raises(RequestError, match='column "n" began as int64'):
            predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.parquet")


LATER = [
    ({"score": 0}, {"score": 0.5}),
    ({"score": 0}, {"score": 1, "source": "web"}),
    ({"of": {"score": 0}}, {"of": {"new": 1}}),
    ([1, 2], [0.5]),
    ([{"a": 1}], [{"b": 1}]),
]


@pytest.mark.parametrize(("first", "late"), LATER)
def test_a_parquet_column_of_objects_or_lists_leaves_nothing_out(
    run: Run, tmp_path: Path, small_windows: None, first: object, late: object
) -> None:
    rows = [{"text": f"text {i}", "meta": first} for i in range(39)] + [{"text": "text", "meta": late}]
    save(tmp_path / "new.jsonl", rows)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match='column "meta" began as'):
        predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.parquet")


def test_a_parquet_column_holds_what_has_less_than_its_first_cells(
    run: Run, tmp_path: Path, small_windows: None
) -> None:
    rows = [{"text": f"text {i}", "meta": {"score": 0.5, "tags": ["a"]}} for i in range(30)]
    rows += [{"text": "text", "meta": each} for each in ({"score": 1}, None, {"tags": []}, {})]  # type: ignore[dict-item]
    save(tmp_path / "new.jsonl", rows)  # type: ignore[arg-type]
    predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.parquet")
    last = pyarrow.parquet.read_table(tmp_path / "answers.parquet")["meta"].to_pylist()[30:]
    assert last == [{"score": 1.0, "tags": None}, None, {"score": None, "tags": []}, {"score": None, "tags": None}]


@pytest.mark.parametrize("empty", [{}, {"of": {}}, {"tags": []}, [{}]])
def test_empty_objects_are_written_as_text_to_parquet(
    run: Run, tmp_path: Path, small_windows: None, empty: object
) -> None:
    rows = [{"text": f"text {i}", "meta": empty} for i in range(30)] + [{"text": "text", "meta": {"a": 1}}]
    save(tmp_path / "new.jsonl", rows)  # type: ignore[arg-type]
    predict_file(run, tmp_path / "new.jsonl", tmp_path / "answers.parquet")
    found = pyarrow.parquet.read_table(tmp_path / "answers.parquet")["meta"].to_pylist()
    assert [json.loads(found[0]), json.loads(found[-1])] == [empty, {"a": 1}]


def test_lines_of_json_have_nothing_where_a_number_is_none(run: Run, tmp_path: Path) -> None:
    cells = [1.5, math.nan, -math.inf, None]
    table = pyarrow.table(
        {"text": [f"text {i}" for i in range(4)], "n": cells, "of": [{"n": [each]} for each in cells]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    predict_file(run, tmp_path / "new.parquet", tmp_path / "answers.jsonl")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [each["n"] for each in found] == [1.5, None, None, None]
    assert [each["of"]["n"] for each in found] == [[1.5], [None], [None], [None]]


BAD = {
    ".CSV": (b"text,id\n" + b"good,1\n" * 40 + b'"good,2\n' + b"good,3\n" * 40, "line 42", "never closed"),
    ".csv": (b"text,id\n" + b"good,1\n" * 40 + b"  ,2\n", "line 42", "empty"),
    ".tsv": (b"text\tid\n" + b"good\t1\n" * 40 + b"good\t2\t3\n", "line 42", "3 cells"),
    ".jsonl": (b'{"text": "good"}\n' * 40 + b'{"text": 7}\n', "line 41", "where a text is expected"),
    ".ndjson": (b'{"text": "good"}\n' * 40 + b'{"text": \n', "line 41", "broken JSON"),
    ".csv.gz": (
        gzip.compress(b"text\n" + os.urandom(40000).hex().encode() + b"\n")[:-9],
        "ends in .gz",
        "no complete gzip",
    ),
}


@pytest.mark.parametrize("output", [".csv", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("form", BAD)
def test_a_bad_row_names_its_line_and_leaves_no_file(
    run: Run, form: str, output: str, tmp_path: Path, small_windows: None
) -> None:
    content, place, reason = BAD[form]
    (tmp_path / f"new{form}").write_bytes(content)
    (tmp_path / f"answers{output}").write_text("of before", encoding="utf-8")
    with pytest.raises(RequestError, match=rf"new{form}.*{place}.*{reason}"):
        predict_file(run, tmp_path / f"new{form}", tmp_path / f"answers{output}")
    assert (tmp_path / f"answers{output}").read_text(encoding="utf-8") == "of before"
    assert not left_behind(tmp_path)


def test_of_several_processes_the_main_one_writes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "new.csv", texts(4))
    for main in (False, True):
        state = SimpleNamespace(is_main_process=main, num_processes=2)
        monkeypatch.setattr(predicting, "processes", lambda state=state: state)
        assert predict_file(run, path, tmp_path / "answers.csv").rows == 4
        assert (tmp_path / "answers.csv").exists() == main
    with pytest.raises(RequestError, match="standard input cannot be read by several processes"):
        predict_file(run, "-", tmp_path / "more.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "new.csv"]


def test_a_parquet_column_of_bytes_is_read_as_text_and_stays_what_it_was(run: Run, tmp_path: Path) -> None:
    table = pyarrow.table({"text": [row["text"].encode() for row in texts(9)], "raw": [b"\xff"] * 9})
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    predict_file(run, tmp_path / "new.parquet", tmp_path / "answers.parquet")
    after = pyarrow.parquet.read_table(tmp_path / "answers.parquet")
    assert after.select(["text", "raw"]).equals(table)


def test_bytes_of_another_encoding_are_named_with_their_line_however_far_in(tmp_path: Path) -> None:
    lines = [f"some text number {i}".encode() for i in range(20_000)]
    lines[17_777] += b" caf\xe9"
    (tmp_path / "new.csv").write_bytes(b"text\n" + b"\n".join(lines))
    with (
        pytest.raises(RequestError, match=r"new\.csv, line 17779: byte 0xe9 is not UTF-8"),
        streams.stream(tmp_path / "new.csv", ".csv") as stream,
    ):
        list(stream.windows)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"text,id\n"])
def test_a_file_without_rows_is_refused(run: Run, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_bytes(content)
    with pytest.raises(RequestError, match=r"new\.csv (is empty|holds no rows)"):
        predict_file(run, tmp_path / "new.csv", tmp_path / "answers.csv")


def test_a_file_can_be_answered_in_its_place_and_through_a_link(run: Run, tmp_path: Path, small_windows: None) -> None:
    path = save(tmp_path / "new.csv", texts(40))
    (tmp_path / "link.csv").symlink_to(path)
    predict_file(run, path, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert list(read(path).columns) == [*texts(1)[0], *ADDED]
    # packed as it is named, not as what a link points to
    (tmp_path / "blob").touch()
    (tmp_path / "packed.csv.gz").symlink_to(tmp_path / "blob")
    predict_file(run, path, tmp_path / "packed.csv.gz")
    assert gzip.decompress((tmp_path / "blob").read_bytes()).startswith(b"id,text,")


@pytest.mark.parametrize(
    ("source", "target", "options", "said"),
    [
        ("new.txt", "a.csv", {}, "new.txt"),
        ("new.csv", "a.json", {}, ".jsonl"),
        ("new.csv", "a.parquet.gz", {}, "leave .gz away"),
        ("new.csv", "none/a.csv", {}, "none/a.csv"),
        ("new.csv", "a.csv", {"form": "csv"}, "--form"),
        ("-", "a.csv", {"form": "xml"}, "xml"),
        ("none.csv", "a.csv", {}, "does not exist"),
        ("new.csv", "a.csv", {"columns": {"text": "words"}}, "words"),
    ],
)
def test_wrong_requests(
    run: Run, source: str, target: str, options: dict[str, object], said: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "new.csv", texts(2))
    with pytest.raises(RequestError, match=said):
        predict_file(run, source, target, **options)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_a_full_disk_is_one_message(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, rows: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writers.Separated, "write", full)
    with pytest.raises(RequestError, match=r"answers\.csv cannot be written: No space left"):
        predict_file(run, save(tmp_path / "new.csv", texts(2)), tmp_path / "answers.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_leaves_nothing_and_ends_with_status_1(
    run: Run, number: signal.Signals, tmp_path: Path, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are heard in the main thread")
    before = signal.getsignal(number)
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)  # under pytest others listen, too
    written = writers.Separated.write

    def write(self: writers.Separated, rows: list[object]) -> None:
        written(self, rows)  # type: ignore[arg-type]
        assert left_behind(tmp_path)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(writers.Separated, "write", write)
    words = ["predict", str(run.folder), "--input", str(save(tmp_path / "new.csv", texts(40)))]
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            assert cli.main([*words, "--output", str(tmp_path / "answers.csv")]) == 1
    finally:
        signal.signal(number, before)
    assert f"ended by {number.name}" in said.getvalue()
    assert "nothing was written" in said.getvalue()
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


@pytest.mark.parametrize("form", OUTPUTS)
def test_answers_beside_answers_replace_none(run: Run, form: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"first{form}", tmp_path / f"second{form}"
    rows = [{**row, "predicted_label": "of somebody else"} for row in texts(5)]
    predict_file(run, save(tmp_path / "new.jsonl", rows), first)
    predict_file(run, first, second)
    before, after = read(first).columns, read(second).columns
    added = [name for name in before if name not in rows[0]]
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"predicted_{name}" for name in added}
    assert after["predicted_predicted_predicted_label"] == before["predicted_predicted_label"]


def test_answers_go_to_a_pipe_without_letters_for_them(run: Run) -> None:
    command = [sys.executable, "-m", "nlp_transfer.cli", "predict", str(run.folder), "café 日本"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"caf\xe9 \u65e5\u672c" in done.stdout


def start(run: Run, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nlp_transfer.cli", "predict", str(run.folder), *words]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)


def test_pipes_and_a_real_signal(run: Run, tmp_path: Path) -> None:
    piped = start(run, "--input", "-", "--output", "-")
    killed = start(run, "--input", "-", "--output", str(tmp_path / "answers.jsonl"))
    rows = texts(50)
    out, err = piped.communicate(save(tmp_path / "new.csv", rows).read_bytes())
    assert piped.returncode == 0, err
    after = list(csv.DictReader(io.StringIO(out.decode())))
    assert [row["text"] for row in after] == [row["text"] for row in rows]
    assert [row["predicted_label"] for row in after] == [
        answer.label for answer in run.predict([row["text"] for row in rows])
    ]
    assert b"50 rows written to standard output" in err
    assert killed.stdin
    with killed.stdin as stdin:
        stdin.write((json.dumps(rows[0]) + "\n").encode() * 5000)
        stdin.flush()
        end = time.monotonic() + 60
        while not left_behind(tmp_path) and time.monotonic() < end:
            time.sleep(0.01)
        assert left_behind(tmp_path)
        killed.terminate()
        killed.wait(60)
    assert killed.returncode == 1
    assert killed.stderr
    assert b"ended by SIGTERM" in killed.stderr.read()
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_standard_streams_have_the_form_that_was_named(
    run: Run, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = save(tmp_path / f"new.{form}", texts(20)).read_bytes()
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    predict_file(run, "-", "-", form=form)
    (tmp_path / f"answers.{form}").write_bytes(out.getvalue())
    assert list(read(tmp_path / f"answers.{form}").columns) == [*texts(1)[0], *ADDED]


@pytest.mark.parametrize(
    ("source", "target", "form", "expected"),
    [
        ("-", "-", None, (".csv", ".csv")),
        ("-", "-", "jsonl", (".jsonl", ".jsonl")),
        ("a.jsonl.gz", "-", None, (".jsonl", ".jsonl")),
        ("a.parquet", "-", None, (".parquet", ".csv")),
        ("a.json", "-", None, (".json", ".csv")),
        ("a.parquet", "-", "parquet", (".parquet", ".parquet")),
        ("-", "a.tsv", None, (".tsv", ".tsv")),
        ("-", "a.tsv", "csv", (".csv", ".tsv")),
    ],
)
def test_the_form_of_standard_streams(
    source: str, target: str, form: str | None, expected: tuple[str, str], tmp_path: Path, monkeypatch
) -> None:
    from nlp_transfer.predicting import _forms

    monkeypatch.chdir(tmp_path)
    assert _forms(source, target, form) == expected


def test_progress_is_shown_on_a_terminal_only(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "new.csv", texts(40))
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=100)
        monkeypatch.setattr(progress, "Console", lambda console=console, **_: console)
        predict_file(run, path, tmp_path / "answers.csv")
        assert ("40 rows" in out.getvalue()) == terminal
        assert ("rows/s" in out.getvalue()) == terminal


def test_the_command_says_rows_and_speed(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "new.csv", texts(4))
    words = ["predict", str(run.folder), "--input", str(tmp_path / "new.csv"), "--output", str(tmp_path / "a.csv")]
    assert cli.main([*words, "--batch_size", "2"]) == 0
    said = capsys.readouterr()
    assert not said.out
    assert "4 rows written to" in said.err
    assert "rows/s" in said.err
    assert cli.main([*words, "--batch_size", "0"]) == 2
    assert "--batch_size" in capsys.readouterr().err


def test_a_signal_outside_the_main_thread_changes_nothing(run: Run, tmp_path: Path) -> None:
    path, done = save(tmp_path / "new.csv", texts(4)), []
    thread = threading.Thread(target=lambda: done.append(predict_file(load_run(run.folder), path, tmp_path / "a.csv")))
    thread.start()
    thread.join()
    assert done[0].rows == 4


def test_interrupted_is_raised_in_python(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: object, rows: object) -> None:
        raise Interrupted("ended by SIGTERM")

    monkeypatch.setattr(writers.Separated, "write", stop)
    with pytest.raises(Interrupted, match="after 0 rows; nothing was written"):
        predict_file(run, save(tmp_path / "new.csv", texts(4)), tmp_path / "answers.csv")
