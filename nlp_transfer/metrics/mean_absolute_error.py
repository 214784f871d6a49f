"""Mean absolute error between ordered classes."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Labels


def mean_absolute_error(predictions: Labels, references: Labels) -> float:
    """Mean distance in classes between predicted and true class; lower is better."""
    return float(np.abs(predictions - references).mean())
