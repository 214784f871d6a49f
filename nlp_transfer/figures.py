"""Figures as a person reads them: bytes, seconds, counts, to three digits."""

from __future__ import annotations

from dataclasses import dataclass

NONE = "-"
"""What stands where there is no number."""


@dataclass(frozen=True)
class Scale:
    """How scores are written: those that end at 1 in points, which are hundredths; others as they are."""

    points: bool
    bounds: tuple[float, float] | None = None
    """The least and the most that a score can be, where it has bounds."""

    @property
    def unit(self) -> str:
        """What follows a difference."""
        return " points" if self.points else ""

    def score(self, value: float | None) -> str:
        """A score, a deviation or a size of a difference."""
        if value is None:
            return NONE
        # no minus before what is nothing
        return f"{round(100 * value, 2) + 0.0:.2f}" if self.points else f"{float(f'{value:.4g}') + 0.0:.4g}"

    def signed(self, value: float | None) -> str:
        """A difference, with its sign."""
        return self.score(value) if value is None or value <= 0 else f"+{self.score(value)}"

    def within(self, interval: tuple[float, float] | None) -> tuple[float, float] | None:
        """An interval of scores, cut where no score can be."""
        if interval is None or self.bounds is None:
            return interval
        least, most = self.bounds
        low, high = (min(max(end, least), most) for end in interval)
        return low, high

    def interval(self, interval: tuple[float, float] | None) -> str:
        """Both ends."""
        return NONE if interval is None else f"{self.score(interval[0])} to {self.score(interval[1])}"


def probability(p: float | None) -> str:
    """A p value; never a rounded nothing."""
    if p is None:
        return NONE
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.095 else f"{p:.2f}"


def size(count: float | None) -> str:
    """Bytes: "1.3 MB"."""
    if count is None:
        return NONE
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{_short(count / least)} {unit}"
    return f"{count:.0f} bytes"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours: "4.2 min"."""
    if seconds is None:
        return NONE
    for unit, least in (("h", 5400), ("min", 120)):
        if seconds >= least:
            return f"{_short(seconds / {'h': 3600, 'min': 60}[unit])} {unit}"
    return f"{_short(seconds)} s"


def count(number: float | None) -> str:
    """A number of weights or rows."""
    return NONE if number is None else f"{number:,.0f}"


def figure(number: float | None) -> str:
    """Any other figure, to three digits."""
    return NONE if number is None else _short(number)


def _short(number: float) -> str:
    """Three digits, and no power of ten."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{float(f'{number:.3g}'):g}"
