"""Speed of this project beside what people use today, one contender after another, each in a fresh process."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from common import RESULTS, Figures, data_folder, describe_environment, first_rows, in_fresh_process, stop, wide_console
from matrix_limit import matrix_limits, multiplying_weights, tokens_per_row
from predict_speed import predictions
from rich.console import Console
from rich.table import Table
from speed_cases import CASES, PREDICTIONS, TRAINERS, Case, Contender, examples_rate, operations

from nlp_transfer.report import write_json
from nlp_transfer.training.precision import native_bf16

MEASURES = (
    *("train_seconds", "samples_per_second", "median_step_seconds", "total_seconds", "command_seconds"),
    *("peak_rss_bytes", "peak_device_bytes"),
)
WARM_UP = {"limit": 320, "max_steps": 3, "evaluate": False}
"""Of the unrecorded process that every contender has before the first round, so that nobody alone pays for reading
libraries and weights from a cold disk."""
QUICK, QUICK_ROWS = 10, 320
"""A quick look takes so small a part of a case's rows, and no more than so many."""
QUICK_CASES = ("full-sst2", "head-sst2", "freeze-sst2", "lora-sst2", "adapter-sst2", "full-qa", "predict")
"""One of each kind: a process takes ten seconds however few its rows are."""


def main() -> None:
    arguments = parse()
    bf16 = native_bf16(torch.device(describe_environment()["device"]))
    every = [*CASES, *(name for name, precision in PREDICTIONS.items() if bf16 or precision == "fp32")]
    names = arguments.cases or (QUICK_CASES if arguments.quick else every)
    console = wide_console()
    limits = matrix_limits()
    started = time.perf_counter()
    for name in names:
        before = time.perf_counter()
        if name in CASES:
            result = trained(name, arguments, limits, warm=arguments.quick and name != names[0])
            show = show_training
        else:
            result = predictions(name, arguments.data_root, arguments.quick, limits)
            show = show_prediction
        result["seconds"] = round(time.perf_counter() - before, 1)
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / f"speed-{result['case']}.json", result)
        show(console, result)
    told = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in limits.items())
    console.print(
        f"matrix limit (torch.mm, GFLOP/s): {told}. Limit used: the products that the work needs, padding and attention's "
        f"own not counted, by the limit of their precision. {time.perf_counter() - started:.0f} s in all."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    known = [*CASES, *PREDICTIONS]
    parser.add_argument("--cases", type=lambda word: word.split(","), help=f"of {','.join(known)}; unset: all")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"at most {QUICK_ROWS} rows, one round, and unless --cases says otherwise only one case of each kind: 5 minutes",
    )
    parser.add_argument("--rounds", type=int, help="repetitions, in alternating order, each with a seed of its own")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--limit", type=int, help="training rows, instead of the case's")
    parser.add_argument("--epochs", type=float, help="passes over them, instead of the case's")
    parser.add_argument("--whole", action="store_true", help="all rows of validation and test: for scores")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of trainer-best and ours"
    )
    parser.add_argument("--no-examples", action="store_true", help="leave out the Trainer as the examples set it")
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.cases or [] if name not in known]:
        stop(f"there is no case {unknown[0]}: expected some of {', '.join(known)}.")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds is below 1")
    return arguments


