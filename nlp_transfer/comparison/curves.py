"""The curves of a comparison: over training rows, steps and learning rates; and where its candidates differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nlp_transfer import figures, pages
from nlp_transfer.comparison import plots
from nlp_transfer.comparison.analysis import Analysis, Search
from nlp_transfer.comparison.inside import Breakdown, Group, Inside
from nlp_transfer.figures import Scale
from nlp_transfer.pages import drawings, kept
from nlp_transfer.pages.drawings import Dots, Line, scaled
from nlp_transfer.pages.plots import NARROW, WIDE, Plot

SHOWN_GROUPS = 20
"""Of the parts of the rows in a plot: those about which the candidates differ most. The table has all."""


def by_size(analysis: Analysis, scale: Scale) -> Plot:
    """Scores by training rows."""
    sizes = sorted(analysis.sizes, key=lambda size: size.train_rows)
    numbers, lines = plots.series(analysis), []
    for name, number in numbers.items():
        # side by side, so that intervals do not hide each other
        shift = (sizes[-1].train_rows / sizes[0].train_rows) ** (0.03 * (number - (len(numbers) - 1) / 2))
        known = [
            (size.train_rows * shift, entry.spread)
            for size in sizes
            for entry in size.entries
            if entry.candidate == name and entry.spread.mean is not None
        ]
        if known:
            means = scaled(scale, [spread.mean or 0.0 for _, spread in known])
            intervals = [_ends(scale, scale.within(spread.shown)) for _, spread in known]
            lines.append(Line(name, number, [rows for rows, _ in known], means, intervals))
    spreads = [entry.spread for size in sizes for entry in size.entries if entry.candidate in numbers]
    said = f"Mean score by training rows, with 95 % intervals {plots.over(spreads)}."
    rows = [float(size.train_rows) for size in sizes]
    return Plot(
        "By training rows",
        said,
        drawings.curves(
            lines, "sizes", said, "training rows", plots.unit(analysis.metric, scale), rows, figures.count, log=True
        ),
    )


def by_step(analysis: Analysis, inside: Inside, scale: Scale) -> list[Plot]:
    """Loss and validation score by step."""
    numbers = plots.series(analysis)
    loss = [Line(each.candidate, numbers[each.candidate], each.steps, each.loss) for each in inside.curves if each.loss]
    judged = [
        Line(each.candidate, numbers[each.candidate], each.evaluated, scaled(scale, each.validation))
        for each in inside.curves
    ]
    found = []
    if loss:
        said = "Loss on training rows by step, mean over seeds."
        found.append(Plot("Loss", said, drawings.curves(loss, "loss", said, "step", "loss on training rows")))
    if judged:
        said = "Score on validation rows by step, mean over seeds."
        unit = f"validation {plots.unit(analysis.metric, scale)}"
        found.append(Plot("Validation", said, drawings.curves(judged, "validation", said, "step", unit)))
    return found


def rates(analysis: Analysis, searches: Sequence[Search], scale: Scale, title: str) -> Plot | None:
    """Validation scores by learning rate; what was chosen is ringed."""
    numbers, lines = plots.series(analysis), []
    for search in searches:
        known = [(rate, score) for rate, score in search.rates if score is not None and math.isfinite(score)]
        if known and search.candidate in numbers:  # one that was stopped before its first run has trials alone
            tried = [rate for rate, _ in known]
            chosen = tried.index(search.chosen) if search.chosen in tried else None
            found = scaled(scale, [score for _, score in known])
            lines.append(Line(search.candidate, numbers[search.candidate], tried, found, chosen=chosen))
    if not lines:
        return None
    said = "Validation score, one run each; the rate that was chosen is ringed."
    every = [rate for line in lines for rate in line.x]
    ticks = [10.0**power for power in range(math.floor(math.log10(min(every))), math.ceil(math.log10(max(every))) + 1)]
    unit = f"validation {plots.unit(analysis.metric, scale)}"
    drawing = drawings.curves(lines, title, said, "learning rate", unit, ticks, pages.rate, log=True)
    return Plot(title, said, drawing)


def breakdown(found: Breakdown, analysis: Analysis, scale: Scale, name: str) -> Plot:
    """Scores of parts of the rows; those about which the candidates differ most first."""
    numbers = plots.series(analysis)
    groups = widest_first(found)[:SHOWN_GROUPS]
    rows = [
        Dots(
            f"{group.name} ({group.rows:,})",
            {numbers[each]: scaled(scale, [score])[0] for each, score in group.scores.items()},
        )
        for group in groups
    ]
    counted = "test rows" if kept.counted(found.by) == "rows" else f"{kept.counted(found.by)} in the test rows"
    said = f"{plots.words(found.metric)} by {found.by}, mean over seeds; the number of {counted} in brackets."
    unit = plots.unit(found.metric, scale)
    wide, narrow = (drawings.rows_of_dots(rows, f"{name}-{width}", said, unit, width) for width in (WIDE, NARROW))
    shown = {number for row in rows for number in row.dots}
    key = tuple((each, number) for each, number in numbers.items() if number in shown)
    return Plot(f"By {found.by}", said, wide, narrow, key)


def widest_first(found: Breakdown) -> list[Group]:
    """The groups of a breakdown, those about which the candidates differ most first."""
    return sorted(found.groups, key=lambda group: min(group.scores.values()) - max(group.scores.values()))


def _ends(scale: Scale, interval: tuple[float, float] | None) -> tuple[float, float] | None:
    if interval is None:
        return None
    low, high = scaled(scale, interval)
    return low, high
