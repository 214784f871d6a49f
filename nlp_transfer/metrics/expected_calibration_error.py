"""Expected calibration error."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Labels, Probabilities
from nlp_transfer.scratch import spans

BINS = 15


def expected_calibration_error(predictions: Probabilities, references: Labels) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence, 0 to 1; lower is better (Guo 2017)."""
    gaps = np.zeros(BINS)
    for some, true in spans(predictions, references):
        best = some.argmax(axis=1)
        confidence, right = some[np.arange(len(some)), best], best == true  # of few columns `max` takes far longer
        bins = np.minimum(np.maximum(np.ceil(confidence * BINS).astype(int) - 1, 0), BINS - 1)
        gaps += np.bincount(bins, right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(references))
