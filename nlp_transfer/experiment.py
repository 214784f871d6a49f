"""The story of a run: from a recipe to a report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from torch import nn

from nlp_transfer import environment, report
from nlp_transfer.backbone import Backbone
from nlp_transfer.data.batches import Features, LengthBuckets
from nlp_transfer.data.splits import Data, load
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.folder import RunFolder, next_free
from nlp_transfer.heads import load_with_head
from nlp_transfer.progress import Show
from nlp_transfer.quiet import quiet
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Run, load_run, predictions
from nlp_transfer.training import weights
from nlp_transfer.training.loop import Loop, Step
from nlp_transfer.training.precision import accelerator


def fine_tune(
    recipe: Recipe | None = None,
    /,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **parts: Any,
) -> Run:
    """Adapt a backbone to a task: `fine_tune(task="sentiment", data="reviews.csv", method=LoRA(rank=16))`.

    Args:
        recipe: all that defines the run; or give its parts by name, as `Recipe.make` takes them.
        output: the run's folder; unset: a new one under `runs/`.
        overwrite: replace the run that the folder holds.
        quiet: show no progress.

    Returns:
        The finished run, loaded from its folder.

    Raises:
        RequestError: when the recipe or the data is wrong, before a model is loaded.
    """
    recipe = recipe or Recipe.make(**parts)
    show = Show(quiet or not PartialState().is_main_process)
    backbone = Backbone.find(recipe.model)
    recipe = recipe.resolved(backbone, PartialState().device)
    path = Path(output) if output else next_free(f"{recipe.task.name}-{recipe.method.name}")
    PartialState().wait_for_everyone()
    folder = RunFolder.open(path, recipe, overwrite, writes=PartialState().is_main_process)
    try:
        return _run(recipe, backbone, folder, show)
    except BaseException as error:
        folder.fail(error)
        raise


def _run(recipe: Recipe, backbone: Backbone, folder: RunFolder, show: Show) -> Run:
    started = time.perf_counter()
    data = load(recipe.data, recipe.columns, recipe.task, recipe.seed)
    for sentence in (*data.notes, *(f"warning: {warning}" for warning in data.warnings)):
        show.say(sentence)

    set_seed(recipe.seed)
    tokenizer = backbone.tokenizer(recipe.data.max_length)
    loaded = load_with_head(backbone, *data.task.head(), recipe.head.pooling, recipe.train.dropout)
    total = sum(parameter.numel() for parameter in loaded.model.parameters())
    model: Any = recipe.method.apply(loaded.model, loaded.head)  # of transformers, or of peft
    if recipe.train.gradient_checkpointing:
        loaded.model.gradient_checkpointing_enable()
    features = {name: Features.of(data.splits[name].rows, data.task, tokenizer) for name in ("train", "validation")}
    set_seed(recipe.seed + PartialState().process_index)  # every process draws its own dropout

    trained = _train(recipe, data, model, features, folder, show)

    outputs = outputs_of(model, features["validation"], recipe.train.batch_size)
    task = data.task.calibrate(outputs, features["validation"].columns, data.splits["validation"].rows)
    artefact = folder.path / "model"
    if folder.writes:
        with quiet():
            model.save_pretrained(artefact)
            tokenizer.save_pretrained(artefact)
    folder.write("task.json", task.to_json())
    PartialState().wait_for_everyone()

    # what is reported is what was saved: the artefact, loaded again in fp32
    judging = time.perf_counter()
    run = Run(folder.path, task, {"status": "finished"})
    judgements = {name: run.judge(data.splits[name]) for name in ("validation", "test")}
    for name, judgement in judgements.items():
        folder.write_lines(f"predictions/{name}.jsonl", predictions(judgement, data.splits[name], task))
    written = {
        "schema": report.SCHEMA,
        "status": "finished",
        "recipe": recipe.to_dict(),
        "scores": {name: judgement.scores for name, judgement in judgements.items()},
        "intervals": {name: judgement.intervals for name, judgement in judgements.items()},
        "details": {name: judgement.details for name, judgement in judgements.items()},
        "parameters": report.parameters(total, model, artefact),
        "time": {
            **trained.times(),
            "evaluate_seconds": time.perf_counter() - judging,
            "total_seconds": time.perf_counter() - started,
        },
        "training": trained.summary(),
        "memory": environment.peak_memory(),
        "data": data.report(),
        "environment": environment.describe(),
        "backbone": {
            "id": backbone.name,
            "revision": recipe.model.revision,
            "sha256": backbone.sha256,
            "from_scratch": recipe.model.from_scratch,
        },
    }
    if folder.writes:
        (folder.path / "README.md").write_text(report.card(written, task.primary.metric), encoding="utf-8")
    folder.write("report.json", written)
    PartialState().wait_for_everyone()
    return load_run(folder.path)


@dataclass
class Trained:
    """What training did: how long, how far, and which evaluation was best."""

    seconds: list[float]
    last: Step | None = None
    best: float | None = None
    best_epoch: float = 0.0
    evaluations: int = 0
    without_gain: int = 0

    def times(self) -> dict[str, float]:
        """Seconds of training, tokenising and evaluation apart."""
        assert self.last is not None
        total = sum(self.seconds)
        return {
            "train_seconds": total,
            "samples_per_second": self.last.rows / total,
            "median_step_seconds": median(self.seconds),
        }

    def summary(self) -> dict[str, Any]:
        """How far training went."""
        assert self.last is not None
        return {
            "steps": self.last.number,
            "epochs": self.last.epoch,
            "rows": self.last.rows,
            "best_epoch": self.best_epoch,
        }


def _train(
    recipe: Recipe, data: Data, model: nn.Module, features: dict[str, Features], folder: RunFolder, show: Show
) -> Trained:
    """Train, evaluate after every epoch, and leave the model with its best weights."""
    settings, task = recipe.train, data.task
    engine = accelerator(settings.precision, log_with=list(settings.trackers) or None, project_dir=str(folder.path))
    if settings.trackers:
        engine.init_trackers("nlp_transfer", config={"seed": recipe.seed, "method": recipe.method.name})
    metric, higher = task.primary
    validation = data.splits["validation"].rows

    def evaluate(prepared: nn.Module) -> dict[str, float]:
        outputs = outputs_of(prepared, features["validation"], settings.batch_size, engine.autocast())
        return task.score(task.decode(outputs, features["validation"].columns, validation), validation)

    plan = LengthBuckets(features["train"].lengths, settings.batch_size, settings.accumulate, recipe.seed)
    groups = recipe.method.parameter_groups(model, settings)
    loop = Loop(model, groups, plan, features["train"].fetch, task.loss, settings, engine, evaluate)
    trained, losses = Trained(seconds=[]), []
    best_file = folder.path / "checkpoints" / "best.safetensors"
    deadline = time.perf_counter() + 60 * settings.max_minutes if settings.max_minutes else float("inf")
    every = max(1, loop.total // 500)

    def judge(step: Step, scores: dict[str, float]) -> None:
        trained.evaluations += 1
        gained = trained.best is None or (scores[metric] > trained.best if higher else scores[metric] < trained.best)
        trained.without_gain = 0 if gained else trained.without_gain + 1
        if gained:
            trained.best, trained.best_epoch = scores[metric], step.epoch
            if folder.writes:
                weights.save(engine.unwrap_model(loop.model), best_file)
        show.evaluation(step.epoch, scores, gained)
        folder.log({"step": step.number, "epoch": step.epoch, "validation": scores})
        engine.log({f"validation/{name}": value for name, value in scores.items()}, step=step.number)

    with show:
        for step in loop:
            trained.last = step
            trained.seconds.append(step.seconds)
            losses.append(step.loss)
            mean = None
            if step.number % every == 0 or step.number == step.total:
                mean = float(torch.stack(losses).mean())
                losses.clear()
                line = {
                    "loss": mean,
                    "learning_rate": step.learning_rate,
                    "rows_per_second": step.rows / sum(trained.seconds),
                }
                folder.log({"step": step.number, "epoch": step.epoch, **line})
                engine.log({f"train/{name}": value for name, value in line.items()}, step=step.number)
            show.step(step, mean)
            if step.evaluation:
                judge(step, step.evaluation)
            if settings.patience and trained.without_gain >= settings.patience:
                show.say(f"stopped after {trained.without_gain} evaluations without a better {metric}.")
                break
            if time.perf_counter() > deadline:
                show.say(f"stopped after {settings.max_minutes:g} minutes.")
                if not step.evaluation:
                    judge(step, evaluate(loop.model))
                break
    engine.end_training()
    if trained.without_gain:
        PartialState().wait_for_everyone()
        weights.load(model, best_file)
    PartialState().wait_for_everyone()
    if folder.writes:
        best_file.unlink()
        best_file.parent.rmdir()
    return trained
