"""Mean absolute error."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Numbers


def mean_absolute_error(predictions: Numbers, references: Numbers) -> float:
    """Mean distance between predicted and true numbers, in their unit (of ordered labels: in classes); lower is better."""
    return float(np.abs(predictions - references).mean())
