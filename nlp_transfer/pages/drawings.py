"""Drawings: curves with their names beside them, rows of dots, answers held against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from nlp_transfer.figures import Scale
from nlp_transfer.pages import plots

LETTER = 6.4
"""Pixels that a letter is wide, about."""

PILE = 9.0
"""Pixels from one mark to the next where they would hide each other."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve of one series."""

    name: str
    series: int
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[Interval | None] = ()
    chosen: int | None = None
    """Which of its points is ringed."""


def scaled(scale: Scale, numbers: Sequence[float]) -> list[float]:
    """Scores as they are written: in points where that is so."""
    return [number * (100 if scale.points else 1) for number in numbers]


@plots.styled
def curves(
    lines: Sequence[Line],
    name: str,
    said: str,
    x: str,
    y: str,
    ticks: Sequence[float] = (),
    written: Callable[[float], str] | None = None,
    log: bool = False,
    height: float = 250,
) -> str:
    """Curves over one axis, each with its name at its end.

    Args:
        lines: the curves.
        name: of the drawing.
        said: what it shows, in words.
        x: what the lower axis is.
        y: what the other is.
        ticks: of the lower axis; none: found.
        written: how these are written.
        log: whether it is logarithmic.
        height: pixels.
    """
    named = [plots.shortened(line.name) for line in lines]
    right = 14 + LETTER * max((len(each) for each in named if len(lines) > 1), default=0)
    axes = plots.canvas(plots.PANEL, height, left=42, right=right, top=26)
    for line in lines:
        _curve(axes, line)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if ticks:
        axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    elif not log:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    if written is not None:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: written(number)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.06, y=0.08)
    axes.grid(axis="y")
    axes.set_xlabel(x)
    above(axes, y)
    if len(lines) > 1:
        _names(axes, lines, named)
    return plots.drawn(axes, name, said)


def _curve(axes: Axes, line: Line) -> None:
    colour = plots.colour(line.series)
    many = len(line.x) > 12
    axes.plot(line.x, line.y, color=colour, marker=None if many else plots.marker(line.series), markersize=5)
    if line.chosen is not None:
        place = line.x[line.chosen], line.y[line.chosen]
        axes.plot(*place, marker="o", markersize=12, fillstyle="none", color=colour, linestyle="none")
    for at, interval in zip(line.x, line.intervals, strict=False):
        if interval:
            axes.plot([at, at], interval, color=colour, linewidth=1.2)


def above(axes: Axes, title: str) -> None:
    """What the upright axis is, above it and not across."""
    axes.annotate(
        title, (0, 1), (-36, 10), xycoords="axes fraction", textcoords="offset pixels", color=plots.SOFT, va="bottom"
    )


def _names(axes: Axes, lines: Sequence[Line], named: Sequence[str]) -> None:
    """The names of curves at their ends, one below the other."""
    settled(axes)
    low, high = axes.transAxes.transform([(0, 0), (1, 1)])[:, 1]
    ends = [axes.transData.transform((line.x[-1], line.y[-1])) for line in lines]
    right = axes.transAxes.transform((1, 0))[0] + 6
    places = plots.apart([float(end[1]) for end in ends], plots.TEXT + 2, float(low), float(high))
    for line, text, place in zip(lines, named, places, strict=True):
        across, up = axes.transAxes.inverted().transform((right, place))
        colour = plots.colour(line.series)
        axes.text(across, up, text, color=colour, va="center", transform=axes.transAxes)


def settled(axes: Axes) -> None:
    """Find the limits of axes, on which the places of labels depend."""
    axes.get_xlim()
    axes.get_ylim()


@dataclass(frozen=True)
class Dots:
    """A row of a drawing: a name, and the dots of some series."""

    name: str
    dots: Mapping[int, float]
    """By series."""


@plots.styled
def rows_of_dots(rows: Sequence[Dots], name: str, said: str, x: str, width: float) -> str:
    """Names one below the other, and beside each the dots of all series on a line; what would be hidden stands below it."""
    side, step = (10.0, 14.0), 34
    every = [value for row in rows for value in row.dots.values()]
    low, high = _widened(min(every), max(every))
    pixels = (width - sum(side)) / (high - low)
    levels = [piled([value * pixels for value in row.dots.values()]) for row in rows]
    # rows are as far apart as their piles are high
    at = [i + PILE / step * sum(max(each) for each in levels[:i]) for i in range(len(rows))]
    deep = at[-1] + PILE / step * max(levels[-1]) + 1
    axes = plots.canvas(width, step * deep + 54, left=side[0], right=side[1], top=8, bottom=46)
    axes.set_xlim(low, high)
    for row, place, its in zip(rows, at, levels, strict=True):
        values = list(row.dots.values())
        axes.plot([min(values), max(values)], [place] * 2, color=plots.LINE, linewidth=3, solid_capstyle="round")
        for (series, value), level in zip(row.dots.items(), its, strict=True):
            down = place + level * PILE / step
            axes.plot(value, down, marker=plots.marker(series), color=plots.colour(series), linestyle="none")
        label(axes, place, row.name, width)
    finished(axes, deep, x)
    return plots.drawn(axes, name, said)


def piled(places: Sequence[float]) -> list[int]:
    """For marks at so many pixels of one line how many stand between each and the line, so that none hides another."""
    levels: list[int] = []
    for i, place in enumerate(places):
        near = {levels[j] for j in range(i) if abs(places[j] - place) < PILE}
        levels.append(next(level for level in range(len(places)) if level not in near))
    return levels


def _widened(low: float, high: float) -> Interval:
    """The ends of an axis on which numbers stand between two."""
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def label(axes: Axes, row: float, name: str, width: float, colour: str = plots.INK) -> None:
    """The name of a row, above its line, so that long ones have room."""
    text = plots.shortened(name, int((width - 80) / LETTER))
    axes.annotate(
        text,
        (0, row),
        (0, 8),
        xycoords=("axes fraction", "data"),
        textcoords="offset pixels",
        color=colour,
        va="bottom",
        # no line runs through letters
        bbox={"facecolor": plots.PAPER, "edgecolor": "none", "pad": 1},
    )


def finished(axes: Axes, rows: float, x: str) -> None:
    """The axes of rows that read from the top down."""
    axes.set_ylim(rows - 0.5, -0.85)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x")
    axes.set_xlabel(x)


@plots.styled
def against_truth(truth: Sequence[float], answers: Sequence[float], name: str, said: str) -> str:
    """Answers that are numbers over what is true; right ones lie on the line."""
    axes = plots.canvas(plots.PANEL, 330, left=48, right=14, top=26)
    ends = [min(*truth, *answers), max(*truth, *answers)]
    axes.plot(ends, ends, color=plots.LINE, linewidth=1.5)
    axes.plot(truth, answers, marker="o", markersize=4, color=plots.colour(0), alpha=0.55, linestyle="none")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid()
    axes.set_xlabel("truth")
    above(axes, "answer")
    return plots.drawn(axes, name, said)
