"""What reuse saves: the same run twice in fresh processes, with a cache that is empty at first, and once without any.

Written to benchmarks/results/reuse.json: seconds of the whole run, of training, and of what was found, of every round and
the medians. Rounds alternate between the run without a cache going first and last. Where runs end with different weights
nothing is written, and the status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from common import RESULTS, data_folder, describe_environment, first_rows, stop

from nlp_transfer.report import write_json

CASES = {"head": ["--method", "head"], "freeze 4 of 6": ["--method", "freeze", "--method.lowest", "4"]}


def run(flags: list[str], output: Path, cache: str) -> dict[str, Any]:
    """A training in a fresh process: its times, its scores, and a hash of its weights."""
    command = [sys.executable, "-m", "nlp_transfer.cli", "train", *flags, "--output", str(output)]
    done = subprocess.run(
        command, env={**os.environ, "NLP_TRANSFER_CACHE": cache}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        stop("\n".join(done.stderr.strip().splitlines()[-10:]), 1)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    weights = hashlib.sha256((output / "model" / "model.safetensors").read_bytes()).hexdigest()
    times = {name: report["time"][name] for name in ("train_seconds", "total_seconds", "saved_seconds")}
    return {**times, "accuracy": report["scores"]["test"]["accuracy"], "weights": weights}


def order(number: int) -> tuple[str, ...]:
    """The runs of a round in their order: what the first ones find cold is charged to each side in turn."""
    return ("first", "second", "without") if number % 2 else ("without", "first", "second")


def refuse_different_weights(name: str, rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
    """End with status 1 where reuse changed what was learned."""
    hashes = {(number, kind): each["weights"] for number, one in enumerate(rounds) for kind, each in one.items()}
    if len(set(hashes.values())) > 1:
        told = ", ".join(f"round {number}, {kind}: {weights[:12]}" for (number, kind), weights in hashes.items())
        stop(f"{name}: the runs ended with different weights ({told}).", 1)


def main() -> None:
    """Measure every case, print and write the figures; different weights are an error."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data-root", type=Path, help="folder that holds sst2")
    parser.add_argument("--limit", type=int, default=10_000, help="training rows")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--model", default="minilm")
    parser.add_argument(
        "--rounds", type=int, default=2, help="an even number gives every kind of run each place as often"
    )
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("--rounds is below 1")
    found: dict[str, Any] = {"rows": asked.limit, "epochs": asked.epochs, "cases": {}}
    with TemporaryDirectory() as work, first_rows(data_folder(asked.data_root, "sst2"), asked.limit) as data:
        for name, flags in CASES.items():
            common = ["--task", "sentiment", "--data", str(data), "--model", asked.model, *flags]
            common += ["--train.epochs", str(asked.epochs)]
            rounds = []
            for number in range(asked.rounds):
                folder = Path(work) / name / str(number)
                cache = str(folder / "cache")
                kinds = {"without": "off", "first": cache, "second": cache}
                rounds.append({kind: run(common, folder / kind, kinds[kind]) for kind in order(number)})
            refuse_different_weights(name, rounds)
            medians = {
                kind: {time: median(each[kind][time] for each in rounds) for time in ("train_seconds", "total_seconds")}
                for kind in order(0)
            }
            found["cases"][name] = {**medians, "rounds": rounds}
            for kind, times in medians.items():
                print(f"{name}, {kind}: {times['train_seconds']:.1f} s of {times['total_seconds']:.1f} s")
    write_json(RESULTS / "reuse.json", {**found, "environment": describe_environment()})


if __name__ == "__main__":
    main()
