"""The cases of prediction: the same texts answered by a run of ours and by transformers, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import Figures, data_folder, describe_environment, first_rows, in_fresh_process, stop
from matrix_limit import multiplying_weights, tokens_per_row
from rich.console import Console
from speed_cases import BY_PIPELINE, PREDICTED, PREDICTIONS, PREDICTORS


def predictions(name: str, root: Path | None, quick: bool, limits: Mapping[str, float]) -> dict[str, Any]:
    """One case of prediction; the pipeline answers rows one by one, so that a part of them, spread evenly, tells its speed."""
    precision, rows, by_pipeline = PREDICTIONS[name], PREDICTED, BY_PIPELINE
    if quick:
        name, rows, by_pipeline = f"{name}-quick", PREDICTED // 20, BY_PIPELINE // 10
    source = data_folder(root, "sst2")
    contenders: dict[str, Figures] = {}
    labels: dict[str, dict[int, str]] = {}
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
            answers = [json.loads(line)["label"] for line in output.read_text(encoding="utf-8").splitlines()]
            labels[contender] = dict(zip(files[file], answers, strict=True))
            told = f"{name}: {contender} {figures['rows_per_second']:.1f} rows/s"
            Console(stderr=True).print(told, highlight=False)
        tokens = tokens_per_row("minilm", folder / "all.jsonl", 128)
    facts = {"tokens_per_row": tokens, "multiplying_weights": multiplying_weights("minilm")}
    per_row = 2 * facts["multiplying_weights"] * facts["tokens_per_row"]
    for contender, figures in contenders.items():
        same = [label == labels["ours"][row] for row, label in labels[contender].items()]
        figures["same_label_as_ours"] = sum(same) / len(same)
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


def a_run(source: Path, folder: Path) -> Path:
    """The model folder of a run of a few steps, which plain transformers loads."""
    with first_rows(source, 640, 100) as data:
        words = [
            "--task",
            "classification",
            "--data",
            str(data),
            "--train.max_steps",
            "20",
            "--output",
            str(folder / "run"),
        ]
        command = [sys.executable, "-m", "nlp_transfer.cli", "train", *words, "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        stop(done.stderr, done.returncode)
    return folder / "run" / "model"
