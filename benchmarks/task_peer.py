"""One run of transformers.Trainer on a data set of any task, as one line of JSON."""

from __future__ import annotations

import argparse
import time
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import Figures, answer, peak_rss_bytes
from datasets import Dataset
from peer_rows import load_tokenizer, read
from task_ours import task_parser
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from nlp_transfer import environment, metrics
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.quiet import quiet
from nlp_transfer.training.precision import resolve

KINDS = {
    "classification": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
ANSWERS = {"classification": "label", "multi_label": "labels", "regression": "score"}


def main() -> None:
    answer(run, task_parser(__doc__ or "").parse_args())


def run(arguments: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    device = torch.device(environment.describe()["device"])
    precision = resolve(arguments.precision, device)
    location = Backbone.find(ModelSettings(arguments.model)).location
    set_seed(arguments.seed)
    with quiet():
        rows = {split: read(arguments.data, split) for split in ("train", "test")}
        classes = classes_of(rows["train"], arguments.task)
        tokenizer = load_tokenizer(location)
        features = {
            split: encode(table, classes, tokenizer, arguments.task, arguments.max_length)
            for split, table in rows.items()
        }
        config = AutoConfig.from_pretrained(
            location, num_labels=max(1, len(classes)), problem_type=KINDS[arguments.task]
        )
        model = AutoModelForSequenceClassification.from_pretrained(location, config=config, dtype=torch.float32)
    with TemporaryDirectory() as scratch:
        common: dict[str, Any] = {
            "output_dir": scratch,
            "seed": arguments.seed,
            "use_cpu": device.type == "cpu",
            "dataloader_pin_memory": device.type == "cuda",
            "per_device_train_batch_size": arguments.batch_size,
            "per_device_eval_batch_size": 64,
            "report_to": "none",
            "save_strategy": "no",
            "eval_strategy": "no",
            "disable_tqdm": True,
        }
        settings = TrainingArguments(
            **common,
            num_train_epochs=arguments.epochs,
            max_steps=arguments.max_steps or -1,
            learning_rate=arguments.learning_rate,
            bf16=precision == "bf16",
            logging_strategy="no",
        )
        collator = DataCollatorWithPadding(tokenizer)
        trainer = Trainer(model=model, args=settings, train_dataset=features["train"], data_collator=collator)
        trainer.remove_callback(PrinterCallback)
        with quiet():
            training = time.perf_counter()
            trainer.train()
            train_seconds = time.perf_counter() - training
            # without the autocast that training put round the model
            plain: Any = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            judge = Trainer(model=plain, args=TrainingArguments(**common), data_collator=collator)
            judge.remove_callback(PrinterCallback)
            outputs = np.asarray(judge.predict(features["test"]).predictions)
    return {
        "scores": scores(arguments.task, outputs, np.asarray(features["test"]["labels"])),
        "train_seconds": train_seconds,
        "total_seconds": time.perf_counter() - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "steps": trainer.state.global_step,
        "precision": precision,
    }


def classes_of(rows: Dataset, task: str) -> list[str]:
    cells = rows[ANSWERS[task]][:]
    if task == "regression":
        return []
    return sorted({name for cell in cells for name in cell} if task == "multi_label" else set(cells))


def encode(
    rows: Dataset, classes: list[str], tokenizer: PreTrainedTokenizerBase, task: str, max_length: int
) -> Dataset:
    """What the tokenizer gives of each row's text or two, and what the model takes as labels."""
    names = ["text"] if "text" in rows.column_names else ["sentence1", "sentence2"]
    numbers = {name: i for i, name in enumerate(classes)}

    def encoded(batch: dict[str, list[Any]]) -> dict[str, Any]:
        features: dict[str, Any] = dict(
            tokenizer(*(batch[name] for name in names), truncation=True, max_length=max_length)
        )
        cells = batch[ANSWERS[task]]
        if task == "classification":
            features["labels"] = [numbers[cell] for cell in cells]
        elif task == "multi_label":
            features["labels"] = [[float(name in cell) for name in classes] for cell in cells]
        else:
            features["labels"] = [float(cell) for cell in cells]
        return features

    return rows.map(encoded, batched=True, remove_columns=rows.column_names, keep_in_memory=True)


def scores(task: str, outputs: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """The same scores as ours, from logits; a label is given from a probability of a half on."""
    if task == "regression":
        predictions, names = outputs.reshape(-1).astype(float), ["pearson_correlation", "spearman_correlation"]
        return {name: metrics.function(name)(predictions, references) for name in [*names, "root_mean_squared_error"]}
    if task == "classification":
        return {name: metrics.function(name)(outputs.argmax(-1), references) for name in ("accuracy", "macro_f1")}
    given, true = (outputs >= 0).astype(int), references.astype(int)
    return {
        "micro_f1_at_half": metrics.function("multi_label_micro_f1")(given, true),
        "macro_f1_at_half": metrics.function("multi_label_macro_f1")(given, true),
        "ranking_average_precision": metrics.function("ranking_average_precision")(outputs, true),
    }


if __name__ == "__main__":
    main()
