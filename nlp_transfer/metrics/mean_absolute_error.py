"""Mean absolute error."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Numbers
from nlp_transfer.scratch import spans


def mean_absolute_error(predictions: Numbers, references: Numbers) -> float:
    """Mean distance between predicted and true numbers, in their unit (of ordered labels: in classes); lower is better."""
    off = sum(np.abs(answered - true).sum() for answered, true in spans(predictions, references))
    return float(off / len(references))
