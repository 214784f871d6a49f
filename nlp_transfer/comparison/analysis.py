"""Analysis: from the runs of a comparison to every number that is shown of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlp_transfer.comparison import choosing
from nlp_transfer.comparison.costs import costs_of, is_number, means
from nlp_transfer.comparison.drawing import Scores, draw
from nlp_transfer.comparison.evidence import Evidence, Line
from nlp_transfer.comparison.statistics import BOUNDS, Difference, Interval, Spread, differences, spread
from nlp_transfer.errors import RequestError

SCHEMA = 2
"""Version of analysis.json."""


@dataclass(frozen=True)
class Unfinished:
    """A run that has no score."""

    candidate: str
    train_rows: int
    seed: int
    status: str
    message: str


@dataclass(frozen=True)
class Entry:
    """A candidate or a baseline at one training size, over its seeds."""

    candidate: str
    model: str
    baseline: bool
    from_scratch: bool
    learning_rate: float | None
    spread: Spread
    """Of the score that is compared, on the test rows."""
    scores: Mapping[str, float]
    """Means of every score on the test rows."""
    costs: Mapping[str, float]
    """As `costs_of` gives them."""
    forgetting: Mapping[str, float]
    """Means of what the backbone forgot, where that was measured."""
    unfinished: tuple[Unfinished, ...]
    validation: float | None
    """Mean of the score that is compared, on the validation rows."""
    best_run: str | None
    """The folder of the run that is best on validation."""


@dataclass(frozen=True)
class Size:
    """All that was compared at one training size."""

    train_rows: int
    entries: tuple[Entry, ...]
    differences: tuple[Difference, ...]
    """From the reference."""
    transfer: tuple[Difference, ...]
    """From the same architecture, trained from scratch."""
    against_best: tuple[Difference, ...]
    """Candidates better than the reference, or none being better, it and those not told from it: from the best of them."""
    recommended: tuple[str, ...]
    """Of these the best and those that are not shown to be worse than it; none without a verdict."""
    over_baseline: tuple[Difference, ...]
    """The recommended, without a verdict the reference: from the best baseline."""

    def entry(self, candidate: str) -> Entry:
        """The entry of a candidate."""
        return next(entry for entry in self.entries if entry.candidate == candidate)

    @property
    def without_verdict(self) -> list[str]:
        """The candidates, but the reference, of which too few seeds finished, or none, or which were too few rows for."""
        told = {name for each in self.differences for name in (each.reference, each.candidate) if each.has_verdict}
        return [entry.candidate for entry in self.entries if not entry.baseline and entry.candidate not in told]


@dataclass(frozen=True)
class Search:
    """The learning rates that were tried for a candidate at one training size, and what validation said."""

    candidate: str
    train_rows: int
    """Of the runs that got the rate."""
    tried_on: int
    """Rows that the trials trained on."""
    chosen: float | None
    rates: tuple[tuple[float, float | None], ...]
    """Rate, and the score on validation; None where the trial did not finish."""


@dataclass(frozen=True)
class Setting:
    """What all runs have in common, and their backbones: whatever of it the protocol says."""

    models: tuple[str, ...] = ()
    source: str | None = None
    epochs: float | None = None
    max_steps: float | None = None
    batch_size: float | None = None
    """Rows; None where they were chosen by what fits."""
    batch_tokens: float | None = None
    accumulate: float | None = None
    max_length: float | None = None


@dataclass(frozen=True)
class Analysis:
    """Every number that a report of a comparison shows."""

    schema: int
    task: str
    metric: str
    higher_is_better: bool
    reference: str
    fingerprint: str
    rows: Mapping[str, int]
    """Of every split, before training rows are drawn for a size."""
    seeds: tuple[int, ...]
    trials: int
    sizes: tuple[Size, ...]
    """The largest first."""
    searches: tuple[Search, ...]
    flags: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """Of the protocol: why there are no baselines, say."""
    bounds: Interval | None = None
    """Of the score that is compared: where it is shown, intervals are cut there."""
    setting: Setting = Setting()


def analyse(evidence: Evidence) -> Analysis:
    """The analysis of a comparison.

    Runs that diverged or failed are named and left out: differences are of the seeds that both sides have.

    Raises:
        RequestError: where no run finished, or what was judged cannot be read.
    """
    protocol = evidence.protocol
    return Analysis(
        schema=SCHEMA,
        task=protocol["task"]["name"],
        metric=evidence.metric,
        higher_is_better=protocol["higher_is_better"],
        bounds=BOUNDS.get(evidence.metric),
        reference=protocol["reference"],
        fingerprint=protocol["data"]["fingerprint"],
        rows=protocol["data"]["rows"],
        setting=_setting(evidence),
        seeds=tuple(protocol["seeds"]),
        trials=protocol["trials"],
        sizes=tuple(_size(evidence, size) for size in evidence.sizes),
        searches=tuple(_searches(evidence)),
        flags=tuple(protocol["flags"]),
        notes=tuple(protocol.get("notes", ())),
    )


def _setting(evidence: Evidence) -> Setting:
    recipe, runs = evidence.protocol.get("recipe", {}), evidence.of("run")
    named = [each["model"] for each in evidence.protocol.get("candidates", ())] or [
        {"name": run.get("model")} for run in runs
    ]
    models = [f"{each['name']}@{each['revision']}" if each.get("revision") else str(each["name"]) for each in named]
    source = recipe.get("data", {}).get("source")
    figures = {**recipe.get("train", {}), "max_length": recipe.get("data", {}).get("max_length")}
    names = ("epochs", "max_steps", "batch_size", "batch_tokens", "accumulate", "max_length")
    known = {name: value if is_number(value := figures.get(name)) else None for name in names}
    return Setting(tuple(dict.fromkeys(models)), None if source is None else str(source), **known)


def _size(evidence: Evidence, train_rows: int) -> Size:
    """Everything of one training size; Holm's family is the candidates of this size."""
    higher, reference = evidence.protocol["higher_is_better"], evidence.protocol["reference"]
    runs = _by_candidate(evidence.of("run", train_rows))
    baselines = _by_candidate(evidence.of("baseline", train_rows))
    scores = _scores(evidence, {**baselines, **runs})
    entries = [_entry(evidence, name, lines, scores.get(name)) for name, lines in {**runs, **baselines}.items()]
    compared = {name: each for name, each in scores.items() if name in runs}
    known = {name: scores[name] for name in baselines if name in scores}
    held = differences(compared, reference, higher) if reference in compared else []
    level = choosing.against_best(claimants := choosing.claimants(held, reference), compared, higher)
    worse = {each.candidate for each in level if each.finding == "worse"}
    recommended = [name for name in claimants if name not in worse]
    stand = recommended or [name for name in [reference] if name in compared]
    return Size(
        train_rows=train_rows,
        entries=tuple(entries),
        differences=tuple(held),
        transfer=tuple(_transfer(entries, compared, higher)),
        against_best=tuple(level),
        recommended=tuple(recommended),
        over_baseline=tuple(choosing.over_baseline(stand, compared, known, higher)),
    )


