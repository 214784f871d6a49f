"""Comparison: which way of adapting a model is best for these rows, by one protocol that is the same for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nlp_transfer import environment
from nlp_transfer.comparison import baselines as simple
from nlp_transfer.comparison import layout, protocol, results
from nlp_transfer.comparison.engine import find
from nlp_transfer.comparison.grid import METHODS, SEEDS, Grid, candidates
from nlp_transfer.comparison.jobs import Line
from nlp_transfer.comparison.protocol import Protocol
from nlp_transfer.comparison.running import Running
from nlp_transfer.configurations import Pin
from nlp_transfer.data.splits import Data
from nlp_transfer.errors import RequestError
from nlp_transfer.progress import Show
from nlp_transfer.recipe import Recipe
from nlp_transfer.standing import next_free, refuse_removing
from nlp_transfer.training.signals import stop_signals
from nlp_transfer.trust import refuse_links

LOCK = ".lock"
"""Held by the process that works in a comparison's folder."""

BEGUN = ".begun"
"""Stands in a folder until its protocol does, and says that what else is there is a comparison's."""

PARTS = (
    BEGUN,
    protocol.NAME,
    results.NAME,
    layout.FOLDER,
    "trials",
    "runs",
    "baselines",
    "forgetting",
    "results.csv",
    "report.md",
    "report.html",
    "analysis.json",
)
"""Everything that a comparison writes into its folder."""


@dataclass(frozen=True)
class Comparison:
    """A comparison that is done: a folder, with the protocol and a line for every trial, run and baseline."""

    folder: Path

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        """What holds for all runs, as protocol.json has it."""
        values: Mapping[str, Any] = json.loads((self.folder / protocol.NAME).read_text(encoding="utf-8"))
        return values

    @cached_property
    def lines(self) -> list[Line]:
        """One for every trial, run and baseline, as results.jsonl has them."""
        text = (self.folder / results.NAME).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def compare(
    recipe: Recipe | None = None,
    /,
    *,
    methods: Sequence[Any] | str = METHODS,
    seeds: Sequence[int] = SEEDS,
    train_sizes: Sequence[int] = (),
    models: Sequence[str] | str | None = None,
    trials: int = 3,
    trial_rows: int | None = None,
    from_scratch: bool = False,
    baselines: bool = True,
    forgetting: bool = True,
    workers: int = 1,
    engine: str = "processes",
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    silent: bool = False,
    trust_remote_code: str | Pin | None = None,
    **parts: Any,
) -> Comparison:
    """Compare ways of adapting a backbone on your rows: `compare(task="sentiment", data="reviews.csv", methods="full,lora")`.

    The same call again goes on where the last one ended; with more methods, models, seeds or sizes it adds them.

    Args:
        recipe: what all runs have in common; or its parts by name, as `Recipe.make` takes them. Its method is left aside.
        methods: names, spellings such as `lora:rank=4`, dicts of settings with a name, or objects.
        seeds: one run of every candidate for each; the first one's is also that of the trials.
        train_sizes: training rows, drawn by the seed; none: all of them.
        models: backbones; unset: the recipe's.
        trials: learning rates tried per candidate and size; 1: none, the method's default is used.
        trial_rows: rows that a trial trains on, at most; unset: as many as the runs.
        from_scratch: add the same architectures with random weights.
        baselines: add the majority class, TF-IDF and frozen features with logistic regression.
        forgetting: measure what the backbone's language model and frozen features lost.
        workers: processes at once.
        engine: `processes` (each job in a fresh one), `ray` (the same on a cluster), or `here` (in this process).
        output: the comparison's folder; unset: a new one under `runs/`.
        resume: go on with the comparison in that folder, as it was asked for.
        overwrite: replace the comparison that the folder holds.
        silent: show no progress.
        trust_remote_code: `ORG/NAME@COMMIT`: the code of this model of the Hub may be run, at this commit; nobody else's.

    Under torchrun or accelerate launch the first process compares, with as many workers as were started on its machine; the
    others have nothing to do and end.

    Raises:
        RequestError: when the request or the data is wrong, before a model is loaded.
        SystemExit: in every process but the first, where a launcher started several.
        Stopped: when a signal asked for a stop; the same call goes on from there.
        TrainingError: when no run finished.
    """
    find(engine)
    pin = Pin.read(trust_remote_code)
    if workers < 1:
        raise RequestError(f"workers is {workers}: expected 1 or more.")
    workers = max(workers, environment.lead())
    if "method" in parts:
        raise RequestError("compare takes several methods: methods=[...] in place of method.")
    if resume and not output:
        raise RequestError("--resume needs --output: the folder of the comparison to go on with.")
    show = Show(silent)
    asked, rows, stem = None, None, "compare"
    if recipe is not None or parts or not resume:
        base = recipe or Recipe.make(**parts)
        grid = Grid(
            base, candidates(base, methods, models, from_scratch), tuple(seeds), tuple(train_sizes), trials, trial_rows
        )
        laid, rows = layout.read(base)
        if "test" not in laid.rows:
            raise RequestError("data.test_fraction is 0: a comparison judges by test rows, so it must have some.")
        titles = simple.names(rows.task) if baselines else {}
        asked = Protocol(grid, laid, titles, forgetting, _without_baselines(base.task.name, baselines and not titles))
        _refuse_few(grid, rows)
        stem = f"compare-{base.task.name}"
    folder = environment.expanded(output) if output else next_free(stem)
    with _alone(folder), stop_signals() as stop:
        known = None if overwrite else protocol.read(folder)
        if asked is None and known is None:
            raise RequestError(f"{folder} holds no comparison to go on with.")
        if known:
            refuse_links(folder)  # what is written would go where they lead
        agreed: Any = known.with_more(asked, folder) if known and asked else known or asked
        running = Running(folder, agreed, engine, workers, show, stop.check, pin=pin)
        running.prepare()
        if known:
            running.refuse_others()
        if overwrite:
            refuse_removing(folder, agreed.grid.base.data, [each.model.name for each in agreed.grid.candidates])
        if known is None and rows is not None:
            (folder / BEGUN).touch()
            _clear(folder)
            layout.lay_out(agreed.grid.base.data, rows, folder)
        agreed.write(folder)
        (folder / BEGUN).unlink(missing_ok=True)
        for sentence in agreed.sentences():
            show.say(sentence)
        running.run()
    from nlp_transfer.comparison.conclusion import (
        conclude,
    )  # its statistics are no business of the processes that train

    for sentence in conclude(folder):
        show.say(sentence)
    return Comparison(folder)


