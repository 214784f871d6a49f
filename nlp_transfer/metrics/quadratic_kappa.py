"""Cohen's kappa with quadratic weights."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Labels, confusion


def quadratic_kappa(predictions: Labels, references: Labels) -> float:
    """Agreement of ordered classes beyond chance, errors weighted by their squared distance (Cohen 1968), at most 1.

    One minus the observed weighted disagreement over the one expected by chance; 1 where all rows agree on one class.
    """
    table = confusion(predictions, references).astype(float)
    classes = np.arange(len(table))
    distance = (classes[:, None] - classes[None, :]) ** 2
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    by_chance = (distance * expected).sum()
    return float(1 - (distance * table).sum() / by_chance) if by_chance else 1.0
