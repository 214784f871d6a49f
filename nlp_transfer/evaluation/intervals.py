"""How sure a score is: intervals by drawing the rows again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nlp_transfer.tasks import Task

DRAWS = 1000
"""Bootstrap samples."""


def bootstrap(task: Task, judged: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of every score, by a bootstrap over rows (Efron 1979).

    They say how much the score would vary over other rows of this kind; not how much it varies over seeds.
    """
    rows = len(next(iter(judged.values())))
    generator = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        drawn = generator.integers(rows, size=rows)
        for name, score in task.metrics({key: values[drawn] for key, values in judged.items()}).items():
            draws.setdefault(name, []).append(score)
    return {
        name: (float(np.quantile(scores, 0.025)), float(np.quantile(scores, 0.975))) for name, scores in draws.items()
    }
