"""Intervals of scores: as many draws as a run makes."""

from __future__ import annotations

import numpy as np
import pytest

from nlp_transfer.evaluation import intervals
from nlp_transfer.tasks.classification import Classification

DRAWS = 1000


@pytest.mark.parametrize(("rows", "most"), [(30, 30), (400, 400), (400, 100), (4000, 300)])
def test_the_interval_of_an_accuracy_is_that_of_a_binomial(
    rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "DRAWS", DRAWS)
    monkeypatch.setattr(intervals, "MOST", most)
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
