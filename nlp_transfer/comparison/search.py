"""The search for a learning rate: the same number of trials for every candidate, on validation alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nlp_transfer.comparison.jobs import Line

STEP = 3.0
"""The next rate of the grid is so many times this one."""

WIDENINGS = 2
"""Trials beyond the grid, at most, where the best rate stands at its edge."""


@dataclass
class Search:
    """The search of one candidate at one training size."""

    middle: float
    """The method's default rate."""
    trials: int
    """Rates of the grid; 1: no search, the middle it is."""
    metric: str
    higher_is_better: bool
    scores: dict[float, float] = field(default_factory=dict)
    """By rate the validation score, of a trial that did not finish the worst there is."""

    def pending(self) -> list[float]:
        """The rates that are to be tried next: those of the grid, then one beyond the edge at which the best one stands."""
        if self.trials == 1:
            return []
        half = self.trials // 2
        grid = [self._rate(i) for i in range(-half, self.trials - half)]
        if left := [rate for rate in grid if rate not in self.scores]:
            return left
        best, beyond = self.best, len(self.scores) - self.trials
        if best is None or beyond >= WIDENINGS or not self.at_edge:
            return []
        # a trial beyond the grid that is no better ends the search, so that all of them lie on one side
        upwards = best == max(self.scores)
        return [self._rate(self.trials - half + beyond if upwards else -half - 1 - beyond)]

    def tell(self, rate: float, line: Line) -> None:
        """What came out of a trial."""
        score = (
            line["scores"].get("validation", {}).get(self.metric, math.nan)
            if line["status"] == "finished"
            else math.nan
        )
        self.scores[rate] = score if self.higher_is_better else -score

    @property
    def best(self) -> float | None:
        """The rate that validation likes best, of equally good ones the one nearest to the middle; None where no trial
        finished."""
        if self.trials == 1:
            return self.middle
        finished = [rate for rate, score in self.scores.items() if not math.isnan(score)]
        distance = {rate: abs(math.log(rate / self.middle)) for rate in finished}
        return max(finished, key=lambda rate: (self.scores[rate], -distance[rate]), default=None)

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the lowest or the highest of those tried, so that a better one may lie beyond."""
        return len(self.scores) > 1 and self.best in (min(self.scores), max(self.scores))

    def flags(self, label: str) -> list[str]:
        """What a reader must know of it."""
        if self.trials == 1 or self.best is None:
            return []
        found = []
        if (beyond := len(self.scores) - self.trials) > 0:
            found.append(f"{label}: the best rate stood at the edge of the grid, which was widened by {beyond}.")
        if self.at_edge:
            found.append(
                f"{label}: the best rate tried, {self.best:g}, is still the outermost; a better one may lie beyond."
            )
        return found

    def _rate(self, place: int) -> float:
        """The rate so many steps above the middle, to two digits."""
        return float(f"{self.middle * STEP**place:.2g}")
