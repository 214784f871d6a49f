"""Macro F1."""

from __future__ import annotations

from nlp_transfer.metrics import Labels, f1_by_label


def macro_f1(predictions: Labels, references: Labels) -> float:
    """Mean F1 over the labels that occur, true or predicted, 0 to 1; a label never hit counts 0."""
    f1, occurs, _ = f1_by_label(predictions, references)
    return float(f1[occurs].mean())
