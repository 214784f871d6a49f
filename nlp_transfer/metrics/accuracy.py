"""Accuracy."""

from __future__ import annotations

from nlp_transfer.metrics import Labels


def accuracy(predictions: Labels, references: Labels) -> float:
    """Share of rows whose label is right, 0 to 1."""
    return float((predictions == references).mean())
