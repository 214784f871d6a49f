"""Training speed of this project against transformers.Trainer, one contender after another, each in a fresh process."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import RESULTS, Figures, data_folder, first_rows, in_fresh_process, wide_console
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import AutoModel, AutoTokenizer

from nlp_transfer import environment
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.quiet import quiet
from nlp_transfer.report import write_json

MEASURES = ("train_seconds", "samples_per_second", "median_step_seconds", "total_seconds", "peak_rss_bytes")


@dataclass(frozen=True)
class Case:
    """What all contenders train: data set, rows, model and settings."""

    data: str = "sst2"
    model: str = "minilm"
    limit: int | None = 6400
    epochs: float = 2.0
    max_steps: int | None = None
    batch_size: int = 64
    learning_rate: float = 5e-5
    max_length: int = 128


@dataclass(frozen=True)
class Contender:
    """A script, and the settings that make it this contender; they win over the case's."""

    script: str
    settings: dict[str, Any]


CASES = {"full-sst2": Case()}
CONTENDERS = {
    "trainer-best": Contender("peer.py", {"padding": "longest", "sampling": "group_by_length"}),
    "ours": Contender("ours.py", {"as_trainer": True}),
}
# as the example scripts of transformers come: every step costs the same, so that few of them suffice
EXAMPLES = Contender("peer.py", {"padding": "max_length", "sampling": "random", "precision": "fp32", "max_steps": 20})


def main() -> None:
    arguments = parse()
    name, case = chosen(arguments)
    contenders = {**CONTENDERS, **({"trainer-examples": EXAMPLES} if arguments.examples else {})}
    console = wide_console()
    with first_rows(data_folder(arguments.data_root, case.data), case.limit) as folder:
        case_facts = facts(case, folder)
        limits = matrix_limits()
        rounds: list[dict[str, Figures]] = []
        for number in range(arguments.rounds):
            order = list(contenders)[:: -1 if number % 2 else 1]
            rounds.append({})
            for contender in order:
                figures = measure(contenders[contender], case, folder, arguments.seed)
                rounds[-1][contender] = {**figures, "contender": contender}
                speed = figures["samples_per_second"]
                Console(stderr=True).print(f"round {number + 1}: {contender} {speed:.1f} rows/s", highlight=False)

    result = {
        "case": name,
        "settings": {**asdict(case), "seed": arguments.seed},
        **case_facts,
        "environment": environment.describe(),
        "matrix_limit_flops": limits,
        "contenders": summary(rounds, case_facts, limits),
        "ratios": ratios(rounds),
        "rounds": rounds,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"speed-{name}.json", result)
    show(console, result)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--case", choices=list(CASES), default="full-sst2")
    parser.add_argument("--quick", action="store_true", help="640 rows, 1 epoch")
    parser.add_argument("--rounds", type=int, default=1, help="repetitions, in alternating order")
    parser.add_argument("--examples", action="store_true", help="also the Trainer as in the examples of transformers")
    parser.add_argument("--limit", type=int, help="training rows, instead of the case's")
    parser.add_argument("--max_steps", type=int, help="end every contender after so many steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds is below 1")
    return arguments


def chosen(arguments: argparse.Namespace) -> tuple[str, Case]:
    """The case and its name; a shortened one has a name of its own, so that it never replaces the full one's result."""
    name, case = arguments.case, CASES[arguments.case]
    if arguments.quick:
        name, case = f"{name}-quick", replace(case, limit=640, epochs=1.0)
    if arguments.limit:
        name, case = f"{name}-{arguments.limit}rows", replace(case, limit=arguments.limit)
    if arguments.max_steps:
        name, case = f"{name}-{arguments.max_steps}steps", replace(case, max_steps=arguments.max_steps)
    return name, case


def measure(contender: Contender, case: Case, folder: Path, seed: int) -> Figures:
    settings = {**asdict(case), "seed": seed, "data": folder, "limit": None, **contender.settings}
    if case.max_steps:
        settings["max_steps"] = case.max_steps
    return in_fresh_process(contender.script, settings)


