"""Answers to the texts of a file by transformers alone, as one line of JSON: its pipeline, or batches padded to their longest."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from common import Figures, answer, peak_rss_bytes
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from nlp_transfer import environment
from nlp_transfer.quiet import quiet

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a classifier that plain transformers loads"
    )
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with text")
    parser.add_argument("--output", type=Path, required=True, help="file for the labels and their probabilities")
    parser.add_argument("--way", choices=("pipeline", "batched"), required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    answer(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    texts = [json.loads(line)["text"] for line in arguments.data.read_text(encoding="utf-8").splitlines()]
    dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    device = torch.device(environment.describe()["device"])
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        model: Any = AutoModelForSequenceClassification.from_pretrained(arguments.model, dtype=dtype).to(device).eval()
        clock = time.perf_counter()
        answers = (piped if arguments.way == "pipeline" else batched)(texts, model, tokenizer)
        seconds = time.perf_counter() - clock
    lines = [json.dumps({"label": label, "probability": probability}) for label, probability in answers]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "contender": arguments.way,
        "rows": len(texts),
        "rows_per_second": len(texts) / seconds,
        "total_seconds": time.perf_counter() - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_device_bytes": environment.peak_memory()["peak_device_bytes"],
        "precision": arguments.precision,
    }


def piped(texts: list[str], model: Any, tokenizer: Any) -> list[tuple[str, float]]:
    """As the pipeline answers a list where nothing else is asked for."""
    classify: Any = pipeline("text-classification", model=model, tokenizer=tokenizer, device=model.device)
    return [(found["label"], found["score"]) for found in classify(texts)]


def batched(texts: list[str], model: Any, tokenizer: Any) -> list[tuple[str, float]]:
    """Batches in the order of the file, each padded to its longest text."""
    answers = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(texts[start : start + BATCH], truncation=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            best = model(**batch.to(model.device)).logits.float().softmax(-1).max(-1)
        answers += [
            (model.config.id2label[label], probability)
            for label, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    return answers


if __name__ == "__main__":
    main()