def _refuse_few(grid: Grid, rows: Data) -> None:
    """Refuse training sizes that are more than there is, or too few for a row of each class.

    Raises:
        RequestError: for them.
    """
    train = rows.splits["train"]
    sizes = {"training size": min(grid.sizes(len(train))), "number of trial rows": grid.tried(len(train))}
    for what, size in sizes.items():
        if size < len(train) and size < (least := len(set(rows.task.strata(train.rows)))):
            raise RequestError(f"the {what} {size} is fewer than classes: training needs a row of each of the {least}.")


def _without_baselines(task: str, asked: bool) -> tuple[str, ...]:
    """A note where a task has no baselines."""
    return (f"no baselines: {task} answers otherwise than by labels or a number per row.",) if asked else ()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Have a folder for oneself; one that was made for nothing goes again.

    Raises:
        RequestError: where other files stand, nothing can be written, or another process works.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder} is a file: name a folder with --output.")
    there = {child.name for child in folder.iterdir()} - {LOCK, ".DS_Store"} if folder.is_dir() else set()
    known = {*PARTS, *(f".{name}.part" for name in PARTS)}
    # a project has data/ and runs/ too: only a protocol says whose they are
    if there and (not there & {protocol.NAME, BEGUN} or there - known):
        raise RequestError(f"{folder} holds other files than a comparison's: name another folder with --output.")
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RequestError(f"another process works in {folder}: wait for it, or name another --output.") from error
    except OSError as error:
        raise RequestError(f"{folder} cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)
        for each in made:
            if not any(each.iterdir()):
                each.rmdir()


def _clear(folder: Path) -> None:
    """Remove what a comparison wrote, and nothing else."""
    for name in PARTS[1:]:  # all but the mark, by which what is half removed is still a comparison's
        part = folder / name
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
