"""Root mean squared error."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Numbers


def root_mean_squared_error(predictions: Numbers, references: Numbers) -> float:
    """Root of the mean squared distance between predicted and true numbers, in their unit; lower is better."""
    return float(np.sqrt(np.mean((predictions - references) ** 2)))