def facts(case: Case, folder: Path) -> dict[str, float]:
    """What one row costs: its mean number of tokens without padding, and the weights that multiply each of them."""
    backbone = Backbone.find(ModelSettings(case.model))
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(backbone.location)
        encoded = tokenizer([json.loads(line)["text"] for line in lines], truncation=True, max_length=case.max_length)
        with torch.device("meta"):
            model = AutoModel.from_config(backbone.config)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in embeddings)
    tokens = sum(map(len, encoded["input_ids"])) / len(lines)
    return {"tokens_per_row": tokens, "parameters_without_embeddings": weights}


def matrix_limits(seconds: float = 1.0) -> dict[str, float]:
    """Floating-point operations per second of torch.mm on large square matrices, by precision."""
    device = torch.device(environment.describe()["device"])
    width = 1024 if device.type == "cpu" else 8192
    return {name: matrix_limit(dtype, width, device, seconds) for name, dtype in PRECISIONS.items()}


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def matrix_limit(dtype: torch.dtype, width: int, device: torch.device, seconds: float) -> float:
    left, right = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        # reading one number waits for a device that works on its own
        torch.mm(left, right)[0, 0].item()

    product()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        product()
        count += 1
    return 2 * width**3 * count / (time.perf_counter() - started)


def summary(
    rounds: list[dict[str, Figures]], case_facts: dict[str, float], limits: dict[str, float]
) -> dict[str, Figures]:
    """Medians over the rounds, and the share of the matrix limit in use."""
    operations = 6 * case_facts["parameters_without_embeddings"] * case_facts["tokens_per_row"]
    summed = {}
    for contender, first in rounds[0].items():
        figures = dict(first)
        for name in MEASURES:
            values = [one[contender][name] for one in rounds if one[contender][name] is not None]
            figures[name] = median(values) if values else None
        share = operations * figures["samples_per_second"] / limits[figures["precision"]]
        summed[contender] = {**figures, "share_of_matrix_limit": share}
    return summed


def ratios(rounds: list[dict[str, Figures]]) -> dict[str, Figures]:
    """Rows per second of ours by those of each peer, in every round and their median."""
    ratios_of = {}
    for peer in rounds[0]:
        if peer != "ours":
            each = [one["ours"]["samples_per_second"] / one[peer]["samples_per_second"] for one in rounds]
            ratios_of[peer] = {"median": median(each), "rounds": each}
    return ratios_of


def show(console: Console, result: dict[str, Any]) -> None:
    table = Table(title=f"{result['case']}: median of {len(result['rounds'])} round(s)")
    columns = ("contender", "precision", "steps", "rows/s", "step ms", "train s", "total s", "peak GB", "limit used")
    for column in (*columns, "accuracy", "ours / it"):
        table.add_column(column, justify="left" if column in ("contender", "precision") else "right")
    for contender, figures in result["contenders"].items():
        ratio = result["ratios"].get(contender)
        memory = figures["peak_rss_bytes"]
        table.add_row(
            contender,
            figures["precision"],
            str(figures["steps"]),
            f"{figures['samples_per_second']:.1f}",
            f"{1000 * figures['median_step_seconds']:.0f}",
            f"{figures['train_seconds']:.1f}",
            f"{figures['total_seconds']:.1f}",
            "" if memory is None else f"{memory / 1e9:.2f}",
            f"{figures['share_of_matrix_limit']:.1%}",
            f"{figures['accuracy']:.4f}",
            f"{ratio['median']:.3f}" if ratio else "",
        )
    console.print(table)
    for peer, ratio in result["ratios"].items():
        each = ", ".join(f"{value:.3f}" for value in ratio["rounds"])
        console.print(f"rows/s of ours by those of {peer}, round by round: {each}")
    limits = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in result["matrix_limit_flops"].items())
    weights = result["parameters_without_embeddings"] / 1e6
    console.print(
        f"matrix limit (torch.mm, GFLOP/s): {limits}. Limit used: 6 * {weights:.1f} M "
        f"parameters without embeddings * tokens per second ({result['tokens_per_row']:.1f} tokens a row, padding and "
        "the attention's products not counted) / the limit of its precision. Total s: of ours with an evaluation on "
        "validation after every epoch, of the Trainer without; both with the test.",
    )


if __name__ == "__main__":
    main()
