"""One run of nlp_transfer.fine_tune on a folder of rows, as one line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from common import Figures, answer, contender_parser, first_rows, peak_rss_bytes
from peer_rows import STRIDE

from nlp_transfer import fine_tune


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
        "final_loss": [line["loss"] for line in lines if "loss" in line][-1],
        "precision": report["recipe"]["train"]["precision"],
    }


if __name__ == "__main__":
    main()
