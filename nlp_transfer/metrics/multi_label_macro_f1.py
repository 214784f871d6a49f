"""Macro F1 of sets of labels."""

from __future__ import annotations

import numpy as np

from nlp_transfer.metrics import Sets, hits


def multi_label_macro_f1(predictions: Sets, references: Sets) -> float:
    """Mean F1 over the labels that occur, true or predicted, 0 to 1; a label never hit counts 0."""
    right, either = hits(predictions, references)
    occurs = either > 0
    return float(np.mean(2 * right[occurs] / either[occurs])) if occurs.any() else 0.0
