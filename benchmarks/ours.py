"""One run of nlp_transfer.fine_tune on a folder of rows, as one line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import Figures, answer, contender_parser, first_rows, peak_rss_bytes, rows_trained
from peer_rows import STRIDE

from nlp_transfer import fine_tune

FIRST = 5
"""Steps that a process takes longer for: they find their memory, and their kernels are made."""


def main() -> None:
    parser = contender_parser(__doc__ or "")
    parser.add_argument(
        "--as_trainer", action="store_true", help="the head, and no warm-up and decay, as the peer has them"
    )
    answer(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    train = {
        "epochs": arguments.epochs,
        "max_steps": arguments.max_steps,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "precision": arguments.precision,
        **({"warmup": 0.0, "weight_decay": 0.0} if arguments.as_trainer else {}),
    }
    with first_rows(arguments.data, arguments.limit) as folder, TemporaryDirectory() as temporary:
        output = Path(temporary) / "run"
        report = fine_tune(
            model={"name": arguments.model, "from_scratch": arguments.from_scratch},
            task={"name": "qa", "stride": STRIDE} if arguments.task == "qa" else arguments.task,
            method=arguments.method,
            head={"pooling": "own"} if arguments.as_trainer and arguments.task != "qa" else {},
            data={"source": str(folder), "max_length": arguments.max_length},
            train=train,
            seed=arguments.seed,
            output=output,
            silent=True,
        ).report
        lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = report["data"]["rows"]["train"]
    score = report["scores"]["test"]["f1" if arguments.task == "qa" else "accuracy"]
    return {
        "contender": "ours",
        "score": score,
        **({"accuracy": score} if arguments.task != "qa" else {}),
        **{name: report["time"][name] for name in ("train_seconds", "samples_per_second", "median_step_seconds")},
        "total_seconds": time.perf_counter() - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_device_bytes": report["memory"]["peak_device_bytes"],
        "steps": report["training"]["steps"],
        "rows": report["training"]["rows"],
        "trainable": report["parameters"]["trainable"],
        # a question may have several windows, which are what its steps count
        "after_first_steps": None if arguments.task == "qa" else after_first(lines, trained, arguments.batch_size),
        "final_loss": [line["loss"] for line in lines if "loss" in line][-1],
        "precision": report["recipe"]["train"]["precision"],
    }


def after_first(lines: list[dict[str, Any]], rows: int, batch_size: int) -> dict[str, float] | None:
    """Steps, rows and seconds of the training without its first steps, from its log; None where it has no others."""
    told = [line for line in lines if "loss" in line and line["step"] >= FIRST]
    if len(told) < 2:
        return None
    trained = [rows_trained(line["step"], rows, batch_size) for line in told]
    # the log has the mean speed from the first step on
    seconds = [number / line["rows_per_second"] for number, line in zip(trained, told, strict=True)]
    steps = told[-1]["step"] - told[0]["step"]
    return {"steps": steps, "rows": trained[-1] - trained[0], "seconds": seconds[-1] - seconds[0]}


if __name__ == "__main__":
    main()
