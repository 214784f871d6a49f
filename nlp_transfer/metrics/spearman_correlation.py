"""Spearman's correlation."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from nlp_transfer.metrics import Numbers
from nlp_transfer.metrics.pearson_correlation import pearson_correlation
from nlp_transfer.rows import SPAN
from nlp_transfer.scratch import numbers, ordered, spans


def spearman_correlation(predictions: Numbers, references: Numbers) -> float:
    """Correlation of the ranks of predicted and true numbers, -1 to 1, equal ones sharing a mean rank (Spearman 1904)."""
    return pearson_correlation(_ranks(predictions), _ranks(references))


def _ranks(values: Numbers) -> np.ndarray:
    """Ranks from 1 (rows,), equal numbers sharing a mean one, as rankdata gives them; of many on the disk."""
    if len(values) <= SPAN:
        return rankdata(values)
    all_of_them, ranks = ordered(values), numbers(len(values), np.float64)
    for some, room in spans(values, ranks):
        room[:] = (np.searchsorted(all_of_them, some) + np.searchsorted(all_of_them, some, "right") + 1) / 2
    return ranks
