"""Readers of rows under files that nobody wrote: rows come out, or a message that names the file, in little time and memory.

`make test-all` runs the fuzzer for `NLP_TRANSFER_FUZZ_SECONDS` (600), in a process of its own, so that a crash is a finding, too.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_transfer import methods, tasks
from nlp_transfer.data import files, streams
from nlp_transfer.data.checks import checked
from nlp_transfer.data.choices import choose_columns
from nlp_transfer.errors import RequestError, readable
from nlp_transfer.recipe import Recipe

SECONDS = float(os.environ.get("NLP_TRANSFER_FUZZ_SECONDS", "600"))
SEED = int(os.environ.get("NLP_TRANSFER_FUZZ_SEED", "0"))
MOST_SECONDS, MOST_BYTES = 20.0, 3 * 2**30
"""What one file of a few kilobytes may take: a machine at work on other things is slow, no file needs a second."""

TEXTS = [
    "a line, with commas",
    'quotes "inside"',
    "naïve café",
    "مرحبا",
    "👍🏽",
    "two\nlines",
    "",
    "NaN",
    "1.0",
    "[1, 2]",
    "text",
]
FORMS = ("csv", "tsv", "json", "jsonl", "ndjson", "parquet", "conll", "bio", "iob", "csv.gz", "jsonl.gz", "parquet.gz")


def valid(form: str, chance: random.Random) -> bytes:
    """A good file of a form, of some of many kinds."""
    rows: list[dict[str, Any]] = [
        {"text": chance.choice(TEXTS), "label": chance.choice(["a", "b", 1, 2.5, None, True])} for _ in range(12)
    ]
    if chance.random() < 0.3:
        for row in rows:
            row |= {
                "entities": [[0, 1, "PER"]],
                "answers": {"text": ["a"], "answer_start": [0]},
                "question": "q",
                "context": "abc",
            }
    kind = form.removesuffix(".gz")
    if kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        quoted = [[f'"{str(cell).replace(chr(34), chr(34) * 2)}"' for cell in row.values()] for row in rows]
        content = "\n".join(mark.join(cells) for cells in [list(rows[0]), *quoted]).encode(
            chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"])
        )
    elif kind == "parquet":
        out, codec = BytesIO(), chance.choice(["none", "snappy", "gzip", "zstd"])
        table = pyarrow.table({"text": [row["text"] for row in rows], "label": [str(row["label"]) for row in rows]})
        pyarrow.parquet.write_table(
            table, out, compression=codec, use_dictionary=chance.random() < 0.5, row_group_size=chance.choice([3, 12])
        )
        content = out.getvalue()
    elif kind in ("conll", "bio", "iob"):
        content = b"Ada NNP B-PER\nleft VB O\n\n-DOCSTART- X O\n\nPorto NNP B-LOC\n"
    elif kind == "json" and chance.random() < 0.5:
        asked = [{"id": i, "question": "q", "answers": [{"text": "a", "answer_start": 0}]} for i in range(3)]
        content = json.dumps(
            {"version": "2", "data": [{"title": "t", "paragraphs": [{"context": "abc", "qas": asked}]}]}
        ).encode()
    elif kind == "json":
        content = json.dumps(rows, indent=chance.choice([None, 1])).encode()
    else:
        content = "\n".join(map(json.dumps, rows)).encode()
    return gzip.compress(content) if form.endswith(".gz") else content


PIECES = [
    b'"',
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b"[",
    b"{",
    b"}",
    b"]",
    b"\\ud83d",
    b"1e999",
    b"-",
    b"NaN",
]
PIECES += [
    b",",
    b"\t",
    b";",
    b"null",
    b'"text":',
    b"\x1f\x8b",
    b"PAR1",
    b"9" * 5_000,
    b"[" * 3_000,
    b'{"a":' * 3_000,
    b"\xc3",
    b"# ",
]
NUMBERS = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes or pieces changed, put in, taken out, doubled or exchanged."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8, 40])):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice([1, 2, 4, 16, 200]))
        match chance.randrange(8):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                data[at:end] = b""
            case 2:
                data[at:at] = chance.choice(PIECES)
            case 3:
                data[at:at] = data[at:end] * chance.choice([1, 2, 100])
            case 4:
                data[at:end] = chance.randbytes(end - at)
            case 5:
                data[at : at + 4] = chance.choice(NUMBERS)
            case 6:
                lines = bytes(data).split(b"\n")
                chance.shuffle(lines)
                data = bytearray(b"\n".join(lines))
            case _:
                del data[at:]
    return bytes(data[: 2**20])


def tried(file: Path, kind: str, whole: bool) -> str:
    """What comes out of a file by both readers, and what the tasks say of its rows."""
    try:
        if whole:
            table = files.read(file)
            for name in tasks.names():
                task = tasks.find(name)()
                try:
                    needed = [
                        column
                        for column in task.columns
                        if column not in (*task.optional_columns, *task.further_columns)
                    ]
                    checked(table, choose_columns(table, {}, task, needed), task, True, [])
                except RequestError as error:
                    assert file.name in str(error) or "columns." in str(error), error
            return "rows"
        with streams.stream(file, kind) as stream:
            for window in stream.windows:
                assert len(window.records) == len(window.places)
        return "rows"
    except RequestError as error:
        assert file.name in str(error), error
        assert "\n" not in readable(error)
        return "refused"


def fuzz(seconds: float, seed: int, folder: Path, least: int = 0) -> Counter[str]:
    """Files of every form, mutated, one after another until the time is over; one that breaks a reader stays in the folder."""
    base = _memory()
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end or outcomes["inputs"] < least:
        number = seed * 10**9 + outcomes["inputs"]
        chance = random.Random(number)
        form = FORMS[number % len(FORMS)]
        content = mutated(valid(form, chance), chance)
        if form.endswith(".gz") and chance.random() < 0.7:  # what is inside, mutated, and packed well
            content = gzip.compress(mutated(valid(form.removesuffix(".gz"), chance), chance))
        file = folder / f"rows.{form}"
        file.write_bytes(content)
        (folder / "now").write_text(f"{number} {form}")
        began = time.monotonic()
        for whole in (True, False):
            kind = files.form(file)
            assert kind
            outcomes[f"{form} {tried(file, kind, whole)}"] += 1
        took = time.monotonic() - began
        assert took < MOST_SECONDS, f"{took:.1f} s"
        assert _memory() - base < MOST_BYTES, f"{_memory() - base:,} bytes"
        outcomes["inputs"] += 1
        file.unlink()
    return outcomes


def _memory() -> int:
    """The most memory that this process has held."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def _in_a_process(seconds: float, seed: int, folder: Path) -> Counter[str]:
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, str(seconds), str(seed), str(folder)],
        env=path,
        capture_output=True,
        text=True,
        check=False,
    )
    where = (folder / "now").read_text() if (folder / "now").exists() else "nothing"
    assert done.returncode == 0, f"input {where} in {folder}: {done.returncode}\n{done.stderr[-3000:]}"
    return Counter(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_no_file_breaks_a_reader(tmp_path: Path) -> None:
    outcomes = _in_a_process(SECONDS, SEED, tmp_path)
    print(outcomes)
    assert outcomes["inputs"] > SECONDS  # more than one a second
    for form in FORMS:
        assert outcomes[f"{form} refused"]
        assert outcomes[f"{form} rows"] or form == "parquet.gz"


def test_a_few_dozen_files_break_no_reader(tmp_path: Path) -> None:
    outcomes = fuzz(0.0, 10**6, tmp_path, least=60)
    assert outcomes["inputs"] == 60


# properties

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers() | st.booleans(), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = [
    "task",
    "model",
    "method",
    "data",
    "columns",
    "head",
    "train",
    "seed",
    "name",
    "source",
    "epochs",
    "labels",
    "rank",
]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@QUICK
@given(
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=6), ANY, max_size=5),
    st.sampled_from(tasks.names()),
    st.sampled_from(methods.names()),
)
def test_any_yaml_is_a_recipe_or_is_refused(values: dict[str, Any], task: str, method: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(yaml.safe_dump({"task": task, "method": method, "data": "x.csv", **values}), encoding="utf-8")
        try:
            recipe = Recipe.read(file)
        except RequestError as error:
            assert str(error)
            return
        file.write_text(recipe.to_yaml(), encoding="utf-8")
        assert Recipe.read(file) == recipe


@QUICK
@given(
    st.lists(
        st.text(max_size=12) | st.sampled_from(["--task", "--train.epochs", "--data", "--columns.text", "qa", "3"]),
        max_size=6,
    )
)
def test_any_words_are_a_recipe_or_are_refused(words: list[str]) -> None:
    try:
        recipe = Recipe.from_flags(words)
    except RequestError as error:
        assert readable(error).isprintable() or not str(error).isprintable()
        return
    assert recipe.task.name in tasks.names()


@QUICK
@given(st.binary(max_size=300), st.sampled_from(FORMS))
def test_any_bytes_are_rows_or_are_refused(content: bytes, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"rows.{form}"
        file.write_bytes(content)
        for whole in (True, False):
            assert tried(file, str(files.form(file)), whole) in ("rows", "refused")


@QUICK
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    "text",
                    "label",
                    "labels",
                    "target",
                    "entities",
                    "tokens",
                    "tags",
                    "answers",
                    "context",
                    "question",
                    "id",
                ]
            ),
            ANY,
            min_size=1,
            max_size=5,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_json_is_rows_of_every_task_or_is_refused(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(row, default=str, skipkeys=True) + "\n" for row in rows), encoding="utf-8")
        assert tried(file, ".jsonl", whole=True) in ("rows", "refused")


@QUICK
@given(st.text())
def test_any_message_is_one_line_that_no_terminal_obeys(text: str) -> None:
    said = readable(text)
    assert "\n" not in said
    assert "\x1b" not in said
    said.encode("utf-8")
    assert len(said) <= 10 * 2_100


def _main() -> Iterator[None]:
    seconds, seed, folder = sys.argv[1:]
    print(json.dumps(fuzz(float(seconds), int(seed), Path(folder))))
    yield


if __name__ == "__main__":
    list(_main())
