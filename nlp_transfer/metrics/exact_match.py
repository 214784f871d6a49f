"""Exact match of texts."""

from __future__ import annotations

from nlp_transfer.metrics import Text, Texts
from nlp_transfer.questions.answers import text_scores


def exact_match(predictions: Text, references: Texts) -> float:
    """Share of questions whose answer is one of the true ones after SQuAD's normalisation, 0 to 1."""
    return float(text_scores(predictions, references)[0].mean())
