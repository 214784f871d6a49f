"""Question answering: ours beside transformers.Trainer with the usual post-processing, on SQuAD-like data; transfer; methods."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from common import Figures, data_folder, stop, wide_console
from datasets import Dataset
from qa_cases import CASES, FILE, Case, finished
from qa_peer import trainer
from rich.console import Console
from rich.table import Table
from scores import model_path

from nlp_transfer import environment, fine_tune
from nlp_transfer.tasks.qa import QA

MINE = ("exact_match", "f1", "answerable_exact_match", "answerable_f1", "unanswerable_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument("--seeds", type=lambda word: [int(seed) for seed in word.split(",")], default=[0, 1])
    parser.add_argument("--max_steps", type=int, help="end each training so early, and keep no result: a trial")
    parser.add_argument("--limit", type=int, help="the first so many rows of every split, and keep no result: a trial")
    parser.add_argument("--runs", type=Path, help="keep the runs of ours in this folder, to look into")
    parser.add_argument("--speed", action="store_true", help="only the seconds that decoding 2,000 windows takes")
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    arguments = parser.parse_args()
    if arguments.speed:
        wide_console().print(json.dumps(decoding_speed()))
        return
    names = arguments.cases.split(",") if arguments.cases else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        stop(f"there is no case {unknown[0]}: expected some of {', '.join(CASES)}.")
    show({name: [once(name, seed, arguments) for seed in arguments.seeds] for name in names})


def once(name: str, seed: int, arguments: argparse.Namespace) -> Figures:
    """The figures of one run: from the file of results, or made now and added to it."""
    case = CASES[name]
    trial = bool(arguments.max_steps or arguments.limit)
    if not trial and (known := finished().get((name, seed))):
        return known
    with TemporaryDirectory() as temporary:
        named = [data for data in (case.data, case.judged_on) if data]
        folders = {
            data: first_rows(data_folder(arguments.data_root, data), arguments.limit, Path(temporary) / data)
            for data in named
        }
        output = (arguments.runs or Path(temporary)) / f"{name}-{seed}"
        started = time.process_time()
        if case.contender == "ours":
            figures = ours(case, seed, folders, arguments.max_steps, output)
        else:
            figures = trainer(case, seed, folders, arguments.max_steps)
        figures["cpu_seconds"] = round(time.process_time() - started, 1)
    if not trial:
        FILE.parent.mkdir(exist_ok=True)
        key = {"case": name, "seed": seed, "definition": asdict(case)}
        with FILE.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**key, "figures": figures, "environment": environment.describe()}) + "\n")
    told = f"{name} seed {seed}: test exact match {figures['test']['exact_match']:.4f}, F1 {figures['test']['f1']:.4f}"
    Console(stderr=True).print(told, highlight=False)
    return figures


def first_rows(folder: Path, limit: int | None, scratch: Path) -> Path:
    """The folder itself, or a copy with the first rows of each split."""
    if limit is None:
        return folder
    scratch.mkdir()
    for file in folder.glob("*.jsonl"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        (scratch / file.name).write_text("".join(lines[:limit]), encoding="utf-8")
    return scratch


def ours(case: Case, seed: int, folders: dict[str, Path], max_steps: int | None, output: Path) -> Figures:
    """One run of this project."""
    run = fine_tune(
        model=model_path(case.model),
        task={"name": "qa", "stride": case.stride},
        method=case.method,
        data={"source": str(folders[case.data]), "max_length": case.max_length},
        train={
            "epochs": case.epochs,
            "max_steps": max_steps,
            "batch_size": case.batch_size,
            "learning_rate": case.learning_rate,
            "warmup": case.warmup,
            "weight_decay": case.weight_decay,
        },
        seed=seed,
        output=output,
        silent=True,
    )
    figures: Figures = {split: dict(run.scores[split]) for split in ("validation", "test")}
    if case.judged_on:
        figures["transfer"] = run.evaluate(folders[case.judged_on] / "test.jsonl").scores
    figures["train_seconds"] = run.report["time"]["train_seconds"]
    figures["precision"] = run.report["recipe"]["train"]["precision"]
    figures["threshold"] = run.report["details"]["test"]["no_answer_threshold"]
    return {**figures, **run.report["parameters"]}


def decoding_speed(count: int = 2000, tokens: int = 256, per_question: int = 2) -> dict[str, float]:
    """Seconds from the scores of so many windows to the answers of their questions; what a model gives is random."""
    generator = torch.Generator().manual_seed(0)
    held = np.arange(tokens - 20, dtype=np.int32)
    features = Dataset.from_dict(
        {
            "row": (np.arange(count) // per_question).tolist(),
            "first": [16] * count,
            "starts": [4 * held] * count,
            "ends": [4 * held + 3] * count,
        }
    )
    text = "abc " * tokens
    rows = Dataset.from_dict({"context": [text] * (count // per_question)})
    task = replace(QA(), unanswerable=0.5)
    logits = {name: torch.randn(count, tokens, generator=generator) for name in ("start_logits", "end_logits")}
    context = torch.zeros(count, tokens, dtype=torch.bool)
    context[:, 16 : 16 + len(held)] = True
    batch: Any = SimpleNamespace(targets={"context": context, "null": torch.zeros(count, dtype=torch.long)})
    kept = task.keep(SimpleNamespace(**logits), batch).numpy()
    started = time.perf_counter()
    answers = task.decode(kept, features, rows)
    seconds = time.perf_counter() - started
    whole = 2 * count * tokens * 4
    return {
        "windows": count,
        "questions": len(answers),
        "seconds": round(seconds, 3),
        "bytes_kept": kept.nbytes,
        "bytes_of_all_scores": whole,
    }


def show(runs: dict[str, list[Figures]]) -> None:
    """A line per case: the mean over the seeds, and every seed's F1."""
    found = Table(title="question answering: test, mean over the seeds")
    found.add_column("case")
    for title in ("exact match", "F1", "F1 of each seed", "answerable F1", "unanswerable", "train s", "transfer F1"):
        found.add_column(title, justify="right")
    for name, every in runs.items():
        tests = [figures["test"] for figures in every]
        split = [
            f"{100 * mean(scores[metric] for scores in tests):.2f}" if metric in tests[0] else "" for metric in MINE
        ]
        transfer = [figures["transfer"]["f1"] for figures in every if "transfer" in figures]
        found.add_row(
            name,
            split[0],
            split[1],
            " ".join(f"{100 * scores['f1']:.1f}" for scores in tests),
            split[3],
            split[4],
            f"{mean(figures['train_seconds'] for figures in every):.0f}",
            f"{100 * mean(transfer):.2f}" if transfer else "",
        )
    wide_console().print(found)


if __name__ == "__main__":
    main()
