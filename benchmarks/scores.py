"""Quality of the project: named cases over several seeds, against reference figures and transformers.Trainer."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from common import RESULTS, SHARED, Figures, data_folder, describe_environment, in_fresh_process, stop, wide_console
from rich.console import Console
from rich.table import Table

GPT = "gpt-mini"
FILE = RESULTS / "scores.jsonl"
SCRIPTS = {"ours": "ours.py", "trainer": "peer.py"}


@dataclass(frozen=True)
class Case:
    """Data set, model and settings of one kind of run, and the accuracy that somebody else reached with them."""

    data: str
    epochs: float
    batch_size: int
    learning_rate: float
    model: str = "minilm"
    from_scratch: bool = False
    max_length: int = 128
    reference: float | None = None


CASES = {
    "sst2": Case("sst2", 2, 64, 5e-5),
    "trec": Case("trec", 5, 32, 1e-4),
    # references: the model's own README, one seed of transformers.Trainer
    "trec-gpt": Case("trec", 5, 32, 5e-4, model=GPT, reference=0.898),
    "trec-gpt-scratch": Case("trec", 5, 32, 5e-4, model=GPT, from_scratch=True, reference=0.842),
}


def main() -> None:
    arguments = parse()
    contenders = ["ours", "trainer"] if arguments.peer else ["ours"]
    names = arguments.cases.split(",") if arguments.cases else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        stop(f"no case {unknown[0]}: there is {', '.join(CASES)}.")
    shortened = {"limit": arguments.limit, "max_steps": arguments.max_steps}
    done = finished()
    table: dict[tuple[str, str], list[Figures]] = {}
    for name in names:
        settings = {**settings_of(CASES[name]), **{key: value for key, value in shortened.items() if value}}
        paths = {"data": data_folder(arguments.data_root, CASES[name].data), "model": model_path(CASES[name].model)}
        for seed in arguments.seeds:
            for contender in contenders:
                key = key_of(name, contender, seed, settings)
                if key not in done:
                    figures = in_fresh_process(SCRIPTS[contender], {**settings, **paths, "seed": seed})
                    done[key] = append(name, contender, seed, settings, figures)
                table.setdefault((name, contender), []).append(done[key])
    show(table, arguments.seeds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument("--seeds", type=seeds_of, default=[0, 1, 2], help="whole numbers, such as 0,1,2")
    parser.add_argument(
        "--peer", action="store_true", help="also transformers.Trainer with the same settings and seeds"
    )
    parser.add_argument("--limit", type=int, help="training rows, instead of all")
    parser.add_argument("--max_steps", type=int, help="end every run after so many steps")
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    return parser.parse_args()


def seeds_of(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def settings_of(case: Case) -> dict[str, Any]:
    """What defines a run besides its seed; paths are not part of it, so that results are the same run everywhere."""
    return {name: value for name, value in asdict(case).items() if name != "reference"}


def model_path(name: str) -> str:
    if name != GPT:
        return name
    folder = SHARED / "models" / name
    if not folder.is_dir():
        stop(f"the model {name} is not in {folder}: expected a folder that transformers loads.")
    return str(folder)


def key_of(case: str, contender: str, seed: int, settings: dict[str, Any]) -> str:
    return json.dumps([case, contender, seed, settings], sort_keys=True)


def finished() -> dict[str, Figures]:
    """Every run that the file of results holds, by what defines it."""
    if not FILE.exists():
        return {}
    runs = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return {key_of(run["case"], run["contender"], run["seed"], run["settings"]): run["figures"] for run in runs}


def append(case: str, contender: str, seed: int, settings: dict[str, Any], figures: Figures) -> Figures:
    """Add one finished run to the file of results."""
    kept = {name: value for name, value in figures.items() if name != "contender"}
    run = {"case": case, "contender": contender, "seed": seed, "settings": settings}
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**run, "figures": kept, "environment": describe_environment()}) + "\n")
    accuracy = f"{figures['accuracy']:.4f}"
    Console(stderr=True).print(f"{case} {contender} seed {seed}: {accuracy}", highlight=False)
    return kept


def show(runs: dict[tuple[str, str], list[Figures]], seeds: list[int]) -> None:
    table = Table(title="accuracy on test")
    for column in ("case", "contender"):
        table.add_column(column)
    for column in ("mean", *(f"seed {seed}" for seed in seeds), "reference", "train s", "total s"):
        table.add_column(column, justify="right")
    for (name, contender), figures in runs.items():
        accuracies = [one["accuracy"] for one in figures]
        reference = CASES[name].reference
        table.add_row(
            name,
            contender,
            f"{mean(accuracies):.4f}",
            *(f"{accuracy:.4f}" for accuracy in accuracies),
            "" if reference is None else f"{reference:.4f}",
            " ".join(f"{one['train_seconds']:.0f}" for one in figures),
            " ".join(f"{one['total_seconds']:.0f}" for one in figures),
        )
    console = wide_console()
    console.print(table)
    console.print(
        "Ours trains with its defaults (warm-up 0.06, decay 0.01) and keeps the epoch that was best on validation, the "
        "Trainer with its own and those of its last step. "
        "Seconds are those of each seed; total with evaluation.",
    )


if __name__ == "__main__":
    main()
