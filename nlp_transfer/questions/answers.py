"""Texts as answers: the normalisation, exact match and F1 of SQuAD, by question."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """A text as answers are compared: lower case, without ASCII punctuation and English articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def text_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of every question, 0 to 1, by the rules of SQuAD 2.0 (Rajpurkar et al. 2018).

    They are those of SQuAD 1.1 too, but for true answers that normalise to nothing ("The"), which 2.0 leaves out.

    Args:
        predictions: one answer per question, "" for none.
        references: the true answers of each, of which the nearest counts; none where the question has no answer.

    Returns:
        exact match (questions,) and F1 over the words that both have (questions,).
    """
    exact, f1 = np.zeros(len(predictions)), np.zeros(len(predictions))
    for i, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        answer = normalised(prediction)
        golds = {gold for text in texts if (gold := normalised(text))} or {""}
        exact[i] = answer in golds
        f1[i] = max(_f1(answer.split(), gold.split()) for gold in golds)
    return exact, f1


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))
