"""The statistics of a comparison: against references, by their properties, and by simulation."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from nlp_transfer.comparison.choosing import against_best
from nlp_transfer.comparison.drawing import DRAWS, Scores, draw
from nlp_transfer.comparison.statistics import (
    Variance,
    bootstrap,
    detectable,
    differences,
    spread,
    two_level_variance,
)
from nlp_transfer.metrics.macro_f1 import macro_f1

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import false_verdicts

SEEDS = (0, 1, 2, 3, 4)


def made(scores: list[float], deviation: float = 0.0, rows: int = 1000, seeds: tuple[int, ...] = SEEDS) -> Scores:
    """Scores by seed, of which other rows move all alike."""
    moved = deviation * np.random.default_rng(0).normal(size=(DRAWS, 1))
    return Scores(seeds, np.array(scores), np.array(scores) + moved, rows)


def crossed(generator: np.random.Generator, seeds: int, rows: int, seed: float, row: float, rest: float) -> np.ndarray:
    """Values (seeds, rows) with effects of seeds, of rows, and of both."""
    effects = seed * generator.normal(size=(seeds, 1)), row * generator.normal(size=(1, rows))
    return sum(effects) + rest * generator.normal(size=(seeds, rows))


row_weights = cache(false_verdicts.row_weights)


def drawn_again(values: np.ndarray) -> Scores:
    weights = row_weights(values.shape[1])
    return Scores(tuple(range(len(values))), values.mean(1), (values @ weights).T, values.shape[1])


def test_every_score_is_drawn_on_the_same_rows_whatever_the_metric() -> None:
    generator = np.random.default_rng(1)
    references = generator.integers(3, size=80)
    judged = {
        name: {seed: {"predictions": generator.integers(3, size=80), "references": references} for seed in seeds}
        for name, seeds in (("full", (0, 1, 2)), ("lora", (1, 2)))
    }
    both = {
        "macro_f1": lambda a: macro_f1(a["predictions"], a["references"]),
        "hits": lambda a: float(np.mean(a["predictions"] == a["references"])),
    }
    found = {name: draw(judged, lambda a: {each: of(a) for each, of in both.items()}, name, draws=30) for name in both}
    weights = false_verdicts.row_weights(80, draws=30)
    for name, seeds in judged.items():
        assert found["hits"][name].seeds == tuple(seeds)
        right = np.array([each["predictions"] == references for each in seeds.values()])
        np.testing.assert_allclose(found["hits"][name].drawn, (right @ weights).T, rtol=1e-5)
        expected = [macro_f1(each["predictions"], references) for each in seeds.values()]
        np.testing.assert_allclose(found["macro_f1"][name].scores, expected)
    # the same draw of rows: macro F1 of one run, drawn by hand
    picked = np.random.default_rng(0).integers(80, size=80)
    assert found["macro_f1"]["lora"].drawn[0, 0] == macro_f1(
        judged["lora"][1]["predictions"][picked], references[picked]
    )


def test_rows_that_others_do_not_have_are_refused() -> None:
    judged = {"a": {0: {"x": np.ones(5)}}, "b": {3: {"x": np.ones(4)}}}
    with pytest.raises(ValueError, match="b, seed 3: its arrays do not have the 5 rows"):
        draw(judged, lambda a: {"mean": float(a["x"].mean())}, "mean")
    with pytest.raises(ValueError, match="a, seed 0: mean is no number"):
        draw({"a": {0: {"x": np.full(5, np.nan)}}}, lambda a: {"mean": float(a["x"].mean())}, "mean")


@pytest.mark.parametrize(("seed", "row", "rest"), [(1.0, 2.0, 3.0), (0.0, 1.0, 2.0), (0.5, 0.0, 1.0), (0.3, 3.0, 0.0)])
def test_the_two_level_variance_is_that_of_the_mean(seed: float, row: float, rest: float) -> None:
    generator = np.random.default_rng(3)
    true = seed**2 / 5 + row**2 / 60 + rest**2 / (5 * 60)
    found = [two_level_variance(drawn_again(crossed(generator, 5, 60, seed, row, rest))) for _ in range(200)]
    mean = np.mean([each.error**2 for each in found])
    # cut at zero, the part of the seeds is a little too large
    assert 0.9 * true < mean < 1.25 * true


def test_the_t_interval_over_seeds_is_scipys() -> None:
    scores = [0.81, 0.84, 0.79, 0.85, 0.82]
    expected = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert spread(made(scores)).over_seeds == pytest.approx(tuple(expected))


def test_without_row_noise_the_test_is_the_paired_t_test_and_holm_is_that_of_statsmodels() -> None:
    full, one, two = [0.8, 0.82, 0.81, 0.83, 0.80], [0.79, 0.84, 0.83, 0.85, 0.81], [0.7, 0.75, 0.71, 0.72, 0.70]
    found = differences({"full": made(full), "one": made(one), "two": made(two)}, "full")
    expected = [stats.ttest_rel(other, full).pvalue for other in (one, two)]
    assert [each.p for each in found] == pytest.approx(expected)
    assert [each.adjusted_p for each in found] == pytest.approx(multipletests(expected, method="holm")[1])
    assert found[0].effect_size == pytest.approx(
        np.mean(np.subtract(one, full)) / np.std(np.subtract(one, full), ddof=1)
    )
    assert [each.finding for each in found] == ["no detectable difference", "worse"]


def test_differences_that_only_rounding_tells_apart_have_no_effect_size() -> None:
    full = [0.05, 0.6, 0.7, 0.3, 0.1]
    (found,) = differences({"full": made(full), "one": made([each + 0.2 for each in full])}, "full")
    assert found.spread.deviation
    assert found.effect_size is None


def test_comparisons_that_were_not_made_count_in_the_family_of_one_whose_reference_was_chosen() -> None:
    full, one, two = [0.8, 0.82, 0.81, 0.83, 0.80], [0.79, 0.84, 0.83, 0.85, 0.81], [0.7, 0.75, 0.71, 0.72, 0.70]
    scores = {"full": made(full), "one": made(one), "two": made(two)}
    found = against_best(list(scores), scores, higher=True)
    assert [(each.candidate, each.reference) for each in found] == [("full", "one"), ("two", "one")]
    p = [stats.ttest_rel(other, one).pvalue for other in (full, two)]
    assert [each.adjusted_p for each in found] == pytest.approx(multipletests([*p, 1.0], method="holm")[1][:2])
    assert found[0].adjusted_p == pytest.approx(2 * p[0])
    assert against_best(["one"], scores, higher=True) == []
    assert {each.reference for each in against_best(list(scores), scores, higher=False)} == {"two"}


def test_where_lower_is_better_less_is_better() -> None:
    errors = {"full": made([0.8, 0.82, 0.81, 0.83, 0.80]), "two": made([0.7, 0.75, 0.71, 0.72, 0.70])}
    assert differences(errors, "full", higher_is_better=False)[0].finding == "better"


def test_pairs_are_of_the_seeds_that_both_have_and_fewer_than_five_are_no_verdict() -> None:
    full = made([0.5, 0.6, 0.7, 0.8, 0.9, 0.4], seeds=(0, 1, 2, 3, 4, 5))
    few = made([0.1, 0.2, 0.3, 0.4], seeds=(1, 3, 5, 7))
    enough = made([0.2, 0.3, 0.4, 0.5, 0.0], seeds=(1, 2, 3, 4, 5))
    found = {each.candidate: each for each in differences({"full": full, "few": few, "enough": enough}, "full")}
    assert found["few"].spread.seeds == (1, 3, 5)
    assert found["few"].spread.scores == pytest.approx((-0.5, -0.6, -0.1))
    assert (found["few"].finding, found["few"].p, found["few"].detectable) == ("too few seeds", None, None)
    assert found["enough"].finding == "worse"
    assert found["enough"].p == found["enough"].adjusted_p, "what has no verdict is no part of Holm's family"


def test_fewer_than_fifty_rows_are_no_verdict() -> None:
    scores = {"full": made([0.9] * 5, rows=49), "head": made([0.1, 0.2, 0.1, 0.2, 0.1], rows=49)}
    assert differences(scores, "full")[0].finding == "too few rows"


def test_no_difference_of_nothing_at_all_would_have_shown() -> None:
    alike = [detectable(Variance(each, 0.0, 0.0, 4, 89), 90) for each in (0.0, 1e-30, 1e-9)]
    assert alike == pytest.approx([alike[1]] * 3, abs=1e-4)
    assert alike[0] > 0.1


def test_the_same_answers_are_no_difference() -> None:
    scores = made([0.8, 0.7, 0.9, 0.8, 0.8], deviation=0.01)
    found = differences({"full": scores, "twin": scores}, "full")[0]
    assert (found.p, found.finding, found.spread.interval, found.effect_size) == (
        1.0,
        "no detectable difference",
        (0, 0),
        None,
    )


def test_one_seed_and_none() -> None:
    alone = spread(made([0.8], deviation=0.02, seeds=(0,)))
    assert (alone.mean, alone.deviation, alone.interval, alone.over_seeds) == (0.8, None, None, None)
    assert alone.bootstrap == pytest.approx((0.8 - 0.039, 0.8 + 0.039), abs=0.004)
    assert spread(made([], seeds=())).mean is None


def test_the_bootstrap_holds_seeds_and_rows() -> None:
    generator = np.random.default_rng(0)
    scores = drawn_again(crossed(generator, 200, 400, 1.0, 2.0, 1.0))
    low, high = bootstrap(scores)
    # percentiles of 1,000 draws vary by some percent
    assert (high - low) / 2 == pytest.approx(1.96 * two_level_variance(scores).error, rel=0.1)
    rows_alone = np.quantile(scores.drawn.mean(1), 0.975) - scores.scores.mean()
    assert (high - low) / 2 > 1.1 * rows_alone


@pytest.mark.parametrize("candidates", [1, 4])
def test_what_would_have_shown_is_what_statsmodels_solves_for(candidates: int) -> None:
    # variance of seeds alone: as many degrees of freedom as a t test has
    variance = Variance(seeds=0.01**2, rows=0.0, between=0.01**2, seed_degrees=7, row_degrees=999)
    expected = TTestPower().solve_power(nobs=8, alpha=0.05 / candidates, power=0.9) * 8**0.5 * 0.01
    assert detectable(variance, None, candidates) == pytest.approx(expected, rel=1e-4)


def test_a_difference_of_shares_takes_rows_that_differ() -> None:
    variance = Variance(seeds=0.0, rows=1e-9, between=0.0, seed_degrees=4, row_degrees=99)
    found = detectable(variance, 100)
    square = (stats.t.isf(0.025, 99) + stats.t.isf(0.1, 99)) ** 2
    assert found == pytest.approx(square / 100 / (1 + square / 100), rel=0.02)
    assert detectable(variance, None) < 0.001


def test_more_candidates_take_a_larger_difference() -> None:
    variance = Variance(seeds=1e-4, rows=1e-4, between=1e-4, seed_degrees=4, row_degrees=499)
    assert detectable(variance, 500, 1) < detectable(variance, 500, 4) < detectable(variance, 500, 10)


@pytest.mark.slow
@pytest.mark.parametrize("world", ["rows differ", "seeds differ"])
def test_false_verdicts_are_rare_and_true_differences_are_found(world: str) -> None:
    setting = false_verdicts.Setting(5, 300, **false_verdicts.WORLDS[world])
    found = false_verdicts.measured(setting, comparisons=300, seed=7)
    # of 300 comparisons at a true 5 % in 99 of 100 cases at most 25 are false
    assert found["false_verdicts"]["two-level t"] <= 25 / 300
    assert found["found"] >= 0.87
    assert found["false_verdicts"]["bootstrap over rows"] > found["false_verdicts"]["two-level t"]
