"""How sure a score is: intervals by drawing the rows again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nlp_transfer.scratch import taken
from nlp_transfer.tasks import Task

DRAWS = 1000
"""Bootstrap samples."""

MOST = 2**16
"""Rows that are drawn at most."""


def bootstrap(task: Task, judged: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of every score, by a bootstrap over rows (Efron 1979).

    They say how much the score would vary over other rows of this kind; not how much it varies over seeds. Of n rows, more
    than `MOST`, only m = `MOST` are drawn: scores of m rows vary sqrt(n / m) times as much as those of n, so that the
    interval is the score with as many times narrower quantiles around it (m out of n; Bickel, Goetze, van Zwet 1997).
    """
    rows = len(next(iter(judged.values())))
    drawn_rows = min(rows, MOST)
    generator = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        drawn = generator.integers(rows, size=drawn_rows)
        if drawn_rows < rows:
            drawn.sort()  # as they lie on the disk
        for name, score in task.metrics({key: taken(values, drawn) for key, values in judged.items()}).items():
            draws.setdefault(name, []).append(score)
    found = {
        name: (float(np.quantile(scores, 0.025)), float(np.quantile(scores, 0.975))) for name, scores in draws.items()
    }
    if drawn_rows == rows:
        return found
    narrower, scores = float(np.sqrt(drawn_rows / rows)), task.metrics(judged)
    middle = {name: float(np.mean(each)) for name, each in draws.items()}
    return {
        name: (scores[name] + narrower * (low - middle[name]), scores[name] + narrower * (high - middle[name]))
        for name, (low, high) in found.items()
    }
