"""F1 over the words of an answer."""

from __future__ import annotations

from nlp_transfer.metrics import Text, Texts
from nlp_transfer.questions.answers import text_scores


def answer_f1(predictions: Text, references: Texts) -> float:
    """Mean F1 over the words of answer and nearest true answer after SQuAD's normalisation, 0 to 1."""
    return float(text_scores(predictions, references)[1].mean())
