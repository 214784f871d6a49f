"""One run of nlp_transfer.fine_tune on a data set of any task, as one line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import Figures, answer, peak_rss_bytes, run_parser

from nlp_transfer import fine_tune
from nlp_transfer.metrics.multi_label_macro_f1 import multi_label_macro_f1
from nlp_transfer.metrics.multi_label_micro_f1 import multi_label_micro_f1


def main() -> None:
    answer(run, task_parser(__doc__ or "").parse_args())


def task_parser(description: str) -> argparse.ArgumentParser:
    """The flags of a run of a task."""
    parser = run_parser(description)
    parser.add_argument("--task", required=True)
    parser.add_argument("--method", default="full")
    parser.set_defaults(learning_rate=None)
    return parser


def run(arguments: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    names = ("epochs", "max_steps", "batch_size", "learning_rate", "precision")
    with TemporaryDirectory() as temporary:
        done = fine_tune(
            model=arguments.model,
            task=arguments.task,
            method=arguments.method,
            data={"source": str(arguments.data), "max_length": arguments.max_length},
            train={name: getattr(arguments, name) for name in names},
            seed=arguments.seed,
            output=Path(temporary) / "run",
            silent=True,
        )
        report, scores = done.report, dict(done.scores["test"])
        if arguments.task == "multi_label":
            scores |= at_half(done.folder / "predictions" / "test.jsonl")
    return {
        "scores": scores,
        "validation": report["scores"]["validation"],
        **{name: report["time"][name] for name in ("train_seconds", "samples_per_second", "median_step_seconds")},
        "total_seconds": time.perf_counter() - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "steps": report["training"]["steps"],
        "trainable": report["parameters"]["trainable"],
        "learning_rate": report["recipe"]["train"]["learning_rate"],
        "precision": report["recipe"]["train"]["precision"],
    }


def at_half(predictions: Path) -> dict[str, float]:
    """F1 with the threshold of a half for every label, as the peer has it."""
    rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    names = list(rows[0]["probabilities"])
    given = np.array([[row["probabilities"][name] >= 0.5 for name in names] for row in rows]).astype(int)
    true = np.array([[name in row["gold"] for name in names] for row in rows]).astype(int)
    return {
        "micro_f1_at_half": multi_label_micro_f1(given, true),
        "macro_f1_at_half": multi_label_macro_f1(given, true),
    }


if __name__ == "__main__":
    main()
