"""Quality of the methods: a learning rate for each from three trials on validation, then several seeds, in one table."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from common import RESULTS, Figures, data_folder, describe_environment, stop, wide_console
from rich.console import Console
from rich.table import Table
from scipy.stats import t
from scores import GPT, model_path

from nlp_transfer import fine_tune, methods

FILE = RESULTS / "method-scores.jsonl"
FACTORS = (1 / 3, 1.0, 3.0)
"""Trials: the middle of the case's grid times these."""

PFEIFFER = {
    "name": "adapter",
    "placement": "pfeiffer",
    "reduction_factor": 8.0,
    "activation": "swish",
    "dropout": 0.0,
}

MEASURED: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "full-gradual": {"name": "full", "gradual": True},
    "full-pull-10": {"name": "full", "pull": 10.0},
    "full-pull-100": {"name": "full", "pull": 100.0},
    "lora": {"name": "lora"},
    "adapter-pfeiffer": {**PFEIFFER, "dropout": 0.1},
    "adapter-pfeiffer-no-dropout": PFEIFFER,
    "adapter-pfeiffer-dropout-20": {**PFEIFFER, "dropout": 0.2},
    "adapter-pfeiffer-scale-4": {**PFEIFFER, "scale": 4.0},
    "adapter-pfeiffer-scale-learned": {**PFEIFFER, "scale": "learned"},
    "adapter-pfeiffer-4": {**PFEIFFER, "reduction_factor": 4.0},
    "adapter-pfeiffer-16": {**PFEIFFER, "reduction_factor": 16.0},
    "adapter-pfeiffer-relu": {**PFEIFFER, "reduction_factor": 16.0, "activation": "relu"},
    "adapter-houlsby": {"name": "adapter", "placement": "houlsby"},
    "adapter-houlsby-norms": {"name": "adapter", "placement": "houlsby", "norms": True},
    "adapter-houlsby-dropout": {"name": "adapter", "placement": "houlsby", "dropout": 0.1},
    "adapter-houlsby-8": {"name": "adapter", "placement": "houlsby", "reduction_factor": 8.0},
    "adapter-houlsby-8-dropout": {"name": "adapter", "placement": "houlsby", "reduction_factor": 8.0, "dropout": 0.1},
    "freeze": {"name": "freeze"},
    "bitfit": {"name": "bitfit"},
    "layernorm": {"name": "layernorm"},
    "ia3": {"name": "ia3"},
    "prefix": {"name": "prefix"},
    "prompt": {"name": "prompt"},
    "peft": {"name": "peft"},
    "head": {"name": "head"},
    "head-own": {"name": "head", "pooling": "own"},
}


@dataclass(frozen=True)
class Case:
    """Data, model and length of one kind of run."""

    data: str
    epochs: float
    limit: int | None = None
    validation: int | None = None
    """Rows of validation that are read; unset: all."""
    model: str = "minilm"
    rate_factor: float = 1.0
    """The middle of the grid is the method's default rate times this."""
    seeds: int = 3


CASES = {
    "trec": Case("trec", 3),
    "trec-6-epochs": Case("trec", 6),
    "sst2-5000": Case("sst2", 3, limit=5000, validation=1000),
    "sst2-6-epochs": Case("sst2", 6, limit=5000, validation=1000),
    "sst2-all-validation": Case("sst2", 3, limit=5000),
    "yelp": Case("yelp_sentences", 8, seeds=5),
    "trec-gpt": Case("trec", 3, model=GPT, rate_factor=2.0),
}


def main() -> None:
    arguments = parse()
    for case_name in chosen(arguments.cases, CASES):
        case = CASES[case_name]
        seeds = range(arguments.seeds or case.seeds)
        rows: dict[str, tuple[float, list[Figures]]] = {}
        for method_name in chosen(arguments.methods, MEASURED):
            if arguments.rates:
                for rate in arguments.rates:
                    runs = [once(case_name, method_name, rate, seed, arguments.data_root) for seed in seeds]
                    show_validation(case_name, method_name, rate, runs)
                continue
            rates = trial_rates(case_name, method_name)
            trials = [once(case_name, method_name, rate, 0, arguments.data_root) for rate in rates]
            # chosen on validation alone; a trial's test score is looked at only if it wins there
            rate = max(zip(trials, rates, strict=True), key=lambda trial: trial[0]["validation"])[1]
            rows[method_name] = rate, [once(case_name, method_name, rate, seed, arguments.data_root) for seed in seeds]
        if rows:
            show(case_name, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument("--methods", help=f"of {','.join(MEASURED)}; unset: all")
    parser.add_argument("--seeds", type=int, help="so many, from 0; unset: as the case says")
    parser.add_argument(
        "--rates",
        type=lambda word: [float(rate) for rate in word.split(",")],
        help="compare these over all seeds on validation, instead of a trial of three: for a default; shows no test score",
    )
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    return parser.parse_args()


def chosen(given: str | None, known: Mapping[str, object]) -> list[str]:
    names = given.split(",") if given else list(known)
    if unknown := [name for name in names if name not in known]:
        stop(f"there is no {unknown[0]}: expected some of {', '.join(known)}.")
    return names


def trial_rates(case_name: str, method_name: str) -> list[float]:
    """The learning rates that are tried for a method, around its default."""
    default = methods.find(MEASURED[method_name]["name"]).default_learning_rate
    return [float(f"{default * CASES[case_name].rate_factor * factor:.2g}") for factor in FACTORS]


def settings_of(method: Mapping[str, Any]) -> dict[str, Any]:
    """What is the method's own; the pooling is the head's."""
    return {name: value for name, value in method.items() if name not in ("name", "pooling")}


def once(case_name: str, method_name: str, rate: float, seed: int, data_root: Path | None) -> Figures:
    """The figures of one run: from the file of results, or made now and added to it."""
    key = {"case": case_name, "method": method_name, "learning_rate": rate, "seed": seed}
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    for run in map(json.loads, lines):
        if all(run[name] == value for name, value in key.items()) and run["definition"] == definition(
            case_name, method_name
        ):
            return run["figures"]
    figures = train(CASES[case_name], MEASURED[method_name], rate, seed, data_root)
    line = {**key, "definition": definition(case_name, method_name), "figures": figures}
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "environment": describe_environment()}) + "\n")
    told = f"{case_name} {method_name} {rate:g} seed {seed}: validation {figures['validation']:.4f}"
    Console(stderr=True).print(told, highlight=False)
    return figures


