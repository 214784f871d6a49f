"""Kinds of questions and of answers, by which errors are counted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nlp_transfer.questions.answers import normalised

WORDS = re.compile(r"\b(who|whom|whose|what|when|where|why|how|which)\b", re.IGNORECASE)

LENGTHS = ((1, "1 word"), (3, "2 to 3 words"), (7, "4 to 7 words"))
"""Kinds of answers by their words; longer ones are of a kind of their own."""


def question_word(question: str) -> str:
    """The first of a question's question words, or "other"."""
    word = WORDS.search(question)
    return word[0].lower() if word else "other"


def answer_length(texts: Sequence[str]) -> str:
    """The kind of the shortest true answer, by its words; "no answer" where there is none."""
    if not texts:
        return "no answer"
    words = min(len(normalised(text).split()) for text in texts)
    return next((name for most, name in LENGTHS if words <= most), f"more than {LENGTHS[-1][0]} words")
