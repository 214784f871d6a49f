"""A training from its first step to its best weights: evaluations, checkpoints, stop signals, faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nlp_transfer.errors import Diverged, Interrupted, Stopped
from nlp_transfer.training.checkpoints import Checkpoints
from nlp_transfer.training.loop import Loop, Step
from nlp_transfer.training.signals import StopSignals

LINES = 500
"""Lines about steps in a log, at most."""

Evaluate = Callable[[nn.Module], Mapping[str, float]]


class Watch(Protocol):
    """Whoever shows and records what happens."""

    def step(self, step: Step, loss: float | None, seconds: float) -> None:
        """A step is done; `loss` is the mean since the last logged step where this one is logged, `seconds` of all steps."""
        ...

    def evaluation(self, step: int, epoch: float, scores: Mapping[str, float], best: bool) -> None:
        """An evaluation is done."""
        ...

    def say(self, sentence: str) -> None:
        """Something happened that a person should know."""
        ...

    def places(self, features: list[int]) -> str:
        """Where the training rows of some features, by index, stand for a person."""
        ...


@dataclass
class History:
    """What training did so far: how long, how far, and which evaluation was best."""

    step: int = 0
    epoch: float = 0.0
    rows: int = 0
    seconds: float = 0.0
    pending: bool = False
    """Whether the last step still waits for its evaluation."""
    judged: int = 0
    """The last step that was evaluated."""
    elapsed: float = 0.0
    """Seconds of everything, evaluations and checkpoints too: what `max_minutes` limits."""
    evaluation: float = 0.0
    """Seconds of the longest evaluation."""
    best: float | None = None
    best_step: int | None = None
    best_epoch: float = 0.0
    without_gain: int = 0
    all_equal: bool = True
    """Whether every evaluation so far had the same score, so that none is better."""
    padding: float = 0.0
    """Share of the first epoch's tokens, as the model reads them, that is padding."""
    step_seconds: list[float] = field(default_factory=list)
    """Of the steps of this process; a resumed training begins it anew."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {**asdict(self), "step_seconds": []}

    def times(self) -> dict[str, float]:
        """Seconds of training, evaluation apart; rows trained on per second; the median step's seconds."""
        return {
            "train_seconds": self.seconds,
            "samples_per_second": self.rows / max(self.seconds, 1e-9),
            "median_step_seconds": median(self.step_seconds) if self.step_seconds else 0.0,
        }

    def summary(self) -> dict[str, Any]:
        """How far training went, where it was best, and how much of what it read was padding."""
        reached = {"steps": self.step, "epochs": self.epoch, "rows": self.rows}
        undecided = self.all_equal and self.without_gain > 0
        return {**reached, "best_epoch": self.best_epoch, "all_equal": undecided, "padding": self.padding}


