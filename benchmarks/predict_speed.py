"""The cases of prediction: the same texts answered by a run of ours and by transformers, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import Figures, data_folder, describe_environment, first_rows, in_fresh_process, stop
from matrix_limit import multiplying_weights, tokens_per_row
from rich.console import Console
from speed_cases import BY_PIPELINE, PREDICTED, PREDICTIONS, PREDICTORS

LEARNED_ON, CHOSEN_BY = 3200, 500
"""Rows to train and to validate the run that answers: enough for answers of both kinds."""

ABOVE = 0.1
"""Its accuracy on validation is at least so far above the majority's: of a run that gives everyone one label, all ways of
reading it agree."""

TOLERANCE = {"fp32": 1e-3, "bf16": 0.05}
"""Answers of two ways have probabilities within this of each other; numbers in bf16 have eight bits, and one way holds the
weights themselves in it."""

APART = {"fp32": 0.0, "bf16": 0.01}
"""Share of the rows that may be further apart."""


def predictions(name: str, root: Path | None, quick: bool, limits: Mapping[str, float]) -> dict[str, Any]:
    """One case of prediction; the pipeline answers rows one by one, so that a part of them, spread evenly, tells its speed."""
    precision, rows, by_pipeline = PREDICTIONS[name], PREDICTED, BY_PIPELINE
    if quick:
        name, rows, by_pipeline = f"{name}-quick", PREDICTED // 20, BY_PIPELINE // 10
    source = data_folder(root, "sst2")
    contenders: dict[str, Figures] = {}
    positives: dict[str, dict[int, float]] = {}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = [json.loads(line)["text"] for line in (source / "train.jsonl").read_text(encoding="utf-8").splitlines()]
        texts = texts[:rows]
        spread = range(0, len(texts), max(1, len(texts) // by_pipeline))
        files = {"all": range(len(texts)), "spread": spread}
        for file, indices in files.items():
            lines = (json.dumps({"text": texts[i]}) for i in indices)
            (folder / f"{file}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        model = a_run(source, folder)
        for contender, how in PREDICTORS.items():
            file = "spread" if contender == "pipeline" else "all"
            output = folder / f"{contender}.jsonl"
            started = time.perf_counter()
            settings = {"model": model, "data": folder / f"{file}.jsonl", "output": output, "precision": precision}
            figures = in_fresh_process(how.script, {**settings, **how.settings})
            contenders[contender] = {
                **figures,
                "contender": contender,
                "command_seconds": time.perf_counter() - started,
            }
            answers = [positive(json.loads(line)) for line in output.read_text(encoding="utf-8").splitlines()]
            positives[contender] = dict(zip(files[file], answers, strict=True))
            told = f"{name}: {contender} {figures['rows_per_second']:.1f} rows/s"
            Console(stderr=True).print(told, highlight=False)
        tokens = tokens_per_row("minilm", folder / "all.jsonl", 128)
    facts = {"tokens_per_row": tokens, "multiplying_weights": multiplying_weights("minilm")}
    per_row = 2 * facts["multiplying_weights"] * facts["tokens_per_row"]
    for contender, figures in contenders.items():
        figures |= agreement(name, contender, precision, positives)
        figures["share_of_matrix_limit"] = per_row * figures["rows_per_second"] / limits[precision]
    ours = contenders["ours"]["rows_per_second"]
    return {
        "case": name,
        "rows": len(texts),
        **facts,
        "environment": describe_environment(),
        "matrix_limit_flops": dict(limits),
        "contenders": contenders,
        "ratios": {one: ours / figures["rows_per_second"] for one, figures in contenders.items() if one != "ours"},
    }


def positive(answer: Mapping[str, Any]) -> float:
    """The probability of the label `positive`, one of two, from that of the label that was given."""
    given: float = answer["probability"]
    return given if answer["label"] == "positive" else 1 - given


def agreement(name: str, contender: str, precision: str, positives: Mapping[str, Mapping[int, float]]) -> Figures:
    """How far a contender's answers are from ours, on the rows that it read; ends where that is too far.

    Args:
        name: of the case.
        contender: whose answers.
        precision: of both.
        positives: of every contender the probability of `positive` by row.
    """
    rows = list(positives[contender])
    theirs, ours = (np.array([positives[one][row] for row in rows]) for one in (contender, "ours"))
    apart = np.abs(theirs - ours)
    share = float((apart > TOLERANCE[precision]).mean())
    found = {
        "same_label_as_ours": float(((theirs > 0.5) == (ours > 0.5)).mean()),
        "probability_apart": {"median": float(np.median(apart)), "most": float(apart.max())},
        "share_of_rows_apart": share,
    }
    if share > APART[precision]:
        stop(f"{name}: {contender} answers otherwise than ours: {found}.", 1)
    return found


def a_run(source: Path, folder: Path) -> Path:
    """The model folder of a run that tells the labels apart, which plain transformers loads; ends where it does not."""
    with first_rows(source, LEARNED_ON, CHOSEN_BY) as data:
        settings = {
            "task": "classification",
            "data": data,
            "train.epochs": 2,
            "train.learning_rate": 1e-4,
            "output": folder / "run",
        }
        words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        lines = (data / "validation.jsonl").read_text(encoding="utf-8").splitlines()
        command = [sys.executable, "-m", "nlp_transfer.cli", "train", *words, "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        stop(done.stderr, done.returncode)
    counts = Counter(json.loads(line)["label"] for line in lines)
    report = json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))
    accuracy, most = report["scores"]["validation"]["accuracy"], max(counts.values()) / counts.total()
    if accuracy < most + ABOVE:
        stop(
            f"the run that is to answer does not tell labels apart: accuracy {accuracy:.3f}, the majority {most:.3f}.",
            1,
        )
    return folder / "run" / "model"
