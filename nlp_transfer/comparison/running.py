"""A comparison at work: what is missing is run, and every outcome is a line before the next job begins."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from nlp_transfer import environment, methods
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.comparison.engine import Check, find
from nlp_transfer.comparison.grid import Candidate, Cell
from nlp_transfer.comparison.jobs import Job, Kind, Line
from nlp_transfer.comparison.protocol import Protocol
from nlp_transfer.comparison.results import Results
from nlp_transfer.comparison.search import Search
from nlp_transfer.configurations import Pin
from nlp_transfer.errors import Interrupted, RequestError, Stopped, TrainingError, listing
from nlp_transfer.progress import Show
from nlp_transfer.recipe import Recipe


@dataclass
class Running:
    """The searches, baselines and runs of a protocol, in a folder that nobody else works in."""

    folder: Path
    protocol: Protocol
    engine: str
    workers: int
    show: Show
    check: Check
    backbones: dict[ModelSettings, tuple[Backbone, str | None]] = field(default_factory=dict)
    pin: Pin | None = None

    @cached_property
    def results(self) -> Results:
        """What is done already; what failed is tried again."""
        found = Results(self.folder)
        found.drop(lambda line: line["status"] == "failed")
        return found

    def prepare(self) -> None:
        """Settle every recipe, so that a wrong one is refused before anything runs.

        Raises:
            RequestError: for it.
        """
        for cell in self._cells():
            self._job("run", cell, self.protocol.grid.seeds[0], 1.0)

    def refuse_others(self) -> None:
        """Refuse to go on where what is done would be done otherwise today: the two cannot stand side by side.

        Raises:
            RequestError: for lines of other weights, of another precision, or of a version with other settings.
        """
        known = {each.label: each for each in self.protocol.grid.candidates}
        today = {(job.candidate, job.train_rows, job.recipe["seed"]): job.key for job in self._baselines()}
        others = []
        for line in self.results.lines.values():
            key = today.get((line["candidate"], line["train_rows"], line["seed"]))
            if line["kind"] != "baseline" and line["candidate"] in known:
                cell = Cell(known[line["candidate"]], line["train_rows"])
                key = self._job(line["kind"], cell, line["seed"], line["learning_rate"]).key
            if key not in (None, line["key"]):
                others.append(f"{line['kind']} {line['candidate']}, {line['train_rows']} rows, seed {line['seed']}")
        if others:
            raise RequestError(
                f"{self.folder} has {len(others)} results that would be made otherwise today, of other weights, in another "
                f"precision, or by another version of nlp_transfer: {listing(others, 2)}. What is missing cannot stand beside "
                "them: compare in another folder, or replace this comparison with --overwrite."
            )

    def run(self) -> None:
        """Do what is missing.

        Raises:
            Stopped: when a signal asked for a stop; what is done is kept.
            TrainingError: where no run finished.
        """
        try:
            self._run()
        except (Interrupted, Stopped) as stop:
            done = Counter(line["kind"] for line in self.results.lines.values())
            kept = ", ".join(f"{count} {kind}s" for kind, count in done.items()) or "nothing"
            on = f"nlp-transfer compare --output {shlex.quote(str(self.folder))} --resume"
            on += f" --trust-remote-code {self.pin}" if self.pin else ""
            raise Stopped(f"stopped; done: {kept}. Go on with: {on}") from stop

    def _run(self) -> None:
        searches = {cell: self._search_of(cell) for cell in self._cells()}
        extra = list(self._baselines())
        while (
            jobs := [self._trial(cell, rate) for cell, search in searches.items() for rate in search.pending()] + extra
        ):
            self._do(jobs)
            extra = []
            for cell, search in searches.items():
                for rate in search.pending():
                    search.tell(rate, self.results.lines[self._trial(cell, rate).key])
        flags = [flag for cell, search in searches.items() for flag in search.flags(self._named(cell))]
        self.protocol = replace(self.protocol, flags=tuple(flags))
        self.protocol.write(self.folder)
        runs = [
            job
            for seed in self.protocol.grid.seeds
            for cell in searches
            for job in self._runs(cell, seed, searches[cell])
        ]
        self._do(runs)
        if not any(self.results.lines[job.key]["status"] == "finished" for job in runs):
            first = next(iter(self.results.lines[job.key] for job in runs), None)
            raise TrainingError(f"no run finished; the first said: {first and first['message']}")

    def _cells(self) -> list[Cell]:
        return list(self.protocol.grid.cells(self.protocol.layout.rows["train"]))

    def _named(self, cell: Cell) -> str:
        several = len(self.protocol.grid.sizes(self.protocol.layout.rows["train"])) > 1
        return cell.candidate.label + (f" with {cell.train_rows} rows" if several else "")

    def _search_of(self, cell: Cell) -> Search:
        grid = self.protocol.grid
        middle = grid.base.train.learning_rate or cell.candidate.method.default_learning_rate
        return Search(middle, grid.trials, *grid.base.task.primary)

    def _trial(self, cell: Cell, rate: float) -> Job:
        grid = self.protocol.grid
        return self._job("trial", replace(cell, train_rows=grid.tried(cell.train_rows)), grid.seeds[0], rate)

    def _runs(self, cell: Cell, seed: int, search: Search) -> Iterator[Job]:
        """The run of a candidate, if it has a rate; without one its line says so."""
        rate = search.best
        job = self._job("run", cell, seed, rate or search.middle)
        same = (job.kind, job.candidate, job.train_rows)
        # of an earlier rate, where a trial that had failed has now shown a better one
        self.results.drop(
            lambda line: (line["kind"], line["candidate"], line["train_rows"]) == same and line["learning_rate"] != rate
        )
        if rate is None:
            tried = next(iter(search.scores))
            first = self.results.lines[self._trial(cell, tried).key]
            message = f"no trial finished; that of {tried:g} said: {first['message']}"
            self.results.add({**job.line({"status": "failed", "message": message}), "learning_rate": None})
        yield job

    def _baselines(self) -> Iterator[Job]:
        """Those that need a backbone once per model; what does not depend on the seed once."""
        grid, rows = self.protocol.grid, self.protocol.layout.rows["train"]
        models = list(dict.fromkeys(each.model for each in grid.candidates if not each.model.from_scratch))
        models = models or [grid.candidates[0].model]
        for size in grid.sizes(rows):
            for name, title in self.protocol.baselines.items():
                for model in models if name == "frozen" else models[:1]:
                    label = f"{model.name} {title}" if name == "frozen" and len(models) > 1 else title
                    candidate = Candidate(label, methods.find("full")(), replace(model, from_scratch=False))
                    for seed in grid.seeds if size < rows else grid.seeds[:1]:
                        yield replace(self._job("baseline", Cell(candidate, size), seed, None), method=name)

    def _job(self, kind: Kind, cell: Cell, seed: int, rate: float | None) -> Job:
        layout, candidate = self.protocol.layout, cell.candidate
        if candidate.model not in self.backbones:
            found = Backbone.find(candidate.model, self.pin)
            self.backbones[candidate.model] = found, found.sha256
        backbone, weights = self.backbones[candidate.model]
        recipe: Recipe = layout.recipe(
            candidate.recipe(self.protocol.grid.base), self.folder, cell.train_rows, seed, test=kind != "trial"
        )
        recipe = replace(recipe, train=replace(recipe.train, learning_rate=rate))
        recipe = recipe.resolved(backbone, environment.processes().device)
        forgetting = self.protocol.forgetting and kind == "run" and not candidate.model.from_scratch
        return Job(
            kind=kind,
            candidate=candidate.label,
            method=candidate.label.removeprefix(f"{candidate.model.name} "),
            train_rows=cell.train_rows,
            recipe=recipe.to_dict(),
            fingerprint=layout.fingerprint,
            weights=weights,
            forgetting=forgetting,
            root=str(self.folder),
            trust_remote_code=str(self.pin) if self.pin else None,
        )

    def _do(self, jobs: Sequence[Job]) -> None:
        """Run those of these jobs that have no line yet."""
        # training sizes may share a trial
        missing = list({job.key: job for job in jobs if job.key not in self.results.lines}.values())
        started, rows, done = time.perf_counter(), sum(job.train_rows for job in missing), 0
        for number, (job, outcome) in enumerate(find(self.engine)(missing, self.workers, self.check), start=1):
            line = job.line(outcome)
            self.results.add(line)
            done += job.train_rows
            left = _left(time.perf_counter() - started, done, rows)
            self.show.say(f"[{number}/{len(missing)}] {self._told(line)}{left}")

    def _told(self, line: Line) -> str:
        """A line of results for a person."""
        metric = self.protocol.grid.base.task.primary.metric
        rate = f" {line['learning_rate']:g}" if line["learning_rate"] else ""
        name = f"{line['kind']} {line['candidate']}{rate}, {line['train_rows']} rows, seed {line['seed']}"
        if line["status"] != "finished":
            return f"{name}: {line['status']}: {line['message']}"
        scores = ", ".join(f"{split} {metric} {scores[metric]:.4f}" for split, scores in line["scores"].items())
        costs = line["costs"]
        saved = costs.get("saved_seconds", 0.0)
        reused = f", of which {saved:.1f} s reused" if saved else ""
        return f"{name}: {scores}, {costs['total_seconds']:.0f} s{reused}"


def _left(seconds: float, done: int, every: int) -> str:
    """How long the others will take, where that is worth a word: jobs on many rows take longer than those on few.

    Args:
        seconds: spent so far.
        done: training rows of the jobs that are done.
        every: training rows of all of them.
    """
    left = seconds / done * (every - done)
    return f"  (about {left / 60:.0f} min left)" if left > 90 else ""
