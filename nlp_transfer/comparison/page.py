"""The report of a comparison as a page: verdict and evidence first, then all that they rest on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlp_transfer import pages
from nlp_transfer.comparison import curves, plots, tables, verdict
from nlp_transfer.comparison.analysis import Analysis, Entry, Size
from nlp_transfer.comparison.inside import Inside
from nlp_transfer.comparison.wording import Scale
from nlp_transfer.environment import homely
from nlp_transfer.pages import drawings, kept
from nlp_transfer.pages.plots import Plot
from nlp_transfer.report import titled

NAME = "report.html"

MOST_LABELS = 30
"""Of a confusion matrix on a page; of more the most frequent confusions stand there."""


def write(folder: Path, analysis: Analysis, inside: Inside, sentences: Sequence[str], asked: Sequence[str]) -> None:
    """Write report.html.

    Args:
        folder: of the comparison, as a reader reaches it.
        analysis: of the comparison.
        inside: what its runs keep.
        sentences: the verdict.
        asked: columns of a row without its answer.
    """
    scale, largest = Scale.of(analysis), analysis.sizes[0]
    numbers = plots.series(analysis)
    pages.write(
        folder / NAME,
        "compare.html.jinja",
        scale,
        sections=list(_sections(analysis, inside)),
        analysis=analysis,
        inside=inside,
        sentences=[sentence for sentence in sentences if sentence not in analysis.flags],
        headline=verdict.headline(analysis),
        series=numbers,
        largest=largest,
        several=len(analysis.sizes) > 1,
        over=plots.over,
        trained=lambda size: f", {size.train_rows:,} training rows." if len(analysis.sizes) > 1 else ".",
        task=titled(analysis.task),
        ordered=lambda size: _ordered(analysis, size),
        plots=_plots(analysis, inside, scale),
        breakdowns=[
            (found, curves.breakdown(found, analysis, scale, f"parts-{i}")) for i, found in enumerate(inside.breakdowns)
        ],
        counted=kept.counted,
        costs=[cost for cost in tables.COSTS if any(cost[0] in entry.costs for entry in largest.entries)],
        shown=lambda value, written: pages.number(written)(value),
        searches=[search for search in analysis.searches if len(search.rates) > 1],
        asked=asked,
        most_labels=MOST_LABELS,
        confusions=_confusions(inside),
        forgotten=_forgotten(largest),
        unfinished=_unfinished(analysis),
        code=loading(folder / inside.best.folder) if inside.best else "",
    )


def loading(run: Path) -> str:
    """Three lines of Python that load a run and ask it."""
    path = json.dumps(homely(run), ensure_ascii=False)
    return f"from nlp_transfer import load_run\nrun = load_run({path})\nprint(run.predict([...]))"


def _sections(analysis: Analysis, inside: Inside) -> list[tuple[str, str]]:
    best = inside.best
    there = {
        "verdict": "Verdict",
        "scores": "Scores",
        "costs": "Costs" if any(entry.costs for entry in analysis.sizes[0].entries) else "",
        "learning": "Learning" if inside.curves or len(analysis.sizes) > 1 or _searched(analysis) else "",
        "parts": "Where they differ" if inside.breakdowns else "",
        "errors": "Errors" if best else "",
        "data": "Data",
        "forgetting": "Forgetting" if _forgotten(analysis.sizes[0]) else "",
        "unfinished": "Without a score" if _unfinished(analysis) else "",
        "protocol": "Protocol",
        "load": "Load the best" if best else "",
    }
    return [(name, title) for name, title in there.items() if title]


def _plots(analysis: Analysis, inside: Inside, scale: Scale) -> dict[str, Any]:
    """All plots by their places."""
    largest, best = analysis.sizes[0], inside.best
    held = [each for each in largest.differences if each.spread.mean is not None]
    several = len(analysis.sizes) > 1
    by_size = [curves.by_size(analysis, scale)] if several else []
    rates = []
    for size in analysis.sizes if _searched(analysis) else ():
        its = [search for search in analysis.searches if search.train_rows == size.train_rows and len(search.rates) > 1]
        title = f"By learning rate, {size.train_rows:,} training rows" if several else "By learning rate"
        rates.append(curves.rates(analysis, its, scale, title))
    return {
        "differences": plots.differences(analysis, largest, scale) if held else None,
        "scores": plots.scores(analysis, largest, scale)
        if any(e.spread.mean is not None for e in largest.entries)
        else None,
        "prices": [plots.price(each, analysis, scale) for each in inside.prices],
        "curves": [*by_size, *curves.by_step(analysis, inside, scale)],
        "rates": [each for each in rates if each],
        "truth": _truth(inside) if best and best.truth else None,
    }


def _truth(inside: Inside) -> Plot:
    assert inside.best
    said = "Answers over the truth, for rows spread evenly over the test rows; right ones lie on the line."
    drawing = drawings.against_truth(inside.best.truth, inside.best.answers, "truth", said)
    return Plot("Answers and truth", said, drawing)


def _searched(analysis: Analysis) -> bool:
    return any(len(search.rates) > 1 for search in analysis.searches)


def _ordered(analysis: Analysis, size: Size) -> list[Entry]:
    sign = -1 if analysis.higher_is_better else 1
    return sorted(size.entries, key=lambda entry: (entry.spread.mean is None, sign * (entry.spread.mean or 0.0)))


def _confusions(inside: Inside) -> list[Any]:
    """Frequent confusions, where answers are words and any was given twice."""
    found = inside.best.errors.get("confusions", []) if inside.best else []
    return list(found) if any(each["count"] > 1 for each in found) else []


def _forgotten(size: Size) -> list[str]:
    names = [name.rpartition(".")[0] for entry in size.entries for name in entry.forgetting]
    return list(dict.fromkeys(names))


def _unfinished(analysis: Analysis) -> list[Any]:
    return [each for size in analysis.sizes for entry in size.entries for each in entry.unfinished]
