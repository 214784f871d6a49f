"""One run of an unsubclassed transformers.Trainer on a folder of rows, as one line of JSON."""

from __future__ import annotations

import argparse
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import Figures, answer, contender_parser, first_rows, peak_rss_bytes, rows_trained
from datasets import Dataset
from peer_methods import apply, learning
from peer_rows import TASKS, load_tokenizer
from transformers import (
    DataCollatorWithPadding,
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
    """Seconds from the end of one step to the end of the next, the fetching of the batch included, and of evaluations."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.evaluating = 0.0
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

    def on_evaluate(self, *_: Any, **figures: Any) -> None:
        """Add up what evaluations take."""
        self.evaluating += figures["metrics"]["eval_runtime"]


def main() -> None:
    parser = contender_parser(__doc__ or "")
    parser.add_argument("--padding", choices=("longest", "max_length"), default="longest")
    parser.add_argument("--evaluate", action="store_true", help="on validation, after every epoch")
    parser.add_argument("--sampling", choices=("random", "group_by_length"), default="group_by_length")
    answer(run, parser.parse_args())


def run(arguments: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    device = torch.device(environment.describe()["device"])
    precision = resolve(arguments.precision, device)
    backbone = Backbone.find(ModelSettings(arguments.model, from_scratch=arguments.from_scratch))
    set_seed(arguments.seed)
    with quiet(), first_rows(arguments.data, arguments.limit) as folder:
        tokenizer = load_tokenizer(backbone.location)
        rows = TASKS[arguments.task](folder, tokenizer, arguments.max_length, arguments.padding)
        splits = ("train", "validation", "test") if arguments.evaluate else ("train", "test")
        encoded = {split: rows.features(split) for split in splits}
        features = {split: readable(table, tokenizer) for split, table in encoded.items()}
        model = apply(rows.model(backbone.location, arguments.from_scratch), arguments.method)
        trainable = learning(model)

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
                eval_strategy="epoch" if arguments.evaluate else "no",
                prediction_loss_only=True,
                train_sampling_strategy=arguments.sampling,
                length_column_name="length",
            )
            clock = StepClock()
            collator = DataCollatorWithPadding(tokenizer)
            trainer = Trainer(
                model=model,
                args=settings,
                train_dataset=features["train"],
                eval_dataset=features.get("validation"),
                data_collator=collator,
                processing_class=tokenizer,
                callbacks=[clock],
            )
            trainer.remove_callback(PrinterCallback)
            training = time.perf_counter()
            trainer.train()
            train_seconds = time.perf_counter() - training - clock.evaluating
            # group_by_length would predict the rows in another order and bf16 in other numbers, hence a second Trainer,
            # and the model without the autocast that the first put round its forward
            plain: Any = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            judge = Trainer(
                model=plain,
                args=TrainingArguments(**common, eval_strategy="no"),
                data_collator=collator,
                processing_class=tokenizer,
            )
            judge.remove_callback(PrinterCallback)
            score = rows.score(judge.predict(features["test"]).predictions, encoded["test"])

    steps = trainer.state.global_step
    trained = rows_trained(steps, len(features["train"]), arguments.batch_size)
    return {
        "contender": "trainer",
        "score": score,
        **({"accuracy": score} if arguments.task != "qa" else {}),
        "train_seconds": train_seconds,
        "samples_per_second": trained / train_seconds,
        "median_step_seconds": median(clock.seconds),
        "total_seconds": time.perf_counter() - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_device_bytes": environment.peak_memory()["peak_device_bytes"],
        "steps": steps,
        "rows": trained,
        "trainable": trainable,
        "final_loss": [line["loss"] for line in trainer.state.log_history if "loss" in line][-1],
        "precision": precision,
    }


def readable(features: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """The columns that the model reads, is judged by, or is sorted by."""
    names = {*tokenizer.model_input_names, "labels", "start_positions", "end_positions", "length"}
    return features.select_columns([name for name in features.column_names if name in names])


if __name__ == "__main__":
    main()
