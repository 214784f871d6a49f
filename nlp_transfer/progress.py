"""Progress for a person: a live bar on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.errors import listing, readable
from nlp_transfer.training.loop import Step

LINES = 10
"""Lines per training where there is no terminal, evaluations apart."""


class Show:
    """Shows what a run does. `quiet` says nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.bar: Progress | None = None

    def say(self, sentence: str) -> None:
        """One line."""
        self.console.print(readable(sentence), markup=False)

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar for work over rows, on a terminal; it appears with the first rows that are told to be done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        task = bar.add_task(title, total=total)

        def done(rows: int) -> None:
            bar.start()
            bar.advance(task, rows)

        try:
            yield done
        finally:
            bar.stop()

    def __enter__(self) -> Show:
        if self.console.is_terminal:
            columns = (
                TextColumn("epoch {task.fields[epoch]:.2f}"),
                BarColumn(),
                TextColumn(
                    "{task.completed}/{task.total} steps  loss {task.fields[loss]:.4f}  {task.fields[speed]:.0f} rows/s"
                ),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.bar.start()
            self.task = self.bar.add_task("train", total=None, epoch=0.0, loss=float("nan"), speed=0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def step(self, step: Step, loss: float | None, seconds: float) -> None:
        """One step of training; `loss` is the mean since the last logged step where this one is logged."""
        speed = step.rows / max(seconds, 1e-9)
        if self.bar:
            fields: dict[str, Any] = {} if loss is None else {"loss": loss}
            self.bar.update(self.task, total=step.total, completed=step.number, epoch=step.epoch, speed=speed, **fields)
        elif loss is not None and step.number % max(1, step.total // LINES) == 0:
            minutes, rest = divmod(round(seconds / step.number * (step.total - step.number)), 60)
            left = f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"
            self.say(
                f"step {step.number}/{step.total}  epoch {step.epoch:.2f}  loss {loss:.4f}  {speed:.0f} rows/s  {left} left"
            )

    def evaluation(self, epoch: float, scores: Mapping[str, float], best: bool) -> None:
        """The scores of an evaluation on validation."""
        written = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self.say(f"epoch {epoch:.2f}  validation: {written}{'  (best so far)' if best else ''}")


class Rows:
    """Shows how many rows are done, where somebody looks: a live bar on a terminal, nothing elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True, quiet=quiet, highlight=False)
        self.done = 0
        self.started = time.perf_counter()
        columns = (
            BarColumn(),
            TextColumn("{task.fields[rows]:,} rows  {task.fields[speed]:,.0f} rows/s"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
        self.task = self.bar.add_task("rows", total=None, rows=0, speed=0.0)

    @property
    def speed(self) -> float:
        """Rows per second since the beginning."""
        return self.done / max(time.perf_counter() - self.started, 1e-9)

    def __enter__(self) -> Rows:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def add(self, rows: int, share: float | None) -> None:
        """So many more rows are done, and all together make this share of the work; None where nobody knows."""
        self.done += rows
        total = None if share is None else 1.0
        self.bar.update(self.task, total=total, completed=share or 0.0, rows=self.done, speed=self.speed)


@dataclass
class Recorder:
    """What happens in a training, shown, written to the run's log, and sent to the trackers."""

    show: Show
    log: Callable[[Mapping[str, Any]], None]
    accelerator: Accelerator
    train: Split
    rows: np.ndarray
    """Of each feature the index of its training row."""

    def step(self, step: Step, loss: float | None, seconds: float) -> None:
        """A step is done."""
        self.show.step(step, loss, seconds)
        if loss is not None:
            rate, speed = step.learning_rate, step.rows / max(seconds, 1e-9)
            line = {"loss": loss, "learning_rate": rate, "rows_per_second": speed}
            self.log({"step": step.number, "epoch": step.epoch, **line})
            self.accelerator.log({f"train/{name}": value for name, value in line.items()}, step=step.number)

    def evaluation(self, step: int, epoch: float, scores: Mapping[str, float], best: bool) -> None:
        """An evaluation on validation is done."""
        self.show.evaluation(epoch, scores, best)
        self.log({"step": step, "epoch": epoch, "validation": dict(scores)})
        self.accelerator.log({f"validation/{name}": value for name, value in scores.items()}, step=step)

    def say(self, sentence: str) -> None:
        """Something happened that a person should know."""
        self.show.say(sentence)

    def places(self, features: list[int]) -> str:
        """Where the rows of features stand in their file."""
        places = sorted({self.train.rows[PLACE][int(self.rows[feature])] for feature in features})
        return f"{self.train.origin}, {self.train.unit}s {listing(places)}"