def definition(case_name: str, method_name: str) -> dict[str, Any]:
    """What a result belongs to: when case or method mean something else, it does not count. One run knows no number of seeds."""
    case = {name: value for name, value in vars(CASES[case_name]).items() if name != "seeds"}
    return {"case": case, "method": MEASURED[method_name]}


def train(case: Case, method: dict[str, Any], rate: float, seed: int, data_root: Path | None) -> Figures:
    """One run: scores on both splits, and what it cost."""
    folder = data_folder(data_root, case.data)
    with TemporaryDirectory() as temporary:
        data: dict[str, Any] = {"source": str(folder), "max_length": 128, "limit": case.limit}
        if case.validation:
            lines = (folder / "validation.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            data["validation"] = str(Path(temporary) / "validation.jsonl")
            Path(data["validation"]).write_text("".join(lines[: case.validation]), encoding="utf-8")
        started = time.process_time()
        report = fine_tune(
            model=model_path(case.model),
            task="classification",
            method={"name": method["name"], **settings_of(method)},
            head={"pooling": method.get("pooling", "auto")},
            data=data,
            train={"epochs": case.epochs, "learning_rate": rate},
            seed=seed,
            output=Path(temporary) / "run",
            silent=True,
        ).report
    return {
        **{split: report["scores"][split]["accuracy"] for split in ("validation", "test")},
        "train_seconds": report["time"]["train_seconds"],
        "cpu_seconds": round(time.process_time() - started, 1),
        **report["parameters"],
        "precision": report["recipe"]["train"]["precision"],
    }


def show(case_name: str, rows: Mapping[str, tuple[float, list[Figures]]]) -> None:
    """Methods of one case, each with its rate and its runs, a line of a table each."""
    found = Table(title=f"{case_name}: test accuracy over seeds, with a 95 % t interval")
    found.add_column("method")
    for column in (
        "rate",
        "mean",
        "deviation",
        "interval",
        "seeds",
        "weights that learn",
        "share",
        "CPU s",
        "stored bytes",
    ):
        found.add_column(column, justify="right")
    for name, (rate, runs) in rows.items():
        scores = [run["test"] for run in runs]
        found.add_row(
            name,
            f"{rate:g}",
            f"{100 * mean(scores):.2f}",
            f"{100 * stdev(scores):.2f}",
            interval(scores),
            " ".join(f"{100 * score:.1f}" for score in scores),
            f"{runs[0]['trainable']:,}",
            f"{100 * runs[0]['trainable'] / runs[0]['total']:.2f} %",
            f"{mean(run['cpu_seconds'] for run in runs):.0f}",
            f"{runs[0]['stored_bytes']:,}",
        )
    wide_console().print(found)


def show_validation(case_name: str, method_name: str, rate: float, runs: list[Figures]) -> None:
    """One rate of one method over seeds, by validation alone."""
    scores = [run["validation"] for run in runs]
    each = " ".join(f"{100 * score:.2f}" for score in scores)
    told = (
        f"{case_name} {method_name} {rate:g}: validation {100 * mean(scores):.2f} ± {100 * stdev(scores):.2f} ({each})"
    )
    wide_console().print(told, highlight=False)


def interval(scores: list[float]) -> str:
    """Where the mean over more seeds of the same kind is expected to lie."""
    reach = float(t.ppf(0.975, len(scores) - 1)) * stdev(scores) / len(scores) ** 0.5
    return f"{100 * (mean(scores) - reach):.1f} to {100 * (mean(scores) + reach):.1f}"


if __name__ == "__main__":
    main()
