"""Long texts: beginnings, beginnings and ends, or all in windows, on long reviews; several seeds, with intervals over them."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from common import RESULTS, Figures, data_folder, describe_environment, stop, wide_console
from rich.console import Console
from rich.table import Table
from scipy.stats import t
from scores import model_path, seeds_of

from nlp_transfer import fine_tune

FILE = RESULTS / "long-texts.jsonl"


@dataclass(frozen=True)
class Case:
    """One way to read long texts, and the settings of the training."""

    long_texts: str
    pool_windows: str = "mean"
    max_length: int = 128
    stride: int = 32
    method: str = "full"
    learning_rate: float | None = 1e-4
    """None: the method's default."""
    data: str = "amazon_books"
    model: str = "minilm"
    epochs: float = 4
    batch_size: int = 32


CASES = {
    "truncate": Case("truncate"),
    "head_and_tail": Case("head_and_tail"),
    "windows": Case("windows"),
    "windows-max": Case("windows", "max"),
    "truncate-512": Case("truncate", max_length=512),
    "head-truncate": Case("truncate", method="head", learning_rate=None),
    "head-head_and_tail": Case("head_and_tail", method="head", learning_rate=None),
    "head-windows": Case("windows", method="head", learning_rate=None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument("--seeds", type=seeds_of, default=[0, 1, 2], help="whole numbers, such as 0,1,2")
    parser.add_argument("--max_steps", type=int, help="end each training so early, and keep no result: a trial")
    parser.add_argument("--limit", type=int, help="so many training rows, and keep no result: a trial")
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    arguments = parser.parse_args()
    names = arguments.cases.split(",") if arguments.cases else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        stop(f"there is no case {unknown[0]}: expected some of {', '.join(CASES)}.")
    show({name: [once(name, seed, arguments) for seed in arguments.seeds] for name in names})


def once(name: str, seed: int, arguments: argparse.Namespace) -> Figures:
    """The figures of one run: from the file of results, or made now and added to it."""
    case, trial = CASES[name], bool(arguments.max_steps or arguments.limit)
    key = {"case": name, "seed": seed, "definition": asdict(case)}
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() and not trial else []
    for line in map(json.loads, lines):
        if all(line[part] == value for part, value in key.items()):
            return line["figures"]
    folder = data_folder(arguments.data_root, case.data)
    figures = run(case, seed, folder, arguments.limit, arguments.max_steps)
    if not trial:
        FILE.parent.mkdir(exist_ok=True)
        with FILE.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**key, "figures": figures, "environment": describe_environment()}) + "\n")
    told = f"{name} seed {seed}: test accuracy {figures['test']:.4f}, {figures['train_seconds']:.0f} s of training"
    Console(stderr=True).print(told, highlight=False)
    return figures


def run(case: Case, seed: int, folder: Path, limit: int | None, max_steps: int | None) -> Figures:
    """One run."""
    task: dict[str, Any] = {"name": "sentiment", "long_texts": case.long_texts}
    task |= {"pool_windows": case.pool_windows, "stride": case.stride}
    started, cpu = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as temporary:
        done = fine_tune(
            model=model_path(case.model),
            task=task,
            method=case.method,
            data={"source": str(folder), "max_length": case.max_length, "limit": limit},
            train={
                "epochs": case.epochs,
                "max_steps": max_steps,
                "batch_size": case.batch_size,
                "learning_rate": case.learning_rate,
            },
            seed=seed,
            output=Path(temporary) / "run",
            silent=True,
        )
        report = done.report
    return {
        "validation": report["scores"]["validation"]["accuracy"],
        "test": report["scores"]["test"]["accuracy"],
        "train_seconds": report["time"]["train_seconds"],
        "evaluate_seconds": report["time"]["evaluate_seconds"],
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "tokens": report["data"]["tokens"],
        "peak_rss_bytes": report["memory"]["peak_rss_bytes"],
        "precision": report["recipe"]["train"]["precision"],
        "learning_rate": report["recipe"]["train"]["learning_rate"],
    }


def interval(scores: list[float]) -> str:
    """Half the 95 % interval of the mean over seeds, by Student's t."""
    if len(scores) < 2:
        return ""
    return f"{100 * t.ppf(0.975, len(scores) - 1) * stdev(scores) / len(scores) ** 0.5:.2f}"


def show(runs: dict[str, list[Figures]]) -> None:
    """A line per case."""
    found = Table(title="long reviews: test accuracy, mean over the seeds and its 95 % interval")
    for title in ("case", "accuracy", "+/-", "each seed", "train s", "answer s", "tokens not read", "windows"):
        found.add_column(title, justify="left" if title == "case" else "right")
    for name, every in runs.items():
        scores, tokens = [figures["test"] for figures in every], every[0]["tokens"]["test"]
        found.add_row(
            name,
            f"{100 * mean(scores):.2f}",
            interval(scores),
            " ".join(f"{100 * score:.1f}" for score in scores),
            f"{mean(figures['train_seconds'] for figures in every):.0f}",
            f"{mean(figures['evaluate_seconds'] for figures in every):.0f}",
            f"{100 * tokens['not_read'] / tokens['tokens']:.1f} %",
            f"{tokens['features']:,}",
        )
    wide_console().print(found)


if __name__ == "__main__":
    main()
