"""The search for a learning rate."""

from __future__ import annotations

import math

import pytest

from nlp_transfer.comparison.search import WIDENINGS, Search


def searched(search: Search, scores: dict[float, float]) -> list[list[float]]:
    """Tell scores until nothing is pending; gives what was pending each time."""
    asked = []
    while pending := search.pending():
        asked.append(pending)
        for rate in pending:
            status = "diverged" if math.isnan(scores[rate]) else "finished"
            search.tell(rate, {"status": status, "scores": {"validation": {"accuracy": scores[rate]}}})
    return asked


def test_the_grid_stands_around_the_default() -> None:
    search = Search(1e-3, 3, "accuracy", True)
    assert searched(search, {3.3e-4: 0.7, 1e-3: 0.9, 3e-3: 0.8}) == [[3.3e-4, 1e-3, 3e-3]]
    assert search.best == 1e-3
    assert not search.at_edge
    assert search.flags("lora") == []


@pytest.mark.parametrize(("trials", "rates"), [(2, [3.3e-4, 1e-3]), (4, [1.1e-4, 3.3e-4, 1e-3, 3e-3]), (5, 9e-3)])
def test_so_many_trials_are_asked_for(trials: int, rates: object) -> None:
    pending = Search(1e-3, trials, "accuracy", True).pending()
    assert len(pending) == trials
    assert 1e-3 in pending
    assert pending == rates or pending[-1] == rates


def test_a_best_value_at_the_edge_widens_the_grid_until_it_stands_inside() -> None:
    search = Search(1e-3, 3, "accuracy", True)
    scores = {3.3e-4: 0.5, 1e-3: 0.6, 3e-3: 0.8, 9e-3: 0.7}
    assert searched(search, scores) == [[3.3e-4, 1e-3, 3e-3], [9e-3]]
    assert search.best == 3e-3
    assert search.flags("lora") == ["lora: the best rate stood at the edge of the grid, which was widened by 1."]


def test_widening_is_bounded_and_flagged() -> None:
    search = Search(1e-3, 3, "loss", False)
    falling = {3e-3: 0.9, 1e-3: 0.8, 3.3e-4: 0.7, 1.1e-4: 0.6, 3.7e-5: 0.5}
    for rate, loss in falling.items():
        falling[rate] = loss
    while pending := search.pending():
        for rate in pending:
            search.tell(rate, {"status": "finished", "scores": {"validation": {"loss": falling[rate]}}})
    assert len(search.scores) == 3 + WIDENINGS
    assert search.best == 3.7e-5
    assert "still the outermost" in search.flags("lora")[-1]


def test_a_trial_that_diverged_never_wins_and_is_no_reason_to_go_on() -> None:
    search = Search(1e-3, 3, "accuracy", True)
    assert searched(search, {3.3e-4: 0.5, 1e-3: 0.9, 3e-3: math.nan}) == [[3.3e-4, 1e-3, 3e-3]]
    assert search.best == 1e-3


def test_without_a_finished_trial_there_is_no_rate() -> None:
    search = Search(1e-3, 3, "accuracy", True)
    assert searched(search, dict.fromkeys([3.3e-4, 1e-3, 3e-3], math.nan)) == [[3.3e-4, 1e-3, 3e-3]]
    assert search.best is None
    assert search.flags("lora") == []


def test_equally_good_rates_leave_the_default() -> None:
    search = Search(1e-3, 3, "accuracy", True)
    searched(search, dict.fromkeys([3.3e-4, 1e-3, 3e-3], 0.5))
    assert search.best == 1e-3


def test_one_trial_is_no_search() -> None:
    search = Search(1e-3, 1, "accuracy", True)
    assert search.pending() == []
    assert search.best == 1e-3
