"""Statistics of a comparison: how sure means and differences are, over other seeds and over other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from nlp_transfer.comparison.drawing import Scores

ALPHA = 0.05
"""How often one or more of the methods may be called different though none is; intervals hold 1 - ALPHA."""

POWER = 0.9
"""How often the smallest detectable difference would be found."""

LEAST_SEEDS = 5
"""Pairs of seeds from which a verdict is drawn."""

LEAST_ROWS = 50
"""Test rows from which a verdict is drawn: with fewer, a handful of them decides."""

SETTLED = 20
"""Rounds in which a difference and the variance that it brings settle."""

ROUNDING = 1e-12
"""A deviation below this much of the mean, or of 1, is how floats are rounded."""

Interval = tuple[float, float]

BOUNDS: Mapping[str, Interval] = {
    **dict.fromkeys(("accuracy", "f1", "micro_f1", "macro_f1", "weighted_f1", "exact_match"), (0.0, 1.0)),
    **dict.fromkeys(("pearson_correlation", "spearman_correlation", "matthews_correlation"), (-1.0, 1.0)),
}
"""The least and the most that scores can be: a t interval of few seeds knows nothing of it."""

Finding = Literal["better", "worse", "no detectable difference", "too few seeds", "too few rows"]


@dataclass(frozen=True)
class Variance:
    """The variance of a mean over seeds and rows, both of which are drawn, in its parts."""

    seeds: float
    """Of other seeds, on any rows."""
    rows: float
    """Of other rows, with these seeds."""
    between: float
    """Of the scores between seeds, over their number: with what seeds do to single rows."""
    seed_degrees: int
    row_degrees: int

    @property
    def error(self) -> float:
        """The standard error."""
        return float((self.seeds + self.rows) ** 0.5)

    @property
    def degrees(self) -> float:
        """Degrees of freedom: the harmonic mean of those of seeds and rows, weighted by their shares of the variance.

        Satterthwaite (1946) weights by squares of these shares, which calls too much different where there are five seeds
        and most of the variance is theirs.
        """
        inverse = self.between / self.seed_degrees + self.rows / self.row_degrees
        found = (self.seeds + self.rows) / inverse if inverse else 0.0
        return max(found, float(self.seed_degrees))


@dataclass(frozen=True)
class Spread:
    """The mean over seeds, and how sure it is; None where there are too few seeds or rows to say."""

    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    mean: float | None
    deviation: float | None
    """Over seeds."""
    interval: Interval | None
    """95 %, over seeds and rows: t with the two-level variance."""
    bootstrap: Interval | None
    """95 %, percentiles of a bootstrap over seeds and rows; of one seed, over rows alone."""
    over_seeds: Interval | None
    """95 %, t over seeds: for these very rows."""
    variance: Variance | None
    """Of the mean, over seeds and rows."""

    @property
    def shown(self) -> Interval | None:
        """The interval that a plot shows: over seeds and rows; of one seed, over rows alone."""
        return self.interval or self.bootstrap


@dataclass(frozen=True)
class Difference:
    """A candidate held against a reference: same seeds, same rows."""

    candidate: str
    reference: str
    spread: Spread
    """Of the candidate's score less the reference's."""
    p: float | None
    """Two-sided, from a t test with the two-level variance."""
    adjusted_p: float | None
    """After Holm (1979) over all candidates that have a verdict."""
    effect_size: float | None
    """d_z: the mean of the differences over their deviation over seeds (Cohen 1988, chapter 2.3.5; Lakens 2013, formula 6)."""
    detectable: float | None
    """The smallest difference that so many seeds and rows show with 90 % power: `detectable`."""
    finding: Finding

    @property
    def has_verdict(self) -> bool:
        """Whether there were seeds and rows enough to test."""
        return self.adjusted_p is not None

    @property
    def interval_alone(self) -> bool:
        """Whether the interval excludes zero where the test over all methods finds nothing."""
        low, high = self.spread.interval or (0.0, 0.0)
        return self.finding == "no detectable difference" and (low > 0 or high < 0)


def spread(scores: Scores) -> Spread:
    """Mean, deviation and intervals of scores, or of differences."""
    seeds = len(scores.seeds)
    values = tuple(float(value) for value in scores.scores)
    if not seeds:
        return Spread((), (), None, None, None, None, None, None)
    mean = float(scores.scores.mean())
    percentiles = bootstrap(scores)
    if seeds == 1:
        return Spread(scores.seeds, values, mean, None, None, percentiles, None, None)
    deviation = float(scores.scores.std(ddof=1))
    over_seeds = _around(mean, deviation / seeds**0.5, seeds - 1)
    variance = two_level_variance(scores)
    around = _around(mean, variance.error, variance.degrees)
    return Spread(scores.seeds, values, mean, deviation, around, percentiles, over_seeds, variance)


def two_level_variance(scores: Scores) -> Variance:
    """The variance of the mean of two seeds' scores or more.

    Seeds and rows are crossed random effects: with S seeds and n rows the mean has the variance
    `seed / S + row / n + rest / (S n)`. The variance of the scores over seeds, divided by S, has the first and the last part;
    that of the mean over seeds on rows drawn again the last two. The last part, which would count twice, is what is left
    between the variance over rows of single seeds and that of their mean.
    """
    seeds, rows = len(scores.seeds), scores.rows
    unbiased = rows / max(rows - 1, 1)
    of_mean = unbiased * float(scores.drawn.mean(1).var(ddof=1))
    of_single = unbiased * float(scores.drawn.var(0, ddof=1).mean())
    between = float(scores.scores.var(ddof=1)) / seeds
    rest = max(of_single - of_mean, 0.0) / (seeds - 1)
    return Variance(max(between - rest, 0.0), of_mean, between, seeds - 1, max(rows - 1, 1))


def bootstrap(scores: Scores, seed: int = 0) -> Interval:
    """Percentiles of means over seeds drawn again on rows drawn again (Owen 2007 calls it the pigeonhole bootstrap).

    Too narrow for a verdict where there are few seeds: of five, drawn with replacement, it sees four fifths of the variance.
    """
    draws, seeds = scores.drawn.shape
    picked = np.random.default_rng(seed).integers(seeds, size=(draws, seeds))
    means = np.take_along_axis(scores.drawn, picked, axis=1).mean(1)
    low, high = np.quantile(means, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def detectable(variance: Variance, rows: int | None, candidates: int = 1) -> float:
    """The smallest difference that is found with 90 % power, at the level that Holm asks of the first of the candidates.

    The standard error times the noncentrality at which a t variable with these degrees of freedom exceeds its critical value at
    ALPHA / candidates, two-sided, nine times of ten (Cohen 1988; what statsmodels' TTestPower solves for). Where scores are
    shares of so many `rows`, a difference D cannot be without rows that differ: their part of the variance is taken to be
    at least D (1 - D) / rows, what it is where all of them speak for the same side (as in McNemar's test, 1947).
    """
    found = _found_at(variance, candidates)
    if rows is None:
        return found
    found = max(found, 1 / rows)  # where no row differs, one may
    for _ in range(SETTLED):
        least = min(found, 1.0) * (1 - min(found, 1.0)) / rows
        found = _found_at(replace(variance, rows=max(variance.rows, least)), candidates)
    return found


def _found_at(variance: Variance, candidates: int) -> float:
    critical = stats.t.isf(ALPHA / (2 * candidates), variance.degrees)
    return float(variance.error * special.nctdtrinc(variance.degrees, 1 - POWER, critical))


def differences(
    scores: Mapping[str, Scores], reference: str, higher_is_better: bool = True, family: int = 0
) -> list[Difference]:
    """Every other candidate held against a reference, on the seeds that both have.

    A candidate with fewer than LEAST_SEEDS pairs, and every one where there are fewer than LEAST_ROWS test rows, has no
    verdict and is no part of the family over which Holm corrects. Where the reference was chosen by its scores, `family` is
    how many comparisons could have been made: those that were not count as the least significant.
    """
    pairs = {name: each.less(scores[reference]) for name, each in scores.items() if name != reference}
    shares = higher_is_better and all(np.abs(each.scores).max(initial=0) <= 1 for each in scores.values())
    rows = scores[reference].rows if shares else None
    spreads = {name: spread(pair) for name, pair in pairs.items()}
    tested = [name for name, pair in pairs.items() if _enough(pair) is None]
    p = {name: _p(spreads[name]) for name in tested}
    others = [1.0] * (family - len(tested))
    adjusted = multipletests([*p.values(), *others], ALPHA, method="holm")[1] if p else ()
    corrected = dict(zip(tested, map(float, adjusted), strict=False))
    found = []
    for name, pair in pairs.items():
        its = spreads[name]
        finding = _enough(pair) or _finding(its, corrected[name], higher_is_better)
        least = detectable(its.variance, rows, len(adjusted)) if name in p and its.variance else None
        tests = p.get(name), corrected.get(name), _effect_size(its), least
        found.append(Difference(name, reference, its, *tests, finding))
    return found


def _enough(pair: Scores) -> Finding | None:
    """Why no verdict can be drawn; None where one can."""
    if len(pair.seeds) < LEAST_SEEDS:
        return "too few seeds"
    return "too few rows" if pair.rows < LEAST_ROWS else None


def _finding(its: Spread, adjusted_p: float, higher_is_better: bool) -> Finding:
    if adjusted_p >= ALPHA:
        return "no detectable difference"
    return "better" if ((its.mean or 0.0) > 0) == higher_is_better else "worse"


def _p(its: Spread) -> float:
    assert its.mean is not None
    assert its.variance is not None
    if not its.variance.error:
        return 0.0 if its.mean else 1.0
    return float(2 * stats.t.sf(abs(its.mean) / its.variance.error, its.variance.degrees))


def _effect_size(its: Spread) -> float | None:
    """None where the seeds do not differ: what is left then is how floats are rounded."""
    if its.mean is None or its.deviation is None or its.deviation <= ROUNDING * max(1.0, abs(its.mean)):
        return None
    return its.mean / its.deviation


def _around(mean: float, error: float, degrees: float) -> Interval:
    half = float(stats.t.isf(ALPHA / 2, degrees)) * error
    return mean - half, mean + half
