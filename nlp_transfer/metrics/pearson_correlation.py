"""Pearson's correlation."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Numbers
from nlp_transfer.scratch import spans


def pearson_correlation(predictions: Numbers, references: Numbers) -> float:
    """Linear correlation of predicted and true numbers, -1 to 1; 0 where one of them does not vary."""
    both = [predictions, references]
    if any(each.min() == each.max() for each in both):
        return 0.0
    means = [each.mean() for each in both]
    # each by its largest, so that no square leaves the range of numbers
    largest = [
        max([np.finfo(float).tiny, *(np.abs(some - mean).max() for (some,) in spans(each))])
        for each, mean in zip(both, means, strict=True)
    ]
    products = np.zeros(3)
    for some in spans(*both):
        ours, theirs = ((each - mean) / most for each, mean, most in zip(some, means, largest, strict=True))
        products += ours @ ours, theirs @ theirs, ours @ theirs
    spread = np.sqrt(products[0] * products[1])
    return float(np.clip(products[2] / spread, -1, 1)) if spread else 0.0
