"""Intervals of scores: as many draws as a run makes."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_transfer.evaluation import intervals
from nlp_transfer.tasks.classification import Classification

DRAWS = 1000


@pytest.mark.parametrize(("rows", "span"), [(30, 64), (400, 400), (400, 64), (4000, 999)])
def test_the_interval_of_an_accuracy_is_that_of_a_binomial(
    rows: int, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "DRAWS", DRAWS)
    monkeypatch.setattr(intervals, "SPAN", span)
    right = round(0.8 * rows)
    references = np.arange(rows) % 2
    given = np.where(np.arange(rows) < right, references, 1 - references)
    judged = {"probabilities": np.eye(2)[given] * 0.8 + 0.1, "references": references}
    task = Classification(classes=("no", "yes"))
    found = intervals.bootstrap(task, judged)
    assert found.keys() == task.metrics(judged).keys()
    # the quantiles of Binomial(rows, 0.8), which the draws are from, to within what 1,000 of them tell of a tail
    drawn = np.random.default_rng(7).binomial(rows, right / rows, 10**6) / rows
    assert found["accuracy"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1.5 / rows + 0.005)
    assert intervals.bootstrap(task, judged) == found
    assert intervals.bootstrap(task, judged, seed=1) != found


def test_rows_of_many_are_drawn_from_all_equally() -> None:
    generator, counts = np.random.default_rng(0), np.zeros(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "SPAN", 32)
        for _ in range(2000):
            starts, drawn = zip(*intervals.drawn_rows(100, generator), strict=True)
            assert [*starts, 100] == np.cumsum([0, *map(len, drawn)]).tolist()
            counts += np.bincount(np.concatenate(drawn), minlength=100)
    # 2,000 times a hundred draws: each row comes 2,000 times, give or take the root
    assert np.abs(counts - 2000).max() < 5 * 2000**0.5
    assert counts.std() == pytest.approx(2000**0.5, rel=0.3)
