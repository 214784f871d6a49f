"""Label ranking average precision."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from nlp_transfer.metrics import Probabilities, Sets


def ranking_average_precision(predictions: Probabilities, references: Sets) -> float:
    """How high the true labels stand among all by probability, above 0 to 1 (Tsoumakas et al. 2010).

    For each true label: of the labels that are at least as probable, the share that is true; the mean of these in a row, and
    the mean over rows. A row with no label, or with all, counts 1. It asks for no threshold.
    """
    return float(precision_by_row(predictions, references).mean())


def precision_by_row(predictions: Probabilities, references: Sets) -> np.ndarray:
    """The same for each row (rows,)."""
    true = references.astype(bool)
    among_all = rankdata(-predictions, method="max", axis=1)
    # labels that are not true stand behind all that are
    among_true = rankdata(np.where(true, -predictions, np.inf), method="max", axis=1)
    shares = np.where(true, among_true / among_all, 0.0).sum(1)
    return np.where(true.any(1), shares / np.maximum(true.sum(1), 1), 1.0)
