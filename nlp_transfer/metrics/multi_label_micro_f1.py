"""Micro F1 of sets of labels."""

from __future__ import annotations

from nlp_transfer.metrics import Sets, hits


def multi_label_micro_f1(predictions: Sets, references: Sets) -> float:
    """F1 over all rows and labels together, 0 to 1; 0 where no label is given and none is true."""
    right, either = hits(predictions, references)
    return float(2 * right.sum() / max(either.sum(), 1))
