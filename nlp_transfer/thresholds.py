"""Thresholds: from which probability on a label is given, chosen where F1 is highest."""

from __future__ import annotations

import numpy as np

HALF = 0.5
"""The threshold where nothing tells a better one."""

FEWEST = 10
"""Rows that truly have a label by which a threshold of its own can be chosen; with fewer it takes that of all labels."""


def best_threshold(probabilities: np.ndarray, references: np.ndarray) -> float:
    """The threshold with the highest F1 (Lipton et al. 2014), in the middle between two probabilities that occur.

    Args:
        probabilities: (decisions,).
        references: whether each is truly so (decisions,).

    Returns:
        The highest of the best ones; a half where nothing is truly so.
    """
    if not references.any():
        return HALF
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    f1 = 2 * np.cumsum(references[order]) / (np.arange(1, len(order) + 1) + references.sum())
    # between equal probabilities no threshold can stand
    below = np.append(ranked[1:], 0.0)
    best = int(np.where(ranked > below, f1, -1).argmax())
    return float((ranked[best] + below[best]) / 2)


def shared_threshold(probabilities: np.ndarray, references: np.ndarray) -> tuple[float, ...]:
    """One threshold for all labels, with the highest micro F1, as many times as there are labels."""
    return (best_threshold(probabilities.ravel(), references.ravel()),) * probabilities.shape[1]


def thresholds_per_label(probabilities: np.ndarray, references: np.ndarray) -> tuple[float, ...]:
    """One threshold per label, each with the label's highest F1, from (rows, labels) and whether rows truly have them."""
    shared = shared_threshold(probabilities, references)
    return tuple(
        best_threshold(probabilities[:, i], references[:, i]) if references[:, i].sum() >= FEWEST else shared[i]
        for i in range(probabilities.shape[1])
    )
