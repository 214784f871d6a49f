"""Weighted F1."""

from __future__ import annotations

from nlp_transfer.metrics import Labels, f1_by_label


def weighted_f1(predictions: Labels, references: Labels) -> float:
    """Mean of the labels' F1 weighted by how many rows truly have each label, 0 to 1."""
    f1, _, support = f1_by_label(predictions, references)
    return float((f1 * support).sum() / support.sum())
