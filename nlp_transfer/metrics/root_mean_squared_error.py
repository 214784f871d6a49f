"""Root mean squared error."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Numbers
from nlp_transfer.scratch import spans


def root_mean_squared_error(predictions: Numbers, references: Numbers) -> float:
    """Root of the mean squared distance between predicted and true numbers, in their unit; lower is better."""
    squares = sum(((answered - true) ** 2).sum() for answered, true in spans(predictions, references))
    return float(np.sqrt(squares / len(references)))
