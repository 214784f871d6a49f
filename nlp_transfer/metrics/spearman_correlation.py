"""Spearman's correlation."""

from __future__ import annotations

from scipy.stats import rankdata

from nlp_transfer.metrics import Numbers
from nlp_transfer.metrics.pearson_correlation import pearson_correlation


def spearman_correlation(predictions: Numbers, references: Numbers) -> float:
    """Correlation of the ranks of predicted and true numbers, -1 to 1, equal ones sharing a mean rank (Spearman 1904)."""
    return pearson_correlation(rankdata(predictions), rankdata(references))
