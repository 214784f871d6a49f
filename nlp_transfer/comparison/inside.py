"""What runs keep beside their scores: how they learned, where they differ, what the best of them takes for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlp_transfer.comparison import layout, verdict
from nlp_transfer.comparison.analysis import Analysis, Entry
from nlp_transfer.comparison.evidence import Evidence, Line
from nlp_transfer.pages import kept

ANSWERS = 300
"""Numbers held against their truth, at most: evenly spread over the rows."""

PRICES = {"train_seconds": "", "peak_bytes": "", "learning_weights": "learning", "disk_bytes": "stored_bytes"}
"""What a score may cost, and by which other name a run may know it: seconds of training, the most memory held (of the device,
where there is one), weights that learn (the head's too), bytes to carry away."""


@dataclass(frozen=True)
class Curve:
    """How a candidate learned at the largest training size, means over seeds."""

    candidate: str
    steps: tuple[float, ...]
    loss: tuple[float, ...]
    """On the training rows, in the mean since the step before."""
    evaluated: tuple[int, ...]
    """Steps after which validation was judged."""
    validation: tuple[float, ...]
    """The score that is compared."""


@dataclass(frozen=True)
class Group:
    """Some of the test rows, or one of the answers."""

    name: str
    rows: int
    """Or entities, as `kept.counted` says."""
    scores: Mapping[str, float]
    """By candidate, means over seeds."""


@dataclass(frozen=True)
class Breakdown:
    """The score of parts of the test rows, for every candidate."""

    by: str
    metric: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Price:
    """One cost of every candidate, and its score: both means over seeds."""

    cost: str
    costs: Mapping[str, float]
    scores: Mapping[str, float]
    front: tuple[str, ...]
    """Candidates of which no other is better at no higher cost, the cheapest first."""


@dataclass(frozen=True)
class Best:
    """The run to load: of the candidate that `verdict.winner` gives the one that validation likes best."""

    candidate: str
    seed: int
    folder: str
    confusion: Mapping[str, Any] | None
    """`labels`, and `rows` of counts: truth down, answers across."""
    truth: tuple[float, ...]
    """Of some test rows, where answers are numbers."""
    answers: tuple[float, ...]
    errors: Mapping[str, Any]


@dataclass(frozen=True)
class Inside:
    """What lies behind the scores of the largest training size."""

    prices: tuple[Price, ...]
    curves: tuple[Curve, ...]
    breakdowns: tuple[Breakdown, ...]
    best: Best | None
    warnings: tuple[Mapping[str, Any], ...]
    """Doubts about the rows: of their reading, in the files that were given; then what the run to load alone saw."""
    notes: tuple[str, ...]
    """How the rows were read."""


def look(evidence: Evidence, analysis: Analysis) -> Inside:
    """What the folders of a comparison's runs tell; of runs whose folders are gone, nothing."""
    size = analysis.sizes[0]
    entries = [entry for entry in size.entries if not entry.baseline and entry.spread.mean is not None]
    runs: dict[str, list[Line]] = {entry.candidate: [] for entry in entries}
    for line in evidence.of("run", size.train_rows):
        if line["candidate"] in runs and evidence.finished(line):
            runs[line["candidate"]].append(line)
    reports = {
        name: [report for line in lines if (report := kept.read(evidence.folder / line["folder"] / "report.json"))]
        for name, lines in runs.items()
    }
    curves = [_curve(name, [evidence.folder / line["folder"] for line in its], evidence) for name, its in runs.items()]
    winner = verdict.winner(analysis, size)
    best = (
        next((line for line in runs[winner.candidate] if line["folder"] == winner.best_run), None) if winner else None
    )
    report = kept.read(evidence.folder / best["folder"] / "report.json") if best else {}
    data, warnings = evidence.protocol["data"], _warnings(report, evidence.folder)
    read = data.get("warnings", ())
    told = {each["kind"] for each in read}
    return Inside(
        prices=tuple(prices(entries, analysis.higher_is_better)),
        curves=tuple(curve for curve in curves if curve),
        breakdowns=tuple(_breakdowns(reports, evidence.metric)),
        best=_best(evidence, best, report) if best else None,
        warnings=(*read, *(each for each in warnings if each["kind"] not in told)),
        notes=tuple(data.get("notes") or report.get("data", {}).get("notes", ())),
    )


def prices(entries: Sequence[Entry], higher_is_better: bool) -> list[Price]:
    """What scores cost, for every cost that at least two candidates have."""
    found = []
    for name, other in PRICES.items():
        known = {entry.candidate: entry.costs.get(name, entry.costs.get(other, 0.0)) for entry in entries}
        costs = {candidate: value for candidate, value in known.items() if value > 0}
        scores = {entry.candidate: float(entry.spread.mean or 0.0) for entry in entries if entry.candidate in costs}
        if len(costs) > 1:
            found.append(Price(name, costs, scores, tuple(front(costs, scores, higher_is_better))))
    return found


def front(costs: Mapping[str, float], scores: Mapping[str, float], higher_is_better: bool) -> list[str]:
    """The Pareto front, the cheapest first: nobody who costs as little is as good."""
    sign = 1 if higher_is_better else -1
    found: list[str] = []
    for name in sorted(costs, key=lambda name: (costs[name], -sign * scores[name])):
        if not found or sign * scores[name] > sign * scores[found[-1]]:
            found.append(name)
    return found


def _curve(name: str, folders: Iterable[Path], evidence: Evidence) -> Curve | None:
    """Means over the seeds: of the first losses in their logs, of the second, and so on; and of scores."""
    losses, scores = [], []
    for folder in folders:
        lines = kept.log(folder)
        losses.append([(line["step"], line["loss"]) for line in lines if "loss" in line])
        told = [(line["step"], line["validation"].get(evidence.metric)) for line in lines if "validation" in line]
        scores.append([(step, score) for step, score in told if score is not None])
    if not any(scores):
        return None
    steps, loss = kept.thinned(*_mean(losses))
    evaluated, validation = _mean(scores)
    return Curve(name, steps, loss, tuple(map(int, evaluated)), validation)


def _mean(curves: Sequence[Sequence[tuple[int, float]]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean of the first points of all curves, of the second, and so on, as far as all of them go.

    Batches by tokens make epochs of different numbers of steps for each seed.
    """
    points = [np.mean(points, axis=0) for points in zip(*filter(None, curves), strict=False)]
    return tuple(float(step) for step, _ in points), tuple(float(value) for _, value in points)


def _breakdowns(reports: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> list[Breakdown]:
    """Scores by class, by length of the texts, and by whatever else the task sorts its rows."""
    found: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    rows: dict[tuple[str, str], dict[str, int]] = {}
    for name, its in reports.items():
        for report in its:
            for part, group, count, score in kept.parts(report.get("details", {}).get("test", {}), metric):
                found.setdefault(part, {}).setdefault(group, {}).setdefault(name, []).append(score)
                rows.setdefault(part, {})[group] = count
    return [
        Breakdown(
            by,
            measure,
            tuple(
                Group(group, rows[by, measure][group], {name: float(np.mean(scores)) for name, scores in each.items()})
                for group, each in groups.items()
            ),
        )
        for (by, measure), groups in found.items()
    ]


def _best(evidence: Evidence, line: Line, report: Mapping[str, Any]) -> Best:
    details = report.get("details", {}).get("test", {})
    truth, answers = _numbers(evidence, line) if "error_quantiles" in details else ((), ())
    errors = {**details, **details.get("errors", {})}
    return Best(
        candidate=line["candidate"],
        seed=line["seed"],
        folder=line["folder"],
        confusion=details.get("confusion_matrix"),
        truth=truth,
        answers=answers,
        errors={
            name: errors[name] for name in ("wrong", "tolerance", "most_confident", "confusions") if name in errors
        },
    )


def _warnings(report: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """A run's warnings, whose rows stand in files of the comparison's folder, wherever that was when they were read."""
    data = report.get("data", {})
    files = {origin: f"{layout.FOLDER}/{split}.jsonl" for split, origin in data.get("origins", {}).items()}

    def here(text: str) -> str:
        for origin, file in files.items():
            text = text.replace(origin, file)
        return text.replace(f"{folder}/", "")

    return [
        {**each, "message": here(each["message"]), "rows": [here(str(row)) for row in each["rows"]]}
        for each in data.get("warnings", ())
    ]


def _numbers(evidence: Evidence, line: Line) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The truth and the answers of some test rows."""
    judged = evidence.judged(line)
    answers, truth = (np.asarray(judged[name], dtype=float).ravel() for name in ("predictions", "references"))
    some = np.unique(np.linspace(0, len(truth) - 1, num=min(ANSWERS, len(truth))).astype(int))
    return tuple(truth[some].tolist()), tuple(answers[some].tolist())
