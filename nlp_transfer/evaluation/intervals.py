"""How sure a score is: intervals by drawing the rows again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from nlp_transfer import scratch
from nlp_transfer.rows import SPAN, touched
from nlp_transfer.tasks import Task

DRAWS = 1000
"""Bootstrap samples."""


def bootstrap(task: Task, judged: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of every score, by a bootstrap over rows (Efron 1979).

    They say how much the score would vary over other rows of this kind; not how much it varies over seeds.
    """
    rows = len(next(iter(judged.values())))
    empty = np.empty if rows <= SPAN else scratch.table
    room = {key: empty(values.shape, values.dtype) for key, values in judged.items()}
    generator = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        for start, drawn in drawn_rows(rows, generator):
            for key, values in judged.items():
                np.take(values, drawn, axis=0, out=room[key][start : start + len(drawn)], mode="clip")
        for name, score in task.metrics(room).items():
            draws.setdefault(name, []).append(score)
    return {
        name: (float(np.quantile(scores, 0.025)), float(np.quantile(scores, 0.975))) for name, scores in draws.items()
    }


def drawn_rows(rows: int, generator: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """As many numbers of rows as there are rows, each drawn from all of them, some after the other.

    Of many, it is drawn first how many come from which span of rows, and then which: so each span is read once.
    """
    if rows <= SPAN:
        yield 0, generator.integers(rows, size=rows)
        return
    edges = np.append(np.arange(0, rows, SPAN), rows)
    begun = 0
    for i, count in enumerate(generator.multinomial(rows, np.diff(edges) / rows)):
        yield begun, generator.integers(edges[i], edges[i + 1], size=count)
        begun += count
        touched(SPAN)
