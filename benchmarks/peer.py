"""One run of an unsubclassed transformers.Trainer on a folder of classification rows, as one line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import Figures, answer, first_rows, peak_rss_bytes, run_parser
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

from nlp_transfer import environment
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.quiet import quiet
from nlp_transfer.training.precision import resolve


class StepClock(TrainerCallback):
    """Seconds from the end of one step to the end of the next, the fetching of the batch included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock before the epoch's first batch is fetched."""
        self.last = time.perf_counter()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Stop the clock, and ask for the loss of the last step."""
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now
        # logged are the means since the last line: two lines at the end make the second the last step's own loss
        control.should_log = state.global_step >= state.max_steps - 1


def main() -> None:
    parser = run_parser(__doc__ or "")
    parser.add_argument("--padding", choices=("longest", "max_length"), default="longest")
    parser.add_argument("--sampling", choices=("random", "group_by_length"), default="group_by_length")
    answer(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    device = torch.device(environment.describe()["device"])
    precision = resolve(arguments.precision, device)
    backbone = Backbone.find(ModelSettings(arguments.model, from_scratch=arguments.from_scratch))
    set_seed(arguments.seed)
    with quiet(), first_rows(arguments.data, arguments.limit) as folder:
        rows = {split: read(folder, split) for split in ("train", "test")}
        classes = sorted(rows["train"].unique("label"))
        tokenizer = load_tokenizer(backbone.location)
        features = {
            split: encode(table, classes, tokenizer, arguments.max_length, arguments.padding)
            for split, table in rows.items()
        }
        model = load_model(backbone.location, classes, tokenizer, arguments.from_scratch)

    with TemporaryDirectory() as scratch:
        common = {
            "output_dir": scratch,
            "seed": arguments.seed,
            "use_cpu": device.type == "cpu",
            "dataloader_pin_memory": device.type == "cuda",
            "per_device_train_batch_size": arguments.batch_size,
            "per_device_eval_batch_size": arguments.batch_size,
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
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            logging_strategy="no",
            train_sampling_strategy=arguments.sampling,
            length_column_name="length",
        )
        clock = StepClock()
        collator = DataCollatorWithPadding(tokenizer)
        trainer = Trainer(
            model=model,
            args=settings,
            train_dataset=features["train"],
            data_collator=collator,
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        with quiet():
            training = time.perf_counter()
            trainer.train()
            train_seconds = time.perf_counter() - training
            # group_by_length would predict the rows in another order and bf16 in other numbers, hence a second Trainer,
            # and the model without the autocast that the first put round its forward
            plain = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            judge = Trainer(
                model=plain, args=TrainingArguments(**common), data_collator=collator, processing_class=tokenizer
            )
            judge.remove_callback(PrinterCallback)
            predicted = np.asarray(judge.predict(features["test"]).predictions).argmax(-1)
    right = predicted == np.asarray(features["test"]["labels"])

    steps = trainer.state.global_step
    trained = rows_trained(steps, len(rows["train"]), arguments.batch_size)
    return {
        "contender": "trainer",
        "accuracy": float(right.mean()),
        "train_seconds": train_seconds,
        "samples_per_second": trained / train_seconds,
        "median_step_seconds": median(clock.seconds),
        "total_seconds": time.perf_counter() - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "steps": steps,
        "rows": trained,
        "final_loss": [line["loss"] for line in trainer.state.log_history if "loss" in line][-1],
        "precision": precision,
    }


def read(folder: Path, split: str) -> Dataset:
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return Dataset.from_list([json.loads(line) for line in lines])


def load_tokenizer(location: str) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(location)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def load_model(
    location: str, classes: list[str], tokenizer: PreTrainedTokenizerBase, from_scratch: bool
) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(location, num_labels=len(classes))
    if config.pad_token_id is None:
        # GPT-style classifiers find the last real token by it
        config.pad_token_id = tokenizer.pad_token_id
    if from_scratch:
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    return AutoModelForSequenceClassification.from_pretrained(location, config=config, dtype=torch.float32)


def encode(
    rows: Dataset, classes: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, padding: str
) -> Dataset:
    """Token ids, label numbers, and the lengths by which the sampler groups."""
    numbers = {name: i for i, name in enumerate(classes)}

    def encoded(batch: dict[str, list[Any]]) -> dict[str, Any]:
        features = tokenizer(
            batch["text"],
            truncation=True,
            max_length=max_length,
            padding="max_length" if padding == "max_length" else False,
        )
        lengths = [len(ids) for ids in features["input_ids"]]
        return {**features, "labels": [numbers[label] for label in batch["label"]], "length": lengths}

    return rows.map(encoded, batched=True, remove_columns=rows.column_names, keep_in_memory=True)


def rows_trained(steps: int, rows: int, batch_size: int) -> int:
    """Rows in so many steps; the last step of an epoch has what is left."""
    epochs, more = divmod(steps, -(-rows // batch_size))
    return epochs * rows + more * batch_size


if __name__ == "__main__":
    main()
