"""What to choose among: the candidates that a comparison recommends, held against the best of them and the best baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nlp_transfer.comparison.drawing import Scores
from nlp_transfer.comparison.statistics import Difference, differences


def claimants(held: Sequence[Difference], reference: str) -> list[str]:
    """Who may be the best: the candidates that are better than the reference; where none is, the reference and all that no
    test tells from it. None without a verdict on anything."""
    tested = [each for each in held if each.has_verdict]
    if not tested:
        return []
    better = [each.candidate for each in tested if each.finding == "better"]
    return better or [reference, *(each.candidate for each in tested if each.finding == "no detectable difference")]


def against_best(names: Sequence[str], scores: Mapping[str, Scores], higher: bool) -> list[Difference]:
    """Candidates held against the one of them that has the best mean.

    Which one that is comes from the same scores: Holm's family is all pairs of them.
    """
    if len(names) < 2:
        return []
    pairs = len(names) * (len(names) - 1) // 2
    return differences({name: scores[name] for name in names}, _best(names, scores, higher), higher, pairs)


def over_baseline(
    names: Sequence[str], scores: Mapping[str, Scores], baselines: Mapping[str, Scores], higher: bool
) -> list[Difference]:
    """Candidates held against the baseline of the best mean; one that knows no seed stands beside every seed.

    Which one that is comes from the same scores: Holm's family is every candidate with every baseline.
    """
    if not names or not baselines:
        return []
    best = _best(list(baselines), baselines, higher)
    other = baselines[best]
    seeds = sorted({seed for name in names for seed in scores[name].seeds})
    other = other.for_all(seeds) if len(other.seeds) == 1 else other
    family = len(names) * len(baselines)
    return differences({**{name: scores[name] for name in names}, best: other}, best, higher, family)


def _best(names: Sequence[str], scores: Mapping[str, Scores], higher: bool) -> str:
    return (max if higher else min)(names, key=lambda name: scores[name].scores.mean())
