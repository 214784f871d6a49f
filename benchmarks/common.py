"""What the benchmarks share: the settings of one run, its rows, its figures, and a fresh process for it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from rich.console import Console

from nlp_transfer import environment
from nlp_transfer.environment import peak_memory
from nlp_transfer.errors import RequestError

# what an earlier run has kept would make a later one look faster than it is
os.environ["NLP_TRANSFER_CACHE"] = "off"

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SHARED = HERE.parent.parent / "shared"
SPLITS = ("train", "validation", "test")
CODE = ("nlp_transfer", "benchmarks", "pyproject.toml", "constraints.txt", ":!benchmarks/results")
"""What must be as it was committed, so that a commit says which code made a file of results."""

Figures = dict[str, Any]
"""What one run measured, as one line of JSON."""


def run_parser(description: str) -> argparse.ArgumentParser:
    """The flags that a run of every contender understands."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True, help="folder with train, validation and test.jsonl")
    parser.add_argument("--model", default="minilm", help="a local folder, a Hub id, or minilm")
    parser.add_argument("--from_scratch", action="store_true", help="random weights in the model's architecture")
    parser.add_argument("--limit", type=int, help="the first so many training rows; unset: all")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--max_steps", type=int, help="end after so many steps, whatever --epochs says")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--max_length", type=int, default=128, help="tokens of a text that are read")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def contender_parser(description: str) -> argparse.ArgumentParser:
    """Those flags, and what the benchmark of speed varies."""
    parser = run_parser(description)
    parser.add_argument("--task", choices=("classification", "qa"), default="classification")
    parser.add_argument("--method", type=json.loads, default={"name": "full"}, help="name and settings, as JSON")
    return parser


@contextmanager
def first_rows(data: Path, limit: int | None, judged: int | None = None, everywhere: bool = False) -> Iterator[Path]:
    """The data folder itself, or a temporary one with the first `limit` training rows, and `judged` of each other split.

    With `everywhere` these are not the first rows but evenly from everywhere, as files need that are sorted by their labels.
    """
    for split in SPLITS:
        if not (data / f"{split}.jsonl").is_file():
            stop(f"{data / split}.jsonl is missing: expected a folder with train, validation and test.jsonl.")
    if limit is None and judged is None:
        yield data
        return
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for split in SPLITS:
            lines = (data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            count = limit if split == "train" else judged
            kept = lines[:count]
            if everywhere and len(kept) < len(lines):
                kept = [lines[i * len(lines) // len(kept)] for i in range(len(kept))]
            (folder / f"{split}.jsonl").write_text("".join(kept), encoding="utf-8")
        yield folder


@cache
def describe_environment() -> dict[str, Any]:
    """What `environment.describe` says, and in a checkout the commit of the code, with -dirty where it was changed since.

    The first call decides: what is committed while a benchmark runs did not make its figures.
    """
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", *CODE)
    dirty = "-dirty" if changed else ""
    return {**environment.describe(), **({"commit": f"{commit}{dirty}"} if commit else {})}


def _git(*words: str) -> str | None:
    """What git says of the checkout that this file is in; None without one."""
    try:
        done = subprocess.run(["git", *words], cwd=HERE.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def peak_rss_bytes() -> int | None:
    """The most memory this process has held since it was started, in bytes."""
    try:
        # Linux hands getrusage's maximum on from parent to child; VmHWM begins anew with every program
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return peak_memory()["peak_rss_bytes"]


def rows_trained(steps: int, rows: int, batch_size: int) -> int:
    """Rows in so many steps; the last step of an epoch has what is left."""
    epochs, more = divmod(steps, -(-rows // batch_size))
    return epochs * rows + more * batch_size


def answer(run: Callable[[argparse.Namespace], Figures], arguments: argparse.Namespace) -> None:
    """Print a run's figures as one line of JSON; a wrong request ends with its message and status 2."""
    try:
        print(json.dumps(run(arguments)))
    except RequestError as error:
        stop(str(error))


def in_fresh_process(script: str, settings: Mapping[str, Any]) -> Figures:
    """The figures of a run of a sibling script; settings become flags, those that are None or False are left out."""
    command = [sys.executable, str(HERE / script)]
    for name, value in settings.items():
        if value is True:
            command.append(f"--{name}")
        elif value is not None and value is not False:
            command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        stop(
            "\n".join([f"{script} ended with status {done.returncode}:", *lines[-20:]]),
            2 if done.returncode == 2 else 1,
        )
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def data_folder(root: Path | None, name: str) -> Path:
    """The folder of a data set, under a root that is a flag, an environment variable, or the default."""
    root = root or Path(os.environ.get("NLP_TRANSFER_DATA") or SHARED / "data")
    folder = root / name
    if not folder.is_dir():
        stop(
            f"the data set {name} is not in {root}: expected {name}/train.jsonl, validation.jsonl and test.jsonl "
            "with text and label. Name the folder above it with --data-root or NLP_TRANSFER_DATA."
        )
    return folder


def wide_console() -> Console:
    """Standard output as wide as the tables need, also where it is a file."""
    return Console(width=max(Console().width, 148), highlight=False)


def stop(message: str, status: int = 2) -> NoReturn:
    """End with one message on standard error."""
    print(message, file=sys.stderr)
    sys.exit(status)