@dataclass
class Fit:
    """Drives a loop to its end: `Fit(...).run()` leaves the model with the weights of its best evaluation."""

    loop: Loop
    evaluate: Evaluate
    metric: str
    higher_is_better: bool
    checkpoints: Checkpoints
    stop: StopSignals
    watch: Watch
    spent: float = 0.0
    """Seconds of training that went before the first step: what never changes was computed."""
    evaluated: float = 0.0
    """Seconds that went into the same for evaluations."""
    history: History = field(default_factory=History)
    began: float = 0.0
    """When training would have begun, had it never been stopped."""

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint; false where there is none and training starts from zero."""
        saved, said = self.checkpoints.restore(self.loop)
        for sentence in said:
            self.watch.say(sentence)
        if saved is None:
            return False
        self.history = History(**saved)
        return True

    def run(self) -> History:
        """Train to the end, or to where a limit or a lack of progress ends it.

        Raises:
            Stopped: when a stop was asked for; a checkpoint has been written.
            TrainingError: when the loss is no number (`Diverged`), or a checkpoint cannot be written.
        """
        history = self.history
        self.began = time.monotonic() - history.elapsed - self.spent - self.evaluated
        history.seconds += self.spent
        losses: list[Tensor] = []
        every = max(1, self.loop.total // LINES)
        steps = iter(self.loop)
        while True:
            if not history.pending:
                late = history.step > 0 and self._late()
                if self._ended(late):
                    break
                if late:
                    history.pending = True  # the time went elsewhere, on a slow disk say
                else:
                    clock = time.perf_counter()
                    step = next(steps, None)
                    if step is None:
                        break
                    self._record(step, losses, every, clock)
                    history.pending = step.ends_epoch or self._late()
            if history.pending and not self._agreed(self.stop.asked is not None):
                started = time.monotonic()
                self._judge()
                history.evaluation = max(history.evaluation, time.monotonic() - started)
            self._keep()
        if self._agreed(self.checkpoints.due_last()):
            self._save()
        if history.all_equal and history.without_gain:
            self.watch.say(
                f"every evaluation has the same {self.metric}, {history.best:g}: validation cannot tell which epoch is best, and "
                "the last is kept."
            )
        self.loop.accelerator.wait_for_everyone()  # the main process has written the best weights
        if history.best_step is not None and history.without_gain:
            self.checkpoints.load_best(self.loop.accelerator.unwrap_model(self.loop.model), history.best_step)
        return history

    def _record(self, step: Step, losses: list[Tensor], every: int, clock: float) -> None:
        """Count a step in; `clock` is when it was asked for."""
        history = self.history
        history.step, history.epoch, history.rows = step.number, step.epoch, step.rows
        if step.ends_epoch and step.loss.is_cuda:
            torch.cuda.synchronize()  # its kernels are queued, not done
        history.seconds += time.perf_counter() - clock
        history.step_seconds.append(step.seconds)
        losses.append(step.loss)
        mean = None
        # on CPU a look at the loss costs nothing; on a device it would make every step wait
        if step.number % every == 0 or step.number == step.total or step.loss.device.type == "cpu":
            mean = float(torch.stack(losses).mean())
            if not torch.isfinite(torch.tensor(mean)):
                raise Diverged(self._not_a_number(step, mean))
        logged = step.number % every == 0 or step.number == step.total
        if logged:
            losses.clear()
        self.watch.step(step, mean if logged else None, history.seconds)

    def _judge(self) -> None:
        """Evaluate after the last step, and keep its weights if they are the best so far."""
        history, model = self.history, self.loop.model
        model.eval()
        try:
            scores = self.evaluate(model)
        except Interrupted:
            return
        score = scores[self.metric]
        gained = history.best is None or (score > history.best if self.higher_is_better else score < history.best)
        history.all_equal = history.all_equal and history.best in (None, score)
        if gained or history.all_equal:  # where no score tells, the weights that learned the longest
            history.best, history.best_step, history.best_epoch = score, history.step, history.epoch
            self.checkpoints.save_best(self.loop)
        history.without_gain = 0 if gained else history.without_gain + 1
        history.pending, history.judged = False, history.step
        self.watch.evaluation(history.step, history.epoch, scores, gained)

    def _keep(self) -> None:
        """Write a checkpoint where one is due, and end here if a stop was asked for."""
        asked, due = self._any(self.stop.asked is not None, self.checkpoints.due(self.history.step))
        if asked or (due and not self.history.pending):
            self._save()
        if asked:
            by = self.stop.asked or "a signal to another process"
            raise Stopped(f"stopped by {by} after step {self.history.step} of {self.loop.total}")

    def _save(self) -> None:
        """Write a checkpoint."""
        self.history.elapsed = time.monotonic() - self.began
        self.checkpoints.save(self.loop, self.history.state())

    def _ended(self, late: bool) -> bool:
        """Whether training ends before its last step; by the clock only once that has been judged."""
        patience = self.loop.settings.patience
        if patience and self.history.without_gain >= patience:
            self.watch.say(f"ended after {patience} evaluations without a better {self.metric}.")
            return True
        if late and self.history.judged == self.history.step:
            self.watch.say(f"ended after {self.loop.settings.max_minutes:g} minutes.")
            return True
        return False

    def _late(self) -> bool:
        """Whether the time that is left is needed for an evaluation."""
        minutes = self.loop.settings.max_minutes
        spent = time.monotonic() - self.began + self.history.evaluation
        return minutes is not None and self._agreed(spent > 60 * minutes)

    def _agreed(self, here: bool) -> bool:
        """Whether any process says so: all must take the same turn."""
        return self._any(here)[0]

    def _any(self, *here: bool) -> list[bool]:
        """The same of several things at once."""
        accelerator = self.loop.accelerator
        if accelerator.num_processes == 1:
            return list(here)
        flags = torch.tensor(here, dtype=torch.float32, device=accelerator.device)
        return [bool(flag) for flag in accelerator.reduce(flags).tolist()]

    def _not_a_number(self, step: Step, loss: float) -> str:
        settings = self.loop.settings
        rows = [int(row) for batch in step.batches for row in batch]
        kept = (
            f"the checkpoint of step {self.checkpoints.saved_step}"
            if self.checkpoints.saved_step
            else "no checkpoint yet"
        )
        return (
            f"the loss is {loss} at step {step.number} of {step.total}, of {self.watch.places(rows)}. "
            f"Kept: {kept}. Try a lower --train.learning_rate (it was {settings.learning_rate:g}), a smaller --train.clip, "
            "or --train.precision fp32, and look at these rows."
        )
