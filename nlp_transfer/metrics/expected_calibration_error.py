"""Expected calibration error."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Labels, Probabilities

BINS = 15


def expected_calibration_error(predictions: Probabilities, references: Labels) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence, 0 to 1; lower is better (Guo 2017)."""
    confidence = predictions.max(axis=1)
    right = predictions.argmax(axis=1) == references
    bins = np.minimum(np.maximum(np.ceil(confidence * BINS).astype(int) - 1, 0), BINS - 1)
    gaps = np.abs(np.bincount(bins, right - confidence, minlength=BINS))
    return float(gaps.sum() / len(references))
