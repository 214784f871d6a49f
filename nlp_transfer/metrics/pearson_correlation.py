"""Pearson's correlation."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Numbers


def pearson_correlation(predictions: Numbers, references: Numbers) -> float:
    """Linear correlation of predicted and true numbers, -1 to 1; 0 where one of them does not vary."""
    ours, theirs = predictions - predictions.mean(), references - references.mean()
    # each by its largest, so that no square leaves the range of numbers
    largest = max(np.abs(ours).max(), np.finfo(float).tiny), max(np.abs(theirs).max(), np.finfo(float).tiny)
    ours, theirs = ours / largest[0], theirs / largest[1]
    spread = np.sqrt((ours @ ours) * (theirs @ theirs))
    return float(np.clip(ours @ theirs / spread, -1, 1)) if spread else 0.0
