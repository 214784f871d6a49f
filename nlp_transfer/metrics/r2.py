"""Coefficient of determination."""

from __future__ import annotations

from nlp_transfer.metrics import Numbers
from nlp_transfer.scratch import spans


def r2(predictions: Numbers, references: Numbers) -> float:
    """Share of the true numbers' variance that predictions explain: 1 is perfect, 0 as good as their mean, below worse.

    Where all true numbers are the same: 1 if all are met, else 0.
    """
    middle = references.mean()
    missed = sum(((true - answered) ** 2).sum() for answered, true in spans(predictions, references))
    spread = sum(((true - middle) ** 2).sum() for (true,) in spans(references))
    # of equal numbers the mean rounds, and the sum need not be 0
    varies = spread and references.min() < references.max()
    return float(1 - missed / spread) if varies else float(missed == 0)
