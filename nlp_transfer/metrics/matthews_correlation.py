"""Matthews correlation."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Labels, confusion


def matthews_correlation(predictions: Labels, references: Labels) -> float:
    """Correlation of predicted and true labels, -1 to 1; 0 is chance, however skewed the labels (Gorodkin 2004).

    With c right of n rows, p_k predicted and t_k truly of label k:
    (c n - sum p_k t_k) / sqrt((n^2 - sum p_k^2) (n^2 - sum t_k^2)); 0 where the root is 0.
    """
    table = confusion(predictions, references).astype(float)
    predicted, true, rows = table.sum(0), table.sum(1), table.sum()
    spread = np.sqrt((rows**2 - predicted @ predicted) * (rows**2 - true @ true))
    return float((np.trace(table) * rows - predicted @ true) / spread) if spread else 0.0
