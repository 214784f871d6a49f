"""Temperature: one number that makes a classifier's probabilities as sure as its answers are right."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from nlp_transfer.scratch import spans

LOWEST, HIGHEST = 0.05, 20.0
"""Between these a temperature is looked for."""


def best_temperature(logits: np.ndarray, references: np.ndarray) -> float:
    """The temperature under which the true labels are most probable (Guo et al. 2017, section 4.2).

    The mean negative log-likelihood has one minimum in the inverse temperature, and so in its logarithm, which is searched.

    Args:
        logits: (rows, labels).
        references: true labels by number (rows,).

    Returns:
        The temperature; 1 where every row is answered rightly, since then any smaller number would look better.
    """
    if all((some.argmax(1) == true).all() for some, true in spans(logits, references)):
        return 1.0

    def loss(logarithm: float) -> float:
        total = 0.0
        for some, true in spans(logits, references):
            each = log_softmax(some.astype(np.float64) / np.exp(logarithm), axis=1)
            total -= float(each[np.arange(len(true)), true].sum())
        return total / len(references)

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def uncalibrated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (rows, labels) as they were before a temperature divided their logits."""
    # exp(z / T) to the power of T is exp(z)
    powers = probabilities**temperature
    return powers / powers.sum(1, keepdims=True)
