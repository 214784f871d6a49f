"""The story of a run: from a recipe to a report."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import set_seed
from torch import nn

from nlp_transfer import environment, remote_code, report
from nlp_transfer.backbone import Backbone, LoadedModel
from nlp_transfer.configurations import Pin
from nlp_transfer.data.activations import Once
from nlp_transfer.data.apart import unchanging
from nlp_transfer.data.batches import LengthBuckets, padding, planned, tokens_at_once
from nlp_transfer.data.encoding import tokens_in
from nlp_transfer.data.features import Features, learned
from nlp_transfer.data.inspection import cut_texts, tokens_read, windows_read
from nlp_transfer.data.splits import Data, load
from nlp_transfer.data.store import Store
from nlp_transfer.errors import Diverged, Interrupted, Lost, Stopped
from nlp_transfer.evaluation.answers import decoded, judged_from, predictions
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.first_token import only_first
from nlp_transfer.folder import RunFolder
from nlp_transfer.heads import load_with_head
from nlp_transfer.low_rank import fused_updates
from nlp_transfer.methods import EVERY_BLOCK
from nlp_transfer.progress import Recorder, Show
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Judgement, Run, load_run
from nlp_transfer.standing import next_free, refuse_another, settled_before, status_of
from nlp_transfer.training import sharding
from nlp_transfer.training.capacity import Capacity
from nlp_transfer.training.checkpoints import Checkpoints
from nlp_transfer.training.fit import Fit, History
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.randomness import seed_of
from nlp_transfer.training.signals import StopSignals, stop_signals
from nlp_transfer.training.token_vectors import narrow
from nlp_transfer.tuners import hold_frozen


def fine_tune(
    recipe: Recipe | None = None,
    /,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    silent: bool = False,
    trust_remote_code: str | Pin | None = None,
    **parts: Any,
) -> Run:
    """Adapt a backbone to a task: `fine_tune(task="sentiment", data="reviews.csv", output="runs/reviews")`.

    Args:
        recipe: all that defines the run; or give its parts by name, as `Recipe.make` takes them.
        output: the run's folder; unset: a new one under `runs/`.
        resume: go on with the run in that folder, whose recipe must be this one; without a recipe, its own is used.
        overwrite: replace the run that the folder holds.
        silent: show no progress.
        trust_remote_code: `ORG/NAME@COMMIT`: the code of this model of the Hub may be run, at this commit; nobody else's.

    Returns:
        The finished run, loaded from its folder.

    Raises:
        RequestError: when the recipe or the data is wrong, before a model is loaded.
        Stopped: when a signal asked for a stop; `resume` goes on from there.
        TrainingError: when training cannot go on.
    """
    output = environment.expanded(output) if output else None
    if recipe is None:
        recipe = Recipe.read(output / "recipe.yaml") if resume and output and not parts else Recipe.make(**parts)
    pin = Pin.read(trust_remote_code)
    backbone = Backbone.find(recipe.model, pin)
    state = environment.processes()
    recipe = recipe.resolved(backbone, state.device)
    sharding.agree(recipe.train.sharded, recipe.method.in_stages, state)
    path = output or next_free(f"{recipe.task.name}-{recipe.method.name}")
    recipe = settled_before(path, recipe) if resume else recipe
    if resume and status_of(path) == "finished":
        refuse_another(path, recipe)
        return load_run(path, pin)
    opened = RunFolder.open(path, recipe, resume, overwrite, writes=state.is_main_process)
    state.wait_for_everyone()  # every process has looked at the folder before one of them writes there
    trust = f" --trust-remote-code {pin}" if pin else ""
    command = f"nlp-transfer train --output {shlex.quote(str(path))} --resume{trust}"
    on = command if isinstance(recipe.data.source, str | Path) else "fine_tune(..., resume=True) and the same rows"
    try:
        with opened as folder, stop_signals() as stop:
            try:
                return _run(recipe, backbone, folder, Show(silent or not state.is_main_process), stop)
            except (Interrupted, Stopped) as stopped:
                when = str(stopped) or f"stopped by {stop.asked}"
                raise Stopped(f"{when}; go on with: {on}") from stopped
            except RuntimeError as error:
                if state.num_processes == 1 or not (said := environment.lost(error)):
                    raise
                raise Lost(f"{said}. The newest checkpoint is whole; go on with: {on}") from error
    except Stopped:
        # whoever started the processes may end all of them when the first one ends
        with contextlib.suppress(RuntimeError):  # one of them died in this moment
            state.wait_for_everyone()
        raise


def _run(recipe: Recipe, backbone: Backbone, folder: RunFolder, show: Show, stop: StopSignals) -> Run:
    started = time.perf_counter()
    data = load(recipe.data, recipe.columns, recipe.task, recipe.seed)
    tokenizer = backbone.tokenizer(recipe.data.max_length)
    store = Store.of_user(stop.check, show.say)
    readers = {"train": data.task.learning()}
    features = {
        name: Features.of(split.rows, readers.get(name, data.task), tokenizer, store)
        for name, split in data.splits.items()
    }
    tokens = tokens_read(data.splits, features)
    data.tokens.update({name: each.said() for name, each in tokens.items()})
    data.notes.extend(windows_read(features))
    data.warnings.extend(cut_texts(data.splits, features, tokens))
    for sentence in (*data.notes, *(f"warning: {warning}" for warning in data.warnings)):
        show.say(sentence)

    def load_model() -> LoadedModel:
        return load_with_head(backbone, *data.task.head(), recipe.head.pooling, recipe.train.dropout)

    set_seed(recipe.seed)
    loaded = load_model()
    total = sum(parameter.numel() for parameter in loaded.model.parameters())
    head = report.head_parameters(loaded.model, loaded.head)
    model: Any = _adapted(recipe, loaded)
    if recipe.train.gradient_checkpointing:
        # the first name is the newer: it says nothing of what transformers 6 will no longer have
        newer = getattr(loaded.model, "activation_checkpointing_enable", None)
        (newer or loaded.model.gradient_checkpointing_enable)()
    set_seed(seed_of(recipe.seed, PartialState().process_index))  # every process draws its own dropout

    checkpoints = Checkpoints(
        folder.path / "checkpoints", folder.writes, recipe.train.checkpoint_every, data.fingerprint, backbone.sha256
    )
    recipe, history = _train(recipe, data, model, loaded.head, features, checkpoints, store, folder, show, stop)

    model = sharding.whole(model, lambda: _adapted(recipe, load_model()))
    artefact = folder.save(model, tokenizer)
    PartialState().wait_for_everyone()

    # what is reported is what was saved: the artefact, loaded again in fp32
    judging = time.perf_counter()
    run = Run(folder.path, data.task, {}, backbone.pin)
    judged = [name for name in data.splits if name != "train"]
    outputs = {name: run.outputs(data.splits[name], each_batch=stop.check) for name in judged}
    task = data.task.calibrate(*outputs["validation"], data.splits["validation"].rows)
    run = Run(folder.path, task, {}, backbone.pin)
    judgements = {name: run.judge(data.splits[name], *outputs[name]) for name in outputs}
    folder.write("task.json", task.to_json())
    for name, judgement in judgements.items():
        folder.write_lines(f"predictions/{name}.jsonl", predictions(judgement.answers, data.splits[name], task))
        folder.write_arrays(f"predictions/{name}.safetensors", judgement.judged)
    written = {
        **_scores(judgements),
        "recipe": recipe.to_dict(),
        "parameters": {**report.parameters(total, model, artefact), "head": head},
        "time": {
            **history.times(),
            "evaluate_seconds": time.perf_counter() - judging,
            "total_seconds": time.perf_counter() - started,
            "saved_seconds": store.saved if store else {},
        },
        "training": history.summary(),
        "memory": environment.peak_memory(),
        "data": data.report(),
        "environment": environment.describe(),
        "backbone": {
            "id": backbone.name,
            "revision": recipe.model.revision,
            "code": str(backbone.pin) if remote_code.known(backbone.folder, backbone.pin) else None,
            "sha256": backbone.sha256,
            "from_scratch": recipe.model.from_scratch,
        },
    }
    folder.finish(written, report.card(written, task.primary.metric, task.asked_columns))
    checkpoints.clear()
    PartialState().wait_for_everyone()
    return load_run(folder.path, backbone.pin)


def _adapted(recipe: Recipe, loaded: LoadedModel) -> Any:
    """The model that trains, of transformers or of peft."""
    model = recipe.method.apply(loaded.model, loaded.head)
    hold_frozen(model, recipe.train.frozen)
    return model


def _scores(judgements: Mapping[str, Judgement]) -> dict[str, Any]:
    """Scores, intervals and details by split."""
    parts = ("scores", "intervals", "details")
    return {part: {name: getattr(judgement, part) for name, judgement in judgements.items()} for part in parts}


def _train(
    recipe: Recipe,
    data: Data,
    model: nn.Module,
    head: Sequence[str],
    features: dict[str, Features],
    checkpoints: Checkpoints,
    store: Store | None,
    folder: RunFolder,
    show: Show,
    stop: StopSignals,
) -> tuple[Recipe, History]:
    """Compute once what never changes, train the rest, evaluate after every epoch, and leave the best weights.

    Gives the recipe too, in which it then stands how many rows fit into a batch.
    """
    settings, task, method = recipe.train, data.task, recipe.method
    engine = accelerator(
        settings.precision,
        method.in_stages,
        log_with=list(settings.trackers) or None,
        project_dir=str(folder.path / "trackers"),
        **sharding.plugin(settings.sharded, environment.processes().device),
    )
    if settings.trackers:
        engine.init_trackers("nlp_transfer", config={"seed": recipe.seed, "method": method.name})
    validation = data.splits["validation"].rows

    def evaluate(prepared: nn.Module) -> dict[str, float]:
        # not as it is wrapped for several processes, which would wait for each other in batches that only one of them has
        alone = engine.unwrap_model(prepared)
        outputs = outputs_of(alone, features["validation"], settings.rows_at_once, engine.autocast(), stop.check)
        if np.isnan(outputs).any():
            raise Diverged(
                "the model's outputs for the validation rows are no numbers any more, though the loss was one until the last "
                f"step. Try a lower --train.learning_rate (it was {settings.learning_rate:g})."
            )
        # the best epoch is the best as it will be used
        fitted = task.calibrate(outputs, features["validation"].columns, validation)
        answers = decoded(fitted, outputs, features["validation"].columns, validation)
        return fitted.metrics(judged_from(fitted, answers, validation))

    features = {name: features[name] for name in ("train", "validation")}
    clock, frozen = time.perf_counter(), method.frozen_blocks(model)
    most = None if frozen >= EVERY_BLOCK else tokens_at_once(engine)  # of each row the head alone reads one vector
    plan = planned(learned(features["train"]), settings, recipe.seed, most)
    still = unchanging(model, frozen)
    with show.counting("frozen part", sum(map(len, features.values()))) as count:
        half, gigabytes = engine.mixed_precision == "bf16", settings.store_gigabytes
        once = Once(engine.autocast, folder.path, stop.check, count, gigabytes, half, store)
        # a sharded model is nowhere whole, so that no part of it can run beforehand
        stored = frozen >= EVERY_BLOCK or settings.passes(plan.steps(1)) > 1
        if stored and not sharding.asked(settings.sharded):
            model, features = once.through(model, features, frozen, show.say)

    def used() -> np.ndarray:
        columns = (split.columns for split in features.values())
        return np.union1d(tokens_in(*columns), features["train"].tokenizer.all_special_ids)

    put_back = narrow(model, used) if frozen <= 0 and not sharding.asked(settings.sharded) else lambda: None
    evaluated = features["validation"].preparing
    prepared_in = time.perf_counter() - clock - evaluated

    drawn = learned(features["train"])
    groups = method.parameter_groups(model, head, settings)
    if settings.batch_size == "auto" and isinstance(plan, LengthBuckets):
        settings = Capacity(model, groups, plan.heaviest, drawn.fetch, drawn.loss, engine, still).settle(settings)
        show.say(
            f"batches of {settings.batch_size} rows fit; {settings.accumulate} make a step of {settings.rows_per_step}."
        )
        recipe, plan = replace(recipe, train=settings), planned(drawn, settings, recipe.seed, most)
        folder.settle(recipe)

    def begin(model: nn.Module, epoch: int) -> None:
        method.unfreeze(model, head, epoch)

    loop = Loop(model, groups, plan, drawn.fetch, drawn.loss, settings, engine, begin=begin, still=still)
    recorder = Recorder(show, folder.log, engine, data.splits["train"], drawn.rows)
    fit = Fit(loop, evaluate, *task.primary, checkpoints, stop, recorder, prepared_in, evaluated)
    fit.history.padding = padding(plan, drawn)
    if folder.resumes:
        resumed = fit.resume()
        folder.forget_after(fit.history.step)
        show.say(f"going on after step {fit.history.step} of {loop.total}." if resumed else "no checkpoint: from zero.")
    with show, only_first(model), fused_updates(model):
        history = fit.run()
    put_back()
    for tracker in engine.trackers:
        tracker.finish()  # `end_training` would also part the processes, which still judge together
    return recipe, history