def trained(
    name: str, arguments: argparse.Namespace, limits: Mapping[str, float], *, warm: bool = False
) -> dict[str, Any]:
    """One case of training: all contenders, round by round; warm where the disk is not cold any more."""
    name, case = chosen(name, arguments)
    # padded to the longest there is, every step costs the same: once tells it all
    examples = not (arguments.no_examples or (arguments.quick and name != "full-sst2-quick"))
    rounds: list[dict[str, Figures]] = []
    source = data_folder(arguments.data_root, case.data)
    with first_rows(source, case.limit, case.judged, case.everywhere) as folder:
        tokens = tokens_per_row(case.model, folder / "train.jsonl", case.max_length)
        contenders = [one for one in TRAINERS if one != "trainer-examples" or examples]
        for contender in [] if warm else contenders:
            warming = settings_of(case, contender, arguments, folder)
            in_fresh_process(TRAINERS[contender].script, {**warming, **WARM_UP, "seed": arguments.seed})
        for number in range(case.rounds):
            rounds.append({})
            for contender in contenders[:: -1 if number % 2 else 1]:
                settings = settings_of(case, contender, arguments, folder)
                figures = measure(TRAINERS[contender], {**settings, "seed": arguments.seed + number})
                rounds[-1][contender] = {**figures, "contender": contender}
                told = f"{name}, round {number + 1}: {contender} {figures['samples_per_second']:.1f} rows/s"
                Console(stderr=True).print(told, highlight=False)
        refuse_different_weights(name, rounds[0])
    facts = {"tokens_per_row": tokens, "multiplying_weights": multiplying_weights(case.model)}
    summed = summary(case, rounds, facts, limits)
    return {
        "case": name,
        "settings": {**asdict(case), "seed": arguments.seed, "precision": arguments.precision},
        **facts,
        "warm_up_steps": 0 if warm else WARM_UP["max_steps"],
        "environment": describe_environment(),
        "matrix_limit_flops": dict(limits),
        "contenders": summed,
        "ratios": ratios(rounds, summed, case.batch_size),
        "rounds": rounds,
    }


