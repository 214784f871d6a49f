"""How cost grows with rows and with their length: time and memory of training, in a file, and in a plot made of the file."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import HERE, RESULTS, Figures, describe_environment, in_fresh_process, stop, wide_console
from matplotlib.figure import Figure
from ours import FIRST
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.quiet import quiet
from nlp_transfer.report import write_json

FILE = RESULTS / "growth.json"
PLOT = HERE.parent / "docs" / "benchmarks" / "growth.svg"

ROWS = (1_000, 10_000, 60_000)
WORDS_PER_ROW = 4
"""Of the rows that are counted: short, so that sixty thousand of them are trained on in minutes."""

LENGTHS = (16, 32, 64, 128, 256, 512)
BATCH = 32
STEPS = 30
"""At every length, after the first ones, which take longer and are left out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, nargs="*", default=list(ROWS))
    parser.add_argument("--lengths", type=int, nargs="*", default=list(LENGTHS), help="tokens of every row")
    parser.add_argument("--steps", type=int, default=STEPS, help="at every length, after the first ones")
    parser.add_argument("--method", default="full")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--output", type=Path, default=FILE)
    parser.add_argument("--plot", type=Path, default=PLOT, help="where the plot goes; by its ending svg, png or pdf")
    parser.add_argument("--plot-only", action="store_true", help="of the file that is there, nothing is measured")
    arguments = parser.parse_args()
    if not arguments.plot_only:
        arguments.output.parent.mkdir(exist_ok=True)
        write_json(arguments.output, measured(arguments))
    if not arguments.output.is_file():
        stop(f"{arguments.output} is not there: measure first, without --plot-only.")
    result = json.loads(arguments.output.read_text(encoding="utf-8"))
    show(result)
    draw(result, arguments.plot)


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """One run in a fresh process for every number of rows, and for every length."""
    words = single_words(arguments.model)
    found: dict[str, list[Figures]] = {"rows": [], "lengths": []}
    asked = [("rows", rows, WORDS_PER_ROW) for rows in arguments.rows]
    asked += [("lengths", BATCH * (FIRST + arguments.steps), length - 2) for length in arguments.lengths]
    for what, rows, width in asked:
        with TemporaryDirectory() as temporary:
            write(Path(temporary), words, rows, width)
            settings = {
                "data": temporary,
                "model": arguments.model,
                "method": json.dumps({"name": arguments.method}),
                "epochs": 1.0,
                "batch_size": BATCH,
                "max_length": 512,
            }
            figures = in_fresh_process("ours.py", settings)
        # two special tokens stand round every text
        found[what].append({"rows": rows, "tokens_per_row": width + 2, **figures})
        told = f"{rows} rows of {width + 2} tokens: {figures['train_seconds']:.1f} s"
        Console(stderr=True).print(told, highlight=False)
    return {**found, "model": arguments.model, "method": arguments.method, "environment": describe_environment()}


def single_words(model: str) -> list[str]:
    """Words that are one token each."""
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(Backbone.find(ModelSettings(model)).location)
    return sorted(word for word in tokenizer.get_vocab() if word.isalpha() and word.isascii() and len(word) > 3)[:2000]


def write(folder: Path, words: list[str], rows: int, width: int) -> None:
    """Rows of so many words, half of which hold a word that tells their label."""
    generator = random.Random(0)
    counts = {"train": rows, "validation": 64, "test": 64}
    for split, count in counts.items():
        lines = []
        for i in range(count):
            text = [words[0] if i % 2 else words[1], *generator.choices(words[2:], k=width - 1)]
            lines.append(json.dumps({"text": " ".join(text), "label": ("no", "yes")[i % 2]}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def show(result: dict[str, Any]) -> None:
    """A line per run: linear is the same time for a thousand tokens everywhere."""
    table = Table(title=f"{result['model']}, {result['method']}: one epoch")
    for title in ("rows", "tokens a row", "train s", "ms per 1,000 tokens", "peak MB"):
        table.add_column(title, justify="right")
    for run in (*result["rows"], *result["lengths"]):
        table.add_row(
            f"{run['rows']:,}",
            str(run["tokens_per_row"]),
            f"{run['train_seconds']:.1f}",
            f"{pace(run):.0f}" if run["after_first_steps"] else "",
            f"{run['peak_rss_bytes'] / 1e6:.0f}",
        )
    wide_console().print(table)


def pace(run: Figures) -> float:
    """Milliseconds for a thousand tokens, the first steps left out."""
    after = run["after_first_steps"]
    return 1e6 * after["seconds"] / (after["rows"] * run["tokens_per_row"])


def draw(result: dict[str, Any], file: Path) -> None:
    """Seconds by tokens with the straight line through the origin, and memory; both by rows and by length."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2)
    names = {"rows": ("rows of 6 tokens", "rows"), "lengths": ("tokens per row", "tokens_per_row")}
    for column, (what, (title, key)) in enumerate(names.items()):
        runs = result[what]
        if not runs:
            continue
        across = [run[key] for run in runs]
        time, memory = axes[0][column], axes[1][column]
        if what == "rows":
            time.plot(across, [run["train_seconds"] for run in runs], "o-", label="measured")
            slope = runs[-1]["train_seconds"] / across[-1]
            time.plot(across, [slope * count for count in across], ":", color="grey", label="linear")
            time.set_yscale("log")
            time.set_ylabel("seconds of training")
            time.legend()
        else:
            time.plot(across, [pace(run) for run in runs], "o-")
            time.set_ylim(bottom=0)
            time.set_ylabel(f"ms per 1,000 tokens, after {FIRST} steps")
        memory.plot(across, [run["peak_rss_bytes"] / 1e9 for run in runs], "o-")
        memory.set_ylim(0, 1.1 * max(run["peak_rss_bytes"] for run in runs) / 1e9)
        memory.set_ylabel("peak memory, GB")
        for each in (time, memory):
            each.set_xscale("log")
            each.set_xlabel(title)
            each.set_xticks(across, [f"{count:,}" for count in across])
            each.minorticks_off()
            each.grid(alpha=0.3)
    figure.suptitle(f"{result['model']}, {result['method']}: one epoch on {result['environment']['device_name']}")
    # without a date, so that the same figures give the same file
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
