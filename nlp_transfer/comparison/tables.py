"""Tables of a comparison: results.csv, a line per run, and report.md, which a person reads from the top."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_transfer.comparison import verdict
from nlp_transfer.comparison.analysis import Analysis, Entry, Size
from nlp_transfer.comparison.evidence import Line
from nlp_transfer.comparison.statistics import LEAST_SEEDS
from nlp_transfer.comparison.wording import Scale, count, duration, escaped, figure, probability, size, table
from nlp_transfer.environment import homely
from nlp_transfer.report import titled

COSTS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("learning", "weights that learn", count),
    ("head", "of these the head", count),
    ("added", "added", count),
    ("stored_bytes", "stored", size),
    ("disk_bytes", "on disk", size),
    ("train_seconds", "training", duration),
    ("total_seconds", "end to end", duration),
    ("seconds_per_step", "a step", duration),
    ("peak_rss_bytes", "memory", size),
    ("peak_device_bytes", "device memory", size),
    ("latency_ms", "latency, ms", figure),
    ("throughput", "rows/s", figure),
    ("merged_latency_ms", "latency merged, ms", figure),
    ("merged_throughput", "rows/s merged", figure),
    ("energy_kwh_estimate", "kWh (estimate)", figure),
)
"""Costs by their names in analysis.json, in the order of the table; those that no run knows are left out."""


def write_csv(file: Path, lines: Sequence[Line]) -> None:
    """One line per trial, run and baseline, nested figures under dotted names."""
    flat = [_flat(line) for line in lines]
    names = list(dict.fromkeys(name for line in flat for name in line))
    half = file.with_name(f".{file.name}.part")
    with half.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, names, restval="")
        writer.writeheader()
        writer.writerows(flat)
    half.replace(file)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = json.dumps(value) if isinstance(value, list) else value
    return found


def report(analysis: Analysis, sentences: Sequence[str], folder: Path) -> str:
    """The report of a comparison as Markdown: the verdict first, then what it rests on.

    Args:
        analysis: of the comparison.
        sentences: the verdict.
        folder: of the comparison, as a reader reaches it.
    """
    scale = Scale.of(analysis)
    several = len(analysis.sizes) > 1
    parts = [_heading(analysis), "## Verdict", "\n".join(f"- {escaped(sentence)}" for sentence in sentences)]
    for each in analysis.sizes:
        rows = f", {each.train_rows:,} training rows" if several else ""
        parts += [f"## Scores{rows}", _scores(analysis, each, scale)]
        if each.differences:
            parts += [f"## Differences from {escaped(analysis.reference)}{rows}", _differences(each, scale)]
        if each.transfer:
            parts += [f"## Differences from training from scratch{rows}", _differences(each, scale, of="transfer")]
    if several:
        parts += ["## Learning curve", _learning_curve(analysis, scale)]
    parts += ["## Costs", _costs(analysis.sizes[0]), *_forgetting(analysis.sizes[0]), *_searches(analysis, scale)]
    parts += [*_unfinished(analysis), "## Protocol", _protocol(analysis), *_winner(analysis, folder)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(analysis: Analysis) -> str:
    rows, setting = ", ".join(f"{number:,} {split}" for split, number in analysis.rows.items()), analysis.setting
    sizes = [f"{each.train_rows:,}" for each in reversed(analysis.sizes)]
    trained = f" Trained on {' or '.join(sizes)} of them." if sizes != [f"{analysis.rows.get('train', 0):,}"] else ""
    source = f" Data: {escaped(setting.source)}." if setting.source else ""
    direction = "higher" if analysis.higher_is_better else "lower"
    unit = ", in points (hundredths)" if Scale.of(analysis).points else ""
    return (
        f"# Comparison: {escaped(titled(analysis.task))}\n\n"
        f"Backbone: {escaped(', '.join(setting.models))}.{source} Rows: {rows}.{trained}\n\n"
        f"Judged by {escaped(analysis.metric.replace('_', ' '))} on the test rows{unit}; {direction} is better."
    )


def _scores(analysis: Analysis, size: Size, scale: Scale) -> str:
    """Means with their intervals, the best first; baselines among them."""
    header = ["candidate", "mean", "deviation", "95 %", "95 %, bootstrap", "95 %, t over seeds", "seeds"]
    rows = []
    for entry in _ordered(analysis, size):
        spread = entry.spread
        intervals = (
            scale.interval(scale.within(each)) for each in (spread.interval, spread.bootstrap, spread.over_seeds)
        )
        name = f"{escaped(entry.candidate)}{' (baseline)' if entry.baseline else ''}"
        rows.append([name, scale.score(spread.mean), scale.score(spread.deviation), *intervals, str(len(spread.seeds))])
    return (
        f"{table(header, rows)}\n\n"
        "95 %: over other seeds and other rows, with the two-level variance. Bootstrap: percentiles over seeds and rows (of one "
        "seed over rows alone). t over seeds: for these very rows. Two intervals that overlap say nothing: the differences do."
    )


def _ordered(analysis: Analysis, size: Size) -> list[Entry]:
    sign = -1 if analysis.higher_is_better else 1
    return sorted(size.entries, key=lambda entry: (entry.spread.mean is None, sign * (entry.spread.mean or 0.0)))


def _differences(size: Size, scale: Scale, of: str = "differences") -> str:
    several = len({each.reference for each in getattr(size, of)}) > 1
    header = [
        "candidate",
        "difference",
        "95 %",
        "95 %, bootstrap",
        "p",
        "p, Holm",
        "d_z",
        "would have shown",
        "finding",
    ]
    rows = []
    for each in getattr(size, of):
        name = escaped(each.candidate) + (f" less {escaped(each.reference)}" if several else "")
        intervals = (scale.interval(interval) for interval in (each.spread.interval, each.spread.bootstrap))
        tests = (probability(each.p), probability(each.adjusted_p), figure(each.effect_size))
        rows.append(
            [name, scale.signed(each.spread.mean), *intervals, *tests, scale.score(each.detectable), each.finding]
        )
    return (
        f"{table((escaped(name) for name in header), rows)}\n\n"
        "Paired: same seeds, same rows. p: t test with the two-level variance, then after Holm over all candidates of the table. "
        "d\\_z: mean over deviation of the differences between seeds. Would have shown: the smallest difference that so many "
        f"seeds and rows find nine times of ten. Fewer than {LEAST_SEEDS} seeds have no verdict."
    )


def _learning_curve(analysis: Analysis, scale: Scale) -> str:
    """Means by training size, with their intervals."""
    sizes = sorted(analysis.sizes, key=lambda each: each.train_rows)
    names = list(dict.fromkeys(entry.candidate for entry in analysis.sizes[0].entries))
    rows = []
    for name in names:
        cells = [escaped(name)]
        for each in sizes:
            found = [entry.spread for entry in each.entries if entry.candidate == name]
            known = found and found[0].mean is not None
            cells.append(
                f"{scale.score(found[0].mean)} ({scale.interval(scale.within(found[0].shown))})" if known else "-"
            )
        rows.append(cells)
    return table(["candidate", *(f"{each.train_rows:,} rows" for each in sizes)], rows)


def _costs(size: Size) -> str:
    entries = [entry for entry in size.entries if entry.costs]
    known = [cost for cost in COSTS if any(cost[0] in entry.costs for entry in entries)]
    if not known:
        return "No run has told its costs."
    rows = [
        [escaped(entry.candidate), *(write(entry.costs.get(name)) for name, _, write in known)] for entry in entries
    ]
    said = "Means over seeds. Weights that learn include the head; added: those that the method put into the backbone."
    return f"{table(['candidate', *(title for _, title, _ in known)], rows)}\n\n{said}"


def _forgetting(size: Size) -> list[str]:
    """What the backbones lost, where that was measured."""
    names = list(dict.fromkeys(name for entry in size.entries for name in entry.forgetting))
    if not names:
        return []
    entries = [entry for entry in size.entries if entry.forgetting]
    rows = [[escaped(entry.candidate), *(figure(entry.forgetting.get(name)) for name in names)] for entry in entries]
    return ["## Forgetting", table(["candidate", *(escaped(name.replace("_", " ")) for name in names)], rows)]


def _searches(analysis: Analysis, scale: Scale) -> list[str]:
    if not analysis.searches:
        return []
    rows = []
    for each in analysis.searches:
        tried = ", ".join(f"{rate:g}: {scale.score(score)}" for rate, score in each.rates)
        rows.append(
            [
                escaped(each.candidate),
                f"{each.train_rows:,}",
                f"{each.tried_on:,}",
                "-" if each.chosen is None else f"{each.chosen:g}",
                tried,
            ]
        )
    return ["## Learning rates", table(["candidate", "rows", "tried on", "chosen", "rate: validation"], rows)]


def _unfinished(analysis: Analysis) -> list[str]:
    every = [each for size in analysis.sizes for entry in size.entries for each in entry.unfinished]
    if not every:
        return []
    rows = [
        [escaped(each.candidate), f"{each.train_rows:,}", str(each.seed), each.status, escaped(each.message[:300])]
        for each in every
    ]
    said = "They are kept, and are no part of any mean: differences are of the seeds that both sides have."
    return ["## Runs without a score", table(["candidate", "rows", "seed", "status", "message"], rows), said]


def _protocol(analysis: Analysis) -> str:
    setting = analysis.setting
    length = f"{setting.max_steps:,} steps" if setting.max_steps else f"{figure(setting.epochs)} epochs"
    rows = f"{setting.batch_size:,} rows" if setting.batch_size else "as many rows as fit"
    batches = f"{setting.batch_tokens:,} tokens" if setting.batch_tokens else rows
    batches += f", {setting.accumulate:,} to a step" if setting.accumulate and setting.accumulate > 1 else ""
    known = setting.max_steps or setting.epochs
    lines = [
        *([f"each run: {length}, in batches of {batches}"] if known else []),
        f"seeds: {', '.join(map(str, analysis.seeds))}; learning rates tried for each candidate: {analysis.trials}, judged on "
        "validation alone; the test rows were read once per run",
        f"held against: {analysis.reference}; fingerprint of the rows: {analysis.fingerprint}",
        *analysis.notes,
        *analysis.flags,
    ]
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _winner(analysis: Analysis, folder: Path) -> list[str]:
    """How to load the run that validation likes best, of the candidate that it likes best among those to choose from."""
    entry = verdict.winner(analysis, analysis.sizes[0])
    if entry is None or entry.best_run is None:
        return []
    path = json.dumps(homely(folder / entry.best_run), ensure_ascii=False)
    code = f"from nlp_transfer import load_run\nrun = load_run({path})\nprint(run.predict([...]))"
    return [f"## Load {escaped(entry.candidate)}", f"```python\n{code}\n```"]
