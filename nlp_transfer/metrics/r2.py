"""Coefficient of determination."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Numbers


def r2(predictions: Numbers, references: Numbers) -> float:
    """Share of the true numbers' variance that predictions explain: 1 is perfect, 0 as good as their mean, below worse.

    Where all true numbers are the same: 1 if all are met, else 0.
    """
    missed = np.sum((references - predictions) ** 2)
    spread = np.sum((references - references.mean()) ** 2)
    return float(1 - missed / spread) if spread else float(missed == 0)
