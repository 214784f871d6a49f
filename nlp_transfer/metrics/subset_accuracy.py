"""Subset accuracy."""

from __future__ import annotations

from nlp_transfer.metrics import Sets


def subset_accuracy(predictions: Sets, references: Sets) -> float:
    """Share of rows whose labels are all right, none missing and none too many, 0 to 1."""
    return float((predictions == references).all(1).mean())
