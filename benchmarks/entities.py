"""Entities: ours beside transformers.Trainer with its usual alignment of words and pieces, on CoNLL 2003; methods; a decoder."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import RESULTS, Figures, data_folder, describe_environment, first_rows, stop, wide_console
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from scores import GPT, model_path
from seqeval.metrics import f1_score, precision_score, recall_score
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from nlp_transfer import environment, fine_tune
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.quiet import quiet
from nlp_transfer.training.precision import resolve

FILE = RESULTS / "entities.jsonl"
MINE = ("f1", "precision", "recall")
IGNORED = -100


@dataclass(frozen=True)
class Case:
    """One kind of run: who trains, on what, how."""

    data: str = "conll2003"
    contender: str = "ours"
    method: dict[str, Any] = field(default_factory=lambda: {"name": "full"})
    model: str = "minilm"
    learning_rate: float = 2e-4
    epochs: float = 3
    batch_size: int = 32
    max_length: int = 128


CASES = {
    "conll": Case(),
    "conll-trainer": Case(contender="trainer"),
    # small tuners want a larger rate than all weights together
    "conll-lora": Case(method={"name": "lora"}, learning_rate=1e-3),
    "conll-adapter": Case(method={"name": "adapter"}, learning_rate=1e-3),
    "conll-gpt": Case(model=GPT, learning_rate=5e-4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument("--seeds", type=lambda word: [int(seed) for seed in word.split(",")], default=[0, 1])
    parser.add_argument("--max_steps", type=int, help="end each training so early, and keep no result: a trial")
    parser.add_argument("--limit", type=int, help="the first so many training rows, and keep no result: a trial")
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    arguments = parser.parse_args()
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
    train = ours if case.contender == "ours" else trainer
    with first_rows(data_folder(arguments.data_root, case.data), arguments.limit) as folder:
        started = time.process_time()
        figures = train(case, seed, folder, arguments.max_steps)
        figures["cpu_seconds"] = round(time.process_time() - started, 1)
    if not trial:
        FILE.parent.mkdir(exist_ok=True)
        with FILE.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**key, "figures": figures, "environment": describe_environment()}) + "\n")
    Console(stderr=True).print(f"{name} seed {seed}: test entity F1 {figures['test']['f1']:.4f}", highlight=False)
    return figures


def ours(case: Case, seed: int, folder: Path, max_steps: int | None) -> Figures:
    """One run of this project."""
    with TemporaryDirectory() as temporary:
        run = fine_tune(
            model=model_path(case.model),
            task={"name": "entities"},
            method=case.method,
            data={"source": str(folder), "max_length": case.max_length},
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
        figures["train_seconds"] = run.report["time"]["train_seconds"]
        figures["precision"] = run.report["recipe"]["train"]["precision"]
        figures["per_type"] = run.report["details"]["test"]["per_type"]
        figures["misses"] = run.report["details"]["test"]["misses"]
        figures["interval"] = run.report["intervals"]["test"]["f1"]
        return {**figures, **run.report["parameters"]}


def trainer(case: Case, seed: int, folder: Path, max_steps: int | None) -> Figures:
    """The same settings with transformers alone: the last epoch's weights, words cut off behind the longest text."""
    set_seed(seed)
    backbone = Backbone.find(ModelSettings(model_path(case.model)))
    tokenizer = AutoTokenizer.from_pretrained(backbone.location)
    rows = {split: read(folder / f"{split}.jsonl") for split in ("train", "validation", "test")}
    names = sorted({tag for row in rows["train"] for tag in row["tags"]})
    features = {split: aligned(table, tokenizer, names, case.max_length) for split, table in rows.items()}
    with quiet():
        model = AutoModelForTokenClassification.from_pretrained(
            backbone.location,
            dtype=torch.float32,
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
        )
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
        collator = DataCollatorForTokenClassification(tokenizer)
        engine = Trainer(model=model, args=settings, train_dataset=features["train"], data_collator=collator)
        engine.remove_callback(PrinterCallback)
        started = time.perf_counter()
        engine.train()
        figures: Figures = {"train_seconds": time.perf_counter() - started, "precision": precision}
        for split in ("validation", "test"):
            predicted: Any = engine.predict(features[split])
            figures[split] = scores(predicted.predictions.argmax(-1), features[split]["labels"][:], rows[split], names)
    return figures


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def aligned(rows: list[dict[str, Any]], tokenizer: Any, names: list[str], max_length: int) -> Dataset:
    """Token ids of the words, the first piece of each with its tag's number, as the example scripts of transformers do it."""
    batch = tokenizer([row["tokens"] for row in rows], is_split_into_words=True, truncation=True, max_length=max_length)
    number = {name: i for i, name in enumerate(names)}
    labels = []
    for i, row in enumerate(rows):
        before, mine = None, []
        for word in batch.word_ids(i):
            fresh = word is not None and word != before
            mine.append(number[row["tags"][word]] if fresh else IGNORED)
            before = word
        labels.append(mine)
    return Dataset.from_dict({**batch, "labels": labels})


def scores(tags: Any, labels: list[list[int]], rows: list[dict[str, Any]], names: list[str]) -> dict[str, float]:
    """seqeval's figures, held against all words: one that was cut off counts as outside."""
    given = []
    for predicted, mine, row in zip(tags, labels, rows, strict=True):
        read = [names[tag] for tag, label in zip(predicted, mine, strict=False) if label != IGNORED]
        given.append([*read, *["O"] * (len(row["tags"]) - len(read))])
    gold = [row["tags"] for row in rows]
    measured = (f1_score(gold, given), precision_score(gold, given), recall_score(gold, given))
    return dict(zip(MINE, map(float, measured), strict=True))


def show(runs: dict[str, list[Figures]]) -> None:
    """A line per case: the mean over the seeds, and every seed's F1."""
    found = Table(title="entities: test, mean over the seeds")
    found.add_column("case")
    for title in ("F1", "precision", "recall", "F1 of each seed", "train s", "learning", "stored MB"):
        found.add_column(title, justify="right")
    for name, every in runs.items():
        tests = [figures["test"] for figures in every]
        first = every[0]
        found.add_row(
            name,
            *(f"{100 * mean(test[metric] for test in tests):.2f}" for metric in MINE),
            " ".join(f"{100 * test['f1']:.2f}" for test in tests),
            f"{mean(figures['train_seconds'] for figures in every):.0f}",
            f"{first['trainable']:,}" if "trainable" in first else "",
            f"{first['stored_bytes'] / 1e6:.1f}" if "stored_bytes" in first else "",
        )
    wide_console().print(found)


if __name__ == "__main__":
    main()