def _by_candidate(lines: Sequence[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in sorted(lines, key=lambda line: line["seed"]):
        found.setdefault(line["candidate"], []).append(line)
    return found


def _scores(evidence: Evidence, lines: Mapping[str, Sequence[Line]]) -> dict[str, Scores]:
    """Scores of all that finished, drawn on the same rows."""
    judged = {
        name: {line["seed"]: evidence.judged(line) for line in its if line["judged"] and evidence.finished(line)}
        for name, its in lines.items()
    }
    judged = {name: seeds for name, seeds in judged.items() if seeds}
    try:
        return draw(judged, evidence.task.metrics, evidence.metric)
    except ValueError as error:
        raise RequestError(f"{evidence.folder}: {error}") from error


def _entry(evidence: Evidence, name: str, lines: Sequence[Line], scores: Scores | None) -> Entry:
    done = [line for line in lines if evidence.finished(line)]
    sign = 1 if evidence.protocol["higher_is_better"] else -1
    validation = {line["folder"]: line["scores"]["validation"][evidence.metric] for line in done}
    best = max(validation, key=lambda folder: sign * validation[folder], default=None)
    return Entry(
        candidate=name,
        model=lines[0]["model"],
        baseline=lines[0]["kind"] == "baseline",
        from_scratch=bool(lines[0].get("from_scratch")),
        learning_rate=lines[0]["learning_rate"],
        spread=spread(scores or Scores((), np.empty(0), np.empty((0, 0)), 0)),
        scores=means([line["scores"]["test"] for line in done]),
        costs=costs_of(done),
        forgetting=means([_flat(line.get("forgetting") or {}) for line in done]),
        unfinished=tuple(_unfinished(line) for line in lines if line not in done),
        validation=float(np.mean(list(validation.values()))) if validation else None,
        best_run=best if lines[0]["kind"] == "run" else None,
    )


def _unfinished(line: Line) -> Unfinished:
    status = "no score" if line["status"] == "finished" else line["status"]
    return Unfinished(line["candidate"], line["train_rows"], line["seed"], status, line["message"])


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested figures by dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def _transfer(entries: Sequence[Entry], scores: Mapping[str, Scores], higher: bool) -> list[Difference]:
    """Every candidate held against its own architecture trained from scratch, where that was run."""
    found = []
    for scratch in (entry for entry in entries if entry.from_scratch and entry.candidate in scores):
        same = [each.candidate for each in entries if each.model == scratch.model and not each.from_scratch]
        family = {name: scores[name] for name in (*same, scratch.candidate) if name in scores}
        found += differences(family, scratch.candidate, higher)
    return found


def _searches(evidence: Evidence) -> list[Search]:
    """The trials of every candidate and training size, rates ascending."""
    most = evidence.protocol.get("trial_rows")
    found = []
    for size in evidence.sizes:
        tried_on = min(size, most or size)
        chosen = {line["candidate"]: line["learning_rate"] for line in evidence.of("run", size)}
        for name, lines in _by_candidate(evidence.of("trial", tried_on)).items():
            rates = [
                (line["learning_rate"], line["scores"].get("validation", {}).get(evidence.metric))
                for line in sorted(lines, key=lambda line: line["learning_rate"])
            ]
            found.append(Search(name, size, tried_on, chosen.get(name), tuple(rates)))
    return found
