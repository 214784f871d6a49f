"""Question answering: ours beside transformers.Trainer with the usual post-processing, on SQuAD-like data; transfer; methods."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from common import RESULTS, Figures, data_folder, stop, wide_console
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from scores import GPT, model_path
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from nlp_transfer import environment, fine_tune
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.questions.answers import text_scores
from nlp_transfer.quiet import quiet
from nlp_transfer.tasks.qa import QA
from nlp_transfer.training.precision import resolve

FILE = RESULTS / "qa.jsonl"
MINE = ("exact_match", "f1", "answerable_exact_match", "answerable_f1", "unanswerable_accuracy")


@dataclass(frozen=True)
class Case:
    """One kind of run: who trains, on what, how."""

    data: str
    contender: str = "ours"
    method: dict[str, Any] = field(default_factory=lambda: {"name": "full"})
    model: str = "minilm"
    learning_rate: float = 2e-4
    epochs: float = 3
    batch_size: int = 32
    max_length: int = 256
    stride: int = 64
    judged_on: str | None = None
    """Data whose test rows are answered too."""


CASES = {
    "wiki": Case("squad_wiki", judged_on="squad_amazon"),
    "wiki-trainer": Case("squad_wiki", "trainer"),
    "v2": Case("squad_v2"),
    "v2-trainer": Case("squad_v2", "trainer"),
    # small tuners want a larger rate than all weights together
    "wiki-lora": Case("squad_wiki", method={"name": "lora"}, learning_rate=1e-3),
    "wiki-adapter": Case("squad_wiki", method={"name": "adapter"}, learning_rate=1e-3),
    "wiki-gpt": Case("squad_wiki", model=GPT, learning_rate=5e-4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument("--seeds", type=lambda word: [int(seed) for seed in word.split(",")], default=[0, 1])
    parser.add_argument("--max_steps", type=int, help="end each training so early, and keep no result: a trial")
    parser.add_argument("--limit", type=int, help="the first so many rows of every split, and keep no result: a trial")
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
    key = {"case": name, "seed": seed, "definition": asdict(case)}
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() and not trial else []
    for run in map(json.loads, lines):
        if all(run[part] == value for part, value in key.items()):
            return run["figures"]
    with TemporaryDirectory() as temporary:
        named = {case.data, case.judged_on} - {None}
        folders = {
            data: first_rows(data_folder(arguments.data_root, str(data)), arguments.limit, Path(temporary) / str(data))
            for data in named
        }
        train = ours if case.contender == "ours" else trainer
        started = time.process_time()
        figures = train(case, seed, {str(data): folder for data, folder in folders.items()}, arguments.max_steps)
        figures["cpu_seconds"] = round(time.process_time() - started, 1)
    if not trial:
        FILE.parent.mkdir(exist_ok=True)
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


def ours(case: Case, seed: int, folders: dict[str, Path], max_steps: int | None) -> Figures:
    """One run of this project."""
    with TemporaryDirectory() as temporary:
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
            },
            seed=seed,
            output=Path(temporary) / "run",
            silent=True,
        )
        figures: Figures = {split: dict(run.scores[split]) for split in ("validation", "test")}
        if case.judged_on:
            figures["transfer"] = run.evaluate(folders[case.judged_on] / "test.jsonl").scores
        figures["train_seconds"] = run.report["time"]["train_seconds"]
        figures["precision"] = run.report["recipe"]["train"]["precision"]
        figures["threshold"] = run.report["details"]["test"]["no_answer_threshold"]
        return {**figures, **run.report["parameters"]}


def trainer(case: Case, seed: int, folders: dict[str, Path], max_steps: int | None) -> Figures:
    """The same settings with transformers alone: the last epoch's weights, threshold 0, rows in the order of the file."""
    set_seed(seed)
    backbone = Backbone.find(ModelSettings(model_path(case.model)))
    tokenizer = AutoTokenizer.from_pretrained(backbone.location)
    rows = {split: read(folders[case.data] / f"{split}.jsonl") for split in ("train", "validation", "test")}
    features = {split: windows(table, tokenizer, case, split == "train") for split, table in rows.items()}
    with quiet():
        model = AutoModelForQuestionAnswering.from_pretrained(backbone.location, dtype=torch.float32)
    device = environment.describe()["device"]
    precision = resolve("auto", torch.device(device))  # as ours
    with TemporaryDirectory() as scratch, quiet():
        settings = TrainingArguments(
            output_dir=scratch,
            seed=seed,
            use_cpu=device == "cpu",
            dataloader_pin_memory=device == "cuda",
            bf16=precision == "bf16",
            num_train_epochs=case.epochs,
            max_steps=max_steps or -1,
            learning_rate=case.learning_rate,
            per_device_train_batch_size=case.batch_size,
            per_device_eval_batch_size=case.batch_size,
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=0.0,
            report_to="none",
            save_strategy="no",
            eval_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        )
        names = {"input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions"}
        plain = {
            split: table.select_columns(sorted(names & set(table.column_names))) for split, table in features.items()
        }
        engine = Trainer(model=model, args=settings, train_dataset=plain["train"], data_collator=default_data_collator)
        engine.remove_callback(PrinterCallback)
        started = time.perf_counter()
        engine.train()
        train_seconds = time.perf_counter() - started
        unanswerable = any(not row["answers"]["text"] for row in rows["train"])
        figures: Figures = {"train_seconds": train_seconds, "precision": precision}
        for split in ("validation", "test"):
            predicted: Any = engine.predict(plain[split]).predictions
            starts, ends = predicted[0], predicted[1]
            texts = processed(rows[split], features[split], starts, ends, unanswerable)
            figures[split] = scores(texts, [row["answers"]["text"] for row in rows[split]])
    return figures


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def windows(
    rows: list[dict[str, Any]], tokenizer: Any, case: Case, with_targets: bool, padding: str | bool = "max_length"
) -> Dataset:
    """Windows, the character of every token of the context, and the first true answer's tokens."""
    batch = tokenizer(
        [row["question"].lstrip() for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=case.max_length,
        stride=case.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=padding,
    )
    owner = batch.pop("overflow_to_sample_mapping")
    offsets = batch.pop("offset_mapping")
    columns: dict[str, list[Any]] = {**batch, "row": owner}
    inside = [[sequence == 1 for sequence in encoding.sequence_ids] for encoding in batch.encodings or []]
    columns["offsets"] = [
        [list(pair) if held else [-1, -1] for pair, held in zip(pairs, mine, strict=True)]
        for pairs, mine in zip(offsets, inside, strict=True)
    ]
    if with_targets:
        targets = [
            target(rows[row]["answers"], pairs, tokenizer.cls_token_id, ids)
            for row, pairs, ids in zip(owner, columns["offsets"], columns["input_ids"], strict=True)
        ]
        columns["start_positions"] = [start for start, _ in targets]
        columns["end_positions"] = [end for _, end in targets]
    return Dataset.from_dict(columns)


def target(answers: dict[str, list[Any]], pairs: list[list[int]], cls: int, ids: list[int]) -> tuple[int, int]:
    nothing = ids.index(cls)
    if not answers["text"]:
        return nothing, nothing
    begin, end = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
    held = [i for i, pair in enumerate(pairs) if pair[0] >= 0]
    if not held or pairs[held[0]][0] > begin or pairs[held[-1]][1] < end:
        return nothing, nothing
    return max(i for i in held if pairs[i][0] <= begin), min(i for i in held if pairs[i][1] >= end)


def processed(
    rows: list[dict[str, Any]], features: Dataset, starts: np.ndarray, ends: np.ndarray, unanswerable: bool
) -> list[str]:
    """Answers as the example scripts of transformers find them: 20 best starts and ends of each window, at most 30 tokens."""
    best = [("", -np.inf) for _ in rows]
    null = [np.inf for _ in rows]
    for i, (row, pairs) in enumerate(zip(features["row"][:], features["offsets"][:], strict=True)):
        null[row] = min(null[row], starts[i][0] + ends[i][0])
        for start, end, score in pieces(starts[i], ends[i], pairs):
            if score > best[row][1]:
                best[row] = (rows[row]["context"][pairs[start][0] : pairs[end][1]], score)
    return ["" if unanswerable and nothing > score else text for (text, score), nothing in zip(best, null, strict=True)]


def pieces(starts: np.ndarray, ends: np.ndarray, pairs: list[list[int]]) -> Iterator[tuple[int, int, float]]:
    for start in np.argsort(starts)[-20:][::-1].tolist():
        for end in np.argsort(ends)[-20:][::-1].tolist():
            if pairs[start][0] >= 0 and pairs[end][0] >= 0 and start <= end < start + 30:
                yield start, end, float(starts[start] + ends[end])


def scores(texts: list[str], golds: list[list[str]]) -> dict[str, float]:
    """The same figures that the task gives."""
    exact, f1 = text_scores(texts, golds)
    answerable = np.array([bool(gold) for gold in golds])
    return QA().metrics({"exact_match": exact, "f1": f1, "answerable": answerable})


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
