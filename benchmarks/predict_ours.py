"""Answers to the texts of a file by a run of ours, as one line of JSON."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from common import Figures, answer, peak_rss_bytes

from nlp_transfer import environment, load_run, predict_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True, help="model folder of a finished run")
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with text")
    parser.add_argument("--output", type=Path, required=True, help="file of JSON lines for the rows and their answers")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    answer(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    run = load_run(arguments.model.parent)
    done = predict_file(run, arguments.data, arguments.output, precision=arguments.precision, silent=True)
    return {
        "contender": "ours",
        "rows": done.rows,
        "rows_per_second": done.rows_per_second,
        "total_seconds": time.perf_counter() - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_device_bytes": environment.peak_memory()["peak_device_bytes"],
        "precision": arguments.precision,
    }


if __name__ == "__main__":
    main()
