"""Subset accuracy."""

from __future__ import annotations

from nlp_transfer.metrics import Sets
from nlp_transfer.scratch import spans


def subset_accuracy(predictions: Sets, references: Sets) -> float:
    """Share of rows whose labels are all right, none missing and none too many, 0 to 1."""
    right = sum(int((answered == true).all(1).sum()) for answered, true in spans(predictions, references))
    return right / len(references)