def refuse_different_weights(name: str, figures: Mapping[str, Figures]) -> None:
    """End where the contenders did not train the same number of weights: such speeds tell nothing."""
    counts = {contender: each["trainable"] for contender, each in figures.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{contender} {count:,}" for contender, count in counts.items())
        stop(f"{name}: the contenders train different numbers of weights: {told}.", 1)


def chosen(name: str, arguments: argparse.Namespace) -> tuple[str, Case]:
    """The case and its name; a changed one has a name of its own, so that it never replaces another's result."""
    case = CASES[name]
    if arguments.quick:
        name, rows = f"{name}-quick", min(case.limit // QUICK, QUICK_ROWS)
        case = replace(case, limit=rows, judged=50, rounds=1, example_steps=2)
    if arguments.limit:
        name, case = f"{name}-{arguments.limit}rows", replace(case, limit=arguments.limit)
    if arguments.epochs:
        name, case = f"{name}-{arguments.epochs:g}epochs", replace(case, epochs=arguments.epochs)
    if arguments.whole:
        name, case = f"{name}-whole", replace(case, judged=None)
    if arguments.precision != "auto":
        name = f"{name}-{arguments.precision}"
    return name, replace(case, rounds=arguments.rounds or case.rounds)


def settings_of(case: Case, contender: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The flags of one run of a contender."""
    names = ("task", "model", "epochs", "batch_size", "learning_rate", "max_length")
    settings = {
        **{name: getattr(case, name) for name in names},
        "method": json.dumps(case.method),
        "data": folder,
        "precision": arguments.precision,
    }
    if contender == "trainer-examples":
        settings["max_steps"] = case.example_steps
    elif contender != "ours":
        settings["evaluate"] = True
    return {**settings, **TRAINERS[contender].settings}


def measure(contender: Contender, settings: Mapping[str, Any]) -> Figures:
    """What a contender says of itself, and the seconds that its whole process took."""
    started = time.perf_counter()
    figures = in_fresh_process(contender.script, settings)
    return {**figures, "command_seconds": time.perf_counter() - started}


def summary(
    case: Case, rounds: list[dict[str, Figures]], facts: Mapping[str, float], limits: Mapping[str, float]
) -> dict[str, Figures]:
    """Of every contender the medians over the rounds, its mean score, and the share of the matrix limit in use."""
    summed = {}
    for contender, first in rounds[0].items():
        every = [one[contender] for one in rounds if contender in one]
        figures = dict(first)
        for name in MEASURES:
            values = [one[name] for one in every if one[name] is not None]
            figures[name] = median(values) if values else None
        figures["score"] = mean(one["score"] for one in every)
        per_row = (
            operations(case.method, contender, case.epochs) * facts["multiplying_weights"] * facts["tokens_per_row"]
        )
        speed = figures["samples_per_second"]
        if contender == "trainer-examples":
            speed = examples_rate(case.batch_size, figures)
        share = per_row * speed / limits[figures["precision"]]
        summed[contender] = {**figures, "share_of_matrix_limit": share}
    return summed


def ratios(
    rounds: list[dict[str, Figures]], summed: Mapping[str, Figures], batch_size: int
) -> dict[str, dict[str, float]]:
    """Ours by each peer: rows per second of training, the median step, and where both trained the same, the whole command.

    The Trainer as in the examples, which is run for a few steps only, is taken by its median step.
    """
    found: dict[str, dict[str, float]] = {}
    for peer, first in rounds[0].items():
        if peer == "ours":
            continue
        both = [(one["ours"], one[peer]) for one in rounds if peer in one]
        if peer == "trainer-examples":
            training = median(ours["samples_per_second"] / examples_rate(batch_size, its) for ours, its in both)
        else:
            training = median(ours["samples_per_second"] / its["samples_per_second"] for ours, its in both)
        step = summed[peer]["median_step_seconds"] / summed["ours"]["median_step_seconds"]
        found[peer] = {"training": training, "step": step}
        if first["steps"] == rounds[0]["ours"]["steps"]:
            found[peer]["command"] = median(its["command_seconds"] / ours["command_seconds"] for ours, its in both)
            found[peer]["score_difference"] = mean(ours["score"] - its["score"] for ours, its in both)
    return found


def show_training(console: Console, result: dict[str, Any]) -> None:
    """A line per contender."""
    table = Table(title=f"{result['case']}: median of {len(result['rounds'])} round(s)")
    columns = ("contender", "precision", "steps", "rows/s", "step ms", "train s", "command s", "peak GB", "limit used")
    for column in (*columns, "score", "ours / it", "by step", "whole command"):
        table.add_column(column, justify="left" if column in ("contender", "precision") else "right")
    for contender, figures in result["contenders"].items():
        ratio = result["ratios"].get(contender, {})
        table.add_row(
            contender,
            figures["precision"],
            str(figures["steps"]),
            f"{figures['samples_per_second']:.1f}",
            f"{1000 * figures['median_step_seconds']:.0f}",
            f"{figures['train_seconds']:.1f}",
            f"{figures['command_seconds']:.1f}",
            f"{(figures['peak_device_bytes'] or figures['peak_rss_bytes'] or 0) / 1e9:.2f}",
            f"{figures['share_of_matrix_limit']:.1%}",
            f"{figures['score']:.4f}",
            f"{ratio['training']:.2f}" if ratio else "",
            f"{ratio['step']:.2f}" if ratio else "",
            f"{ratio['command']:.2f}" if "command" in ratio else "",
        )
    console.print(table)


def show_prediction(console: Console, result: dict[str, Any]) -> None:
    """A line per contender."""
    table = Table(title=f"{result['case']}: {result['rows']:,} rows")
    columns = ("rows read", "rows/s", "command s", "peak GB", "limit used", "same label", "ours / it")
    for column in ("contender", "precision", *columns):
        table.add_column(column, justify="left" if column in ("contender", "precision") else "right")
    for contender, figures in result["contenders"].items():
        ratio = result["ratios"].get(contender)
        table.add_row(
            contender,
            figures["precision"],
            f"{figures['rows']:,}",
            f"{figures['rows_per_second']:.1f}",
            f"{figures['command_seconds']:.1f}",
            f"{(figures['peak_device_bytes'] or figures['peak_rss_bytes'] or 0) / 1e9:.2f}",
            f"{figures['share_of_matrix_limit']:.1%}",
            f"{figures['same_label_as_ours']:.2%}",
            f"{ratio:.2f}" if ratio else "",
        )
    console.print(table)


if __name__ == "__main__":
    main()
