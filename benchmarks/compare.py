"""The command `compare` from end to end on real sentences: six methods, five seeds, and the time it took."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from common import RESULTS, data_folder, describe_environment, stop, wide_console
from rich.table import Table

from nlp_transfer import Comparison

METHODS = "full,head,freeze,lora,adapter,bitfit"
FILE = RESULTS / "compare-yelp.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    parser.add_argument("--output", type=Path, default=Path("runs/compare-yelp"), help="the comparison's folder")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=3.0)
    arguments = parser.parse_args()
    settings = {"task": "sentiment", "data": data_folder(arguments.data_root, "yelp_sentences"), "methods": METHODS}
    settings |= {"train.epochs": arguments.epochs, "workers": arguments.workers, "output": arguments.output}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "nlp_transfer.cli", "compare", *words], check=False)
    if done.returncode:
        stop(f"compare ended with status {done.returncode}.", done.returncode)
    compared = Comparison(arguments.output)
    # a comparison that went on after a stop took longer than this command
    spent = sum(line["costs"].get("total_seconds", 0.0) for line in compared.lines)
    result = {
        "seconds": round(time.perf_counter() - started, 1),
        "seconds_in_jobs": round(spent, 1),
        "jobs": {kind: sum(line["kind"] == kind for line in compared.lines) for kind in ("trial", "run", "baseline")},
        "workers": arguments.workers,
        "epochs": arguments.epochs,
        "environment": describe_environment(),
        "lines": compared.lines,
    }
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(compared, result["seconds"])


def show(compared: Comparison, seconds: float) -> None:
    """Test scores by candidate and seed."""
    metric = compared.protocol["metric"]
    table = Table(title=f"yelp_sentences: test {metric}; {seconds / 60:.0f} min from end to end")
    for column in ("candidate", "seed", "rate", "status", "score", "seconds"):
        table.add_column(column)
    for line in compared.lines:
        if line["kind"] != "trial":
            score = line["scores"].get("test", {}).get(metric, float("nan"))
            rate = f"{line['learning_rate']:g}" if line["learning_rate"] else ""
            seconds = line["costs"].get("total_seconds", float("nan"))
            table.add_row(line["candidate"], str(line["seed"]), rate, line["status"], f"{score:.4f}", f"{seconds:.0f}")
    wide_console().print(table)


if __name__ == "__main__":
    main()
