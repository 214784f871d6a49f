"""The plots of a comparison: scores, differences, what scores cost, curves over rows and rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from nlp_transfer import figures
from nlp_transfer.comparison.analysis import Analysis, Entry, Size
from nlp_transfer.comparison.inside import Price
from nlp_transfer.comparison.statistics import Difference, Spread
from nlp_transfer.figures import Scale
from nlp_transfer.pages import drawings, plots
from nlp_transfer.pages.drawings import scaled
from nlp_transfer.pages.plots import Plot

Series = Mapping[str, int]
"""The colour and shape of every candidate, the same in every plot."""

THIN = "a thin one "
"""How an interval over rows alone looks."""

FAR = 1.5
"""A baseline is drawn at the edge where it is so many times farther from the candidates than these are spread."""

RANGE = 4.0
"""The end of an axis of costs is at least so many times its beginning."""

PRICES: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "train_seconds": ("time of training", figures.duration),
    "peak_bytes": ("memory at its most", figures.size),
    "learning_weights": ("weights that learn", lambda number: _many(number)),
    "disk_bytes": ("disk", figures.size),
}
"""What a cost is called, and how it is written."""


def series(analysis: Analysis) -> dict[str, int]:
    """A number for every candidate, in the order in which they were named."""
    names = [entry.candidate for size in analysis.sizes for entry in size.entries if not entry.baseline]
    return {name: i for i, name in enumerate(dict.fromkeys(names))}


def scores(analysis: Analysis, size: Size, scale: Scale) -> Plot:
    """Means with their intervals, the best first, with a dot for every seed; baselines among them."""
    sign = -1 if analysis.higher_is_better else 1
    entries = [entry for entry in size.entries if entry.spread.mean is not None]
    entries.sort(key=lambda entry: sign * (entry.spread.mean or 0.0))
    numbers = series(analysis)
    wide, narrow = (_scores(entries, numbers, scale, analysis.metric, width) for width in (plots.WIDE, plots.NARROW))
    spreads = [entry.spread for entry in entries]
    dots = "; a small dot for every seed" if any(len(each.seeds) > 1 for each in spreads) else ""
    said = f"Mean of every candidate with its 95 % interval {over(spreads, THIN)}{dots}."
    if far := [entry.candidate for entry in entries if _far(entry, entries)]:
        said += f" An arrow at the edge: farther off than the axis goes ({', '.join(far)})."
    return Plot("Scores", said, wide, narrow)


def over(spreads: Iterable[Spread], mark: str = "") -> str:
    """What the intervals of a plot or table are over, in words.

    Args:
        spreads: whose intervals are shown.
        mark: by what an interval over rows alone is told from others.
    """
    both = {each.interval is not None for each in spreads if each.shown}
    alone = "over the test rows alone"
    if both == {False}:
        return f"{alone}, since there is one seed"
    return f"over seeds and rows; {mark}of one seed {alone}" if False in both else "over seeds and rows"


def _far(entry: Entry, entries: Sequence[Entry]) -> bool:
    """Whether a baseline is so far off that with it in sight nobody could tell the candidates apart."""
    spreads = [each.spread for each in entries if not each.baseline]
    ends = [end for each in spreads for end in (*(each.shown or ()), *each.scores)]
    if not entry.baseline or not ends:
        return False
    low, high, mean = min(ends), max(ends), entry.spread.mean or 0.0
    return max(low - mean, mean - high) > FAR * (high - low)


@plots.styled
def _scores(entries: Sequence[Entry], numbers: Series, scale: Scale, metric: str, width: float) -> str:
    axes = plots.canvas(width, 44 * len(entries) + 54, left=10, right=58, top=10, bottom=46)
    for i, entry in enumerate(entries):
        number = numbers.get(entry.candidate)
        colour = plots.SOFT if number is None else plots.colour(number)
        shape = "o" if number is None else plots.marker(number)
        drawings.label(axes, i, entry.candidate + (" (baseline)" if entry.baseline else ""), width)
        _beside(axes, i, scale.score(entry.spread.mean), entry.spread.mean or 0.0)
        if _far(entry, entries):
            below = (entry.spread.mean or 0.0) < min(each.spread.mean or 0.0 for each in entries if not each.baseline)
            at, shape = (0.012, "<") if below else (0.988, ">")
            axes.plot(at, i, marker=shape, markersize=6, color=colour, transform=axes.get_yaxis_transform())
            continue
        _interval(axes, i, scale, scale.within(entry.spread.shown), bool(entry.spread.interval), colour)
        mean = scaled(scale, [entry.spread.mean or 0.0])[0]
        inner = plots.PAPER if number is None else colour
        axes.plot(mean, i, marker=shape, markersize=8, color=colour, linestyle="none", markerfacecolor=inner)
        if len(entry.spread.scores) > 1:
            dots = scaled(scale, entry.spread.scores)
            axes.plot(dots, [i + 0.24] * len(dots), marker="o", markersize=4, color=colour, alpha=0.6, linestyle="none")
    drawings.finished(axes, len(entries), unit(metric, scale))
    return plots.drawn(
        axes, f"scores-{width}", f"Scores by {metric.replace('_', ' ')}: the table beside has every figure."
    )


def _interval(
    axes: Axes, row: float, scale: Scale, interval: tuple[float, float] | None, thick: bool, colour: str
) -> None:
    if interval:
        wide, ends = 3.5 if thick else 1.5, scaled(scale, interval)
        axes.plot(ends, [row, row], color=colour, linewidth=wide, alpha=0.45, solid_capstyle="round")


def _beside(axes: Axes, row: float, text: str, number: float) -> None:
    """A figure at the right end of its row."""
    written = axes.annotate(
        text.replace("-", "−"),
        (1, row),
        (54, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset pixels",
        ha="right",
        va="center",
    )
    plots.value(written, number)


def differences(analysis: Analysis, size: Size, scale: Scale) -> Plot:
    """Differences from the reference with their intervals; what is shown to differ is filled."""
    wide, narrow = (
        _differences(size.differences, series(analysis), scale, analysis.reference, width)
        for width in (plots.WIDE, plots.NARROW)
    )
    which = over([each.spread for each in size.differences], THIN)
    said = f"Difference of every candidate from {analysis.reference}, with its 95 % interval {which}."
    said += " Hollow: not shown to differ."
    return Plot(f"Differences from {analysis.reference}", said, wide, narrow)


@plots.styled
def _differences(every: Sequence[Difference], numbers: Series, scale: Scale, reference: str, width: float) -> str:
    every = [each for each in every if each.spread.mean is not None]
    axes = plots.canvas(width, 40 * len(every) + 54, left=10, right=62, top=10, bottom=46)
    axes.axvline(0, color=plots.SOFT, linewidth=1.2)
    for i, each in enumerate(every):
        colour, shape = plots.colour(numbers[each.candidate]), plots.marker(numbers[each.candidate])
        _interval(axes, i, scale, each.spread.shown, bool(each.spread.interval), colour)
        inner = colour if each.finding in ("better", "worse") else plots.PAPER
        mean = scaled(scale, [each.spread.mean or 0.0])[0]
        axes.plot(mean, i, marker=shape, markersize=8, color=colour, linestyle="none", markerfacecolor=inner)
        drawings.label(axes, i, each.candidate, width)
        _beside(axes, i, scale.signed(each.spread.mean), each.spread.mean or 0.0)
    drawings.finished(
        axes, len(every), f"difference from {plots.shortened(reference, 24)}{', points' if scale.points else ''}"
    )
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.1 * (high - low)), max(high, 0.1 * (high - low)))
    return plots.drawn(
        axes, f"differences-{width}", f"Differences from {reference}: the table beside has every figure."
    )


@plots.styled
def price(cost: Price, analysis: Analysis, scale: Scale) -> Plot:
    """Scores over what they cost; the front joins those of which none is better at no higher cost."""
    title, written = PRICES[cost.cost]
    numbers = series(analysis)
    axes = plots.canvas(plots.PANEL, 270, left=46, right=16, top=26, bottom=42)
    axes.set_xscale("log")
    heights = dict(zip(cost.scores, scaled(scale, list(cost.scores.values())), strict=True))
    axes.step(
        [cost.costs[name] for name in cost.front],
        [heights[name] for name in cost.front],
        where="post",
        color=plots.LINE,
        linewidth=2.5,
    )
    spreads = {name: analysis.sizes[0].entry(name).spread for name in cost.costs}
    for name, spent in cost.costs.items():
        shape, colour = plots.marker(numbers[name]), plots.colour(numbers[name])
        if ends := scale.within(spreads[name].shown):
            axes.plot([spent, spent], scaled(scale, ends), color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(spent, heights[name], marker=shape, color=colour, markersize=8, linestyle="none")
    axes.margins(x=0.18, y=0.16)
    low, high = axes.get_xlim()
    # costs that are nearly the same look so
    low, high = min(low, (low * high / RANGE) ** 0.5), max(high, (low * high * RANGE) ** 0.5)
    axes.set_xlim(low, high)
    drawings.settled(axes)
    ticks = _ticks(low, high, time=cost.cost == "train_seconds")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: written(number)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y")
    axes.set_xlabel(title)
    drawings.above(axes, unit(analysis.metric, scale))
    _labels(axes, {name: (spent, heights[name]) for name, spent in cost.costs.items()}, numbers)
    said = f"Score over {title}. On the front: {', '.join(cost.front)}."
    return Plot(title[0].upper() + title[1:], said, plots.drawn(axes, cost.cost, said))


def _labels(axes: Axes, points: Mapping[str, tuple[float, float]], numbers: Series) -> None:
    """Names beside points, where each finds room: neither over another, nor over a point, nor beyond the axes."""
    at = {name: axes.transData.transform(point) for name, point in points.items()}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()]
    left, right = axes.transAxes.transform([(0, 0), (1, 0)])[:, 0]
    for name, (x, y) in at.items():
        text = plots.shortened(name, 16)
        wide = drawings.LETTER * len(text)
        places = [
            (8, -6),
            (-8 - wide, -6),
            (-wide / 2, 8),
            (-wide / 2, -20),
            (8, 8),
            (-8 - wide, 8),
            (8, -20),
            (-8 - wide, -20),
        ]
        boxes = [(x + dx, y + dy, x + dx + wide, y + dy + 12) for dx, dy in places]
        inside = [each for each in boxes if each[0] >= left + 2 and each[2] <= right + 14] or boxes
        free = next((each for each in inside if not any(_over(each, other) for other in taken)), inside[0])
        taken.append(free)
        across, up = axes.transAxes.inverted().transform((free[0], free[1] + 6))
        axes.text(across, up, text, color=plots.colour(numbers[name]), va="center", transform=axes.transAxes)


def _over(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ticks(low: float, high: float, time: bool, most: int = 4) -> list[float]:
    """Round numbers on a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    round_ones = [digit * 10.0**power for power in decades for digit in (1, 2, 3, 5)]
    if time:
        round_ones = [each for each in round_ones if each < 60] + [
            60 * each for each in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
        ]
        # what `duration` writes in whole minutes
        round_ones = [each for each in round_ones if each != 60] + [60.0]
    inside = sorted(each for each in set(round_ones) if low <= each <= high)
    return inside[:: max(1, math.ceil(len(inside) / most))]


def unit(metric: str, scale: Scale) -> str:
    """What an axis of scores is."""
    return words(metric) + (", points" if scale.points else "")


def words(metric: str) -> str:
    """A name as words."""
    return metric.replace("_", " ")


def _many(number: float | None) -> str:
    """A number of weights on an axis: "22 M"."""
    for unit, least in ((" B", 1e9), (" M", 1e6), (" k", 1e3)):
        if number is not None and number >= least:
            return f"{figures.figure(number / least)}{unit}"
    return figures.count(number)
