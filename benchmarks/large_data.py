"""Memory and seconds of training and evaluation on Parquet files of any size, with a tiny model, in fresh processes."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow
import pyarrow.parquet
from common import RESULTS, Figures, describe_environment, stop, wide_console
from predict_memory import WORDS, tiny_model
from rich.console import Console
from rich.table import Table

from nlp_transfer.report import write_json

ROWS = (50_000, 500_000, 5_000_000)
GROUP = 50_000
"""Rows that are made and written together."""

JUDGED = 10_000
"""Rows of validation and of test each; all rows of the file are judged by a command of their own."""

ANSWERS: dict[str, tuple[str, pyarrow.DataType, Callable[[int], Any]]] = {
    "classification": ("label", pyarrow.string(), lambda i: ("bad", "good")[i % 2]),
    "multi_label": ("labels", pyarrow.list_(pyarrow.string()), lambda i: [("bad", "good")[i % 2], "told"][: i % 3]),
    "regression": ("score", pyarrow.float64(), lambda i: i % 1000 / 10),
}
"""Column of what a row's text is to be given, and what it holds, by task."""

NO_LIMIT = 2**60
"""So many bytes and more stand for none, in the first version of control groups."""

PARTS = ("train", "evaluate")
"""The commands that are measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--task", choices=list(ANSWERS), default="classification")
    parser.add_argument("--words", type=int, default=12, help="of a text, in the mean")
    parser.add_argument("--max_steps", type=int, default=200)
    parser.add_argument("--precision", default="auto", help="of training")
    parser.add_argument(
        "--judged", type=int, default=JUDGED, help="rows of validation and of test each, cut from the others"
    )
    parser.add_argument(
        "--store", action="store_true", help="keep the encoded rows, as a run does that nobody tells not to"
    )
    parser.add_argument(
        "--evaluate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether all rows of each file are judged too, which takes far longer than the steps of training",
    )
    parser.add_argument("--folder", type=Path, help="where files lie meanwhile; unset: that of temporary files")
    parser.add_argument("--output", type=Path, default=RESULTS / "large-data.json")
    parser.add_argument(
        "--group",
        type=Path,
        help="folder of a control group with little memory, in which each command runs: Linux, as root",
    )
    arguments = parser.parse_args()
    limit = memory_limit(arguments.group) if arguments.group else None
    figures = []
    with TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        tiny_model(folder / "tiny")
        for rows in sorted(arguments.rows):
            data = folder / "rows.parquet"
            held = write(data, rows, arguments.words, arguments.task)
            sizes = {"file_bytes": data.stat().st_size, "table_bytes": held}
            figures.append({"rows": rows, **sizes, **measured(folder, rows, arguments)})
            for name in (name for name in PARTS if name in figures[-1]):
                part = figures[-1][name]
                told = f"{rows:,} rows, {name}: {part['peak_rss_bytes'] / 2**20:,.0f} MiB, {part['seconds']:,.0f} s"
                Console(stderr=True).print(told, highlight=False)
    model = "BERT of one block, hidden size 16, random weights"
    settings = {
        name: getattr(arguments, name) for name in ("task", "words", "max_steps", "precision", "judged", "store")
    }
    machine = describe_environment()
    facts = {"model": model, **settings, "memory_limit_bytes": limit}
    write_json(arguments.output, {**facts, "figures": figures, "environment": machine})
    show(figures)


def write(path: Path, rows: int, words: int, task: str) -> int:
    """A file of rows of a task with texts that no other row has, made and written group by group.

    Returns:
        The bytes that all rows would take in memory, as tables of pyarrow.
    """
    held = 0
    answer, kind, answered = ANSWERS[task]
    schema = pyarrow.schema({"text": pyarrow.string(), answer: kind})
    generator = random.Random(0)
    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        for start in range(0, rows, GROUP):
            numbers = range(start, min(start + GROUP, rows))
            texts = [
                " ".join([*generator.choices(WORDS, k=generator.randint(1, 2 * words - 1)), str(i)]) for i in numbers
            ]
            columns = {"text": texts, answer: [answered(i) for i in numbers]}
            table = pyarrow.table(columns, schema=schema)
            file.write_table(table)
            held += table.nbytes
    return held


def memory_limit(group: Path) -> int:
    """The bytes that Linux lets all processes of a control group have, read pages of files included."""
    # the second and the first version of control groups
    files = [file for name in ("memory.max", "memory.limit_in_bytes") if (file := group / name).is_file()]
    said = files[0].read_text(encoding="utf-8").strip() if files else "nothing"
    if not said.isdigit() or int(said) >= NO_LIMIT:
        stop(
            f"{group} limits no memory ({said}): expected a control group with bytes in memory.max or memory.limit_in_bytes."
        )
    return int(said)


def measured(folder: Path, rows: int, arguments: argparse.Namespace) -> Figures:
    """A training on the file, and an evaluation of all its rows."""
    run, data, share = folder / f"run-{rows}", str(folder / "rows.parquet"), arguments.judged / rows
    command = ["train", "--task", arguments.task, "--model", str(folder / "tiny"), "--data", data]
    command += ["--output", str(run), "--train.batch_size", "32", "--train.max_steps", str(arguments.max_steps)]
    command += ["--train.precision", arguments.precision]
    command += ["--data.validation_fraction", f"{share}", "--data.test_fraction", f"{share}"]
    found = {"train": watched(command, folder, arguments)}
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    if arguments.evaluate:
        found["evaluate"] = watched(["evaluate", str(run), "--data", data], folder, arguments)
    return {**found, "rows_by_split": report["data"]["rows"]}


def watched(words: list[str], folder: Path, arguments: argparse.Namespace) -> Figures:
    """One `nlp-transfer` in a process of its own: what it held at most, and how long it took."""
    command = [sys.executable, "-m", "nlp_transfer.cli", *words]
    if arguments.group:
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(arguments.group / "cgroup.procs"), *command]
    # files that only a process needs lie beside the data, not where memory may be a disk
    scenery = {
        **os.environ,
        "TMPDIR": str(folder),
        "NLP_TRANSFER_CACHE": str(folder / "store") if arguments.store else "off",
    }
    started = time.perf_counter()
    with (folder / "said.txt").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, env=scenery, stdout=said, stderr=said)
        anonymous = max(held(process.pid), default=None)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status):
            said.seek(0)
            stop(f"{' '.join(command)} failed:\n{said.read()}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak_rss_bytes": peak, "peak_anonymous_bytes": anonymous, "seconds": seconds}


def held(process: int) -> Iterator[int]:
    """The bytes a process holds that are no pages of files, look after look until it ends; nothing where Linux does not say."""
    status = Path(f"/proc/{process}/status")
    while status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        if "RssAnon" not in lines:  # it has ended, and waits for us to look
            return
        yield 1024 * int(lines["RssAnon"].split()[0])
        time.sleep(0.05)


def show(figures: list[Figures]) -> None:
    """The figures as a table; the last column is what each row adds to the smallest file's peak."""
    table = Table(
        "command", "rows", "file MiB", "rows in memory MiB", "peak MiB", "of it no file's MiB", "seconds", "bytes a row"
    )
    for name in PARTS:
        for each in (each for each in figures if name in each):
            part, least, more = each[name], figures[0][name], each["rows"] - figures[0]["rows"]
            anonymous = part["peak_anonymous_bytes"]
            table.add_row(
                name,
                f"{each['rows']:,}",
                f"{each['file_bytes'] / 2**20:,.0f}",
                f"{each['table_bytes'] / 2**20:,.0f}",
                f"{part['peak_rss_bytes'] / 2**20:,.0f}",
                "" if anonymous is None else f"{anonymous / 2**20:,.0f}",
                f"{part['seconds']:,.0f}",
                f"{(part['peak_rss_bytes'] - least['peak_rss_bytes']) / more:.0f}" if more else "",
            )
    wide_console().print(table)


if __name__ == "__main__":
    main()
