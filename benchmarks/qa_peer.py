"""Question answering with transformers alone: the Trainer, and the windows and answers of its example scripts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import Figures
from datasets import Dataset
from qa_cases import Case
from scores import model_path
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from nlp_transfer import environment
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.questions.answers import text_scores
from nlp_transfer.quiet import quiet
from nlp_transfer.tasks.qa import QA
from nlp_transfer.training.precision import resolve


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
            warmup_steps=case.warmup,
            weight_decay=case.weight_decay,
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
    # behind the window there is padding, of its batch or of all batches
    starts, ends = starts[: len(pairs)], ends[: len(pairs)]
    for start in np.argsort(starts)[-20:][::-1].tolist():
        for end in np.argsort(ends)[-20:][::-1].tolist():
            if pairs[start][0] >= 0 and pairs[end][0] >= 0 and start <= end < start + 30:
                yield start, end, float(starts[start] + ends[end])


def scores(texts: list[str], golds: list[list[str]]) -> dict[str, float]:
    """The same figures that the task gives."""
    exact, f1 = text_scores(texts, golds)
    answerable = np.array([bool(gold) for gold in golds])
    return QA().metrics({"exact_match": exact, "f1": f1, "answerable": answerable})
