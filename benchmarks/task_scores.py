"""Quality of the tasks: pairs, several labels, numbers and many classes over seeds, beside transformers.Trainer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from common import RESULTS, Figures, data_folder, describe_environment, in_fresh_process, stop, wide_console
from rich.console import Console
from rich.table import Table
from scores import GPT, model_path, seeds_of

from nlp_transfer import methods, tasks

FILE = RESULTS / "task-scores.jsonl"
SCRIPTS = {"ours": "task_ours.py", "trainer": "task_peer.py"}
EVERY = 10
"""Where a data set has no validation split, every so many training rows make one, for all contenders."""


@dataclass(frozen=True)
class Case:
    """Data set, task and settings of one kind of run."""

    data: str
    task: str
    epochs: float
    batch_size: int = 32
    learning_rate: float = 1e-4
    model: str = "minilm"
    method: str = "full"
    max_length: int = 128


MAIN = {
    "stsb": Case("stsb", "regression", 4),
    "mrpc": Case("mrpc", "classification", 4),
    "rte": Case("rte", "classification", 5),
    "emotions": Case("emotions_multilabel", "multi_label", 2, batch_size=64),
    "banking77": Case("banking77", "classification", 5, learning_rate=2e-4),
}
REFERENCE = {"stsb": ("pearson_correlation", 0.805), "mrpc": ("accuracy", 0.793)}
"""One seed of transformers.Trainer in bf16, made elsewhere."""

PEFT = {
    f"{name}-{method}": Case(
        **{**asdict(case), "method": method, "learning_rate": methods.find(method).default_learning_rate}
    )
    for name, case in MAIN.items()
    for method in ("lora", "adapter")
}
FAST = {f"{name}-adapter-fast": Case(**{**asdict(PEFT[f"{name}-adapter"]), "learning_rate": 3e-3}) for name in MAIN}
"""Adapters at the rate that short trainings like better."""

SMALL = {f"{name}-gpt": Case(**{**asdict(case), "model": GPT, "learning_rate": 5e-4}) for name, case in MAIN.items()}
CASES = {**MAIN, **PEFT, **FAST, **SMALL}


def main() -> None:
    arguments = parse()
    names = arguments.cases.split(",") if arguments.cases else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        stop(f"no case {unknown[0]}: there is {', '.join(CASES)}.")
    done = finished()
    table: dict[tuple[str, str], list[Figures]] = {}
    for name in names:
        case = CASES[name]
        settings = {**asdict(case), "precision": arguments.precision}
        settings |= {"max_steps": arguments.max_steps} if arguments.max_steps else {}
        # adapters, and other models, once; the Trainer beside what it is the peer of
        seeds = arguments.seeds if name in MAIN else arguments.seeds[:1]
        contenders = ["ours", "trainer"] if arguments.peer and name in MAIN else ["ours"]
        with three_splits(data_folder(arguments.data_root, case.data), arguments.rows) as folder:
            paths = {"data": folder, "model": model_path(case.model)}
            if arguments.rows:
                settings["rows"] = arguments.rows
            for seed in seeds:
                for contender in contenders:
                    key = json.dumps([name, contender, seed, settings], sort_keys=True)
                    if key not in done:
                        flags = {key: value for key, value in settings.items() if key not in ("data", "rows")}
                        figures = in_fresh_process(SCRIPTS[contender], {**flags, **paths, "seed": seed})
                        done[key] = append(name, contender, seed, settings, figures)
                    table.setdefault((name, contender), []).append(done[key])
    show(table)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument("--seeds", type=seeds_of, default=[0, 1, 2], help="whole numbers, such as 0,1,2")
    parser.add_argument("--peer", action="store_true", help="also transformers.Trainer, same settings and seeds")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--rows", type=int, help="about so many rows of every split, evenly drawn, for a quick look")
    parser.add_argument("--max_steps", type=int, help="end every run after so many steps")
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    return parser.parse_args()


@contextmanager
def three_splits(data: Path, rows: int | None) -> Iterator[Path]:
    """The data folder, or a temporary one where it has no validation split, or only some rows are wanted."""
    if (data / "validation.jsonl").is_file() and rows is None:
        yield data
        return
    lines = {path.stem: path.read_text(encoding="utf-8").splitlines(keepends=True) for path in data.glob("*.jsonl")}
    if "validation" not in lines:
        lines["validation"] = lines["train"][EVERY // 2 :: EVERY]
        lines["train"] = [line for i, line in enumerate(lines["train"]) if i % EVERY != EVERY // 2]
    with TemporaryDirectory() as temporary:
        for split, every in lines.items():
            (Path(temporary) / f"{split}.jsonl").write_text(
                "".join(every[:: max(1, len(every) // rows)][:rows] if rows else every), encoding="utf-8"
            )
        yield Path(temporary)


def finished() -> dict[str, Figures]:
    """Every run that the file of results holds, by what defines it."""
    parts = ("case", "contender", "seed", "settings")
    return {json.dumps([run[part] for part in parts], sort_keys=True): run["figures"] for run in finished_lines(FILE)}


def finished_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none where there is no file."""
    return list(map(json.loads, file.read_text(encoding="utf-8").splitlines())) if file.exists() else []


def append(case: str, contender: str, seed: int, settings: dict[str, Any], figures: Figures) -> Figures:
    """Add one finished run to the file of results."""
    run = {"case": case, "contender": contender, "seed": seed, "settings": settings, "figures": figures}
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**run, "environment": describe_environment()}) + "\n")
    said = ", ".join(f"{name} {value:.4f}" for name, value in figures["scores"].items())
    Console(stderr=True).print(f"{case} {contender} seed {seed}: {said}", highlight=False)
    return figures


def show(runs: dict[tuple[str, str], list[Figures]]) -> None:
    table = Table(title="scores on test: mean over seeds, and each seed")
    for column in ("case", "contender", "score"):
        table.add_column(column)
    for column in ("mean", "seeds", "reference", "train s"):
        table.add_column(column, justify="right")
    for (name, contender), figures in runs.items():
        primary = tasks.find(CASES[name].task).primary.metric
        wanted, reference = REFERENCE.get(name, (primary, None))
        for score in figures[0]["scores"]:
            values = [one["scores"][score] for one in figures]
            table.add_row(
                *((name, contender) if score == next(iter(figures[0]["scores"])) else ("", "")),
                score,
                f"{mean(values):.4f}",
                " ".join(f"{value:.4f}" for value in values),
                f"{reference:.3f}" if reference and score == wanted else "",
                " ".join(f"{one['train_seconds']:.0f}" for one in figures),
            )
    wide_console().print(table)


if __name__ == "__main__":
    main()
