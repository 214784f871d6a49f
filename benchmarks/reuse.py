"""What reuse saves: the same run twice in fresh processes, with a cache that is empty at first, and once without any.

Written to benchmarks/results/reuse.json: seconds of the whole run, of training, and of what was found; and that all three
runs end with the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
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


def main() -> None:
    """Measure every case, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data-root", type=Path, help="folder that holds sst2")
    parser.add_argument("--limit", type=int, default=10_000, help="training rows")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--model", default="minilm")
    asked = parser.parse_args()
    found: dict[str, Any] = {"rows": asked.limit, "epochs": asked.epochs, "cases": {}}
    with TemporaryDirectory() as work, first_rows(data_folder(asked.data_root, "sst2"), asked.limit) as data:
        for name, flags in CASES.items():
            common = ["--task", "sentiment", "--data", str(data), "--model", asked.model, *flags]
            common += ["--train.epochs", str(asked.epochs)]
            cache = str(Path(work) / f"cache {name}")
            kinds = {"without": "off", "first": cache, "second": cache}
            case = {kind: run(common, Path(work) / name / kind, where) for kind, where in kinds.items()}
            same = len({each.pop("weights") for each in case.values()}) == 1
            found["cases"][name] = {**case, "same_weights": same}
            for kind in kinds:
                print(f"{name}, {kind}: {case[kind]['train_seconds']:.1f} s of {case[kind]['total_seconds']:.1f} s")
            print(f"{name}: the same weights: {same}")
    write_json(RESULTS / "reuse.json", {**found, "environment": describe_environment()})


if __name__ == "__main__":
    main()
