"""Nested JSON as SQuAD is published: articles hold paragraphs, paragraphs hold questions, each of which becomes a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def is_nested(document: Any) -> bool:
    """Whether a JSON document is a data set in SQuAD's form: an object whose `data` is a list."""
    return isinstance(document, dict) and isinstance(document.get("data"), list)


def questions(document: dict[str, Any]) -> list[Any]:
    """The questions of such a document as flat records, in their order.

    They have `id`, `title`, `context`, `question` and, where the document answers, `answers`: the lists `text` and
    `answer_start`, empty where `is_impossible` is true. What does not have the form stays as it is, for a reader to refuse.
    """
    found: list[Any] = []
    for article in document["data"]:
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            found.append(article)
            continue
        for paragraph in paragraphs:
            found += _of_paragraph(paragraph, article.get("title"))
    return found


def _of_paragraph(paragraph: Any, title: Any) -> Iterator[Any]:
    if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
        yield paragraph
        return
    for asked in paragraph["qas"]:
        if type(asked) is not dict:  # no object, or one that names a key twice
            yield asked
            continue
        record = {"id": asked.get("id"), "title": title, "context": paragraph.get("context")}
        record["question"] = asked.get("question")
        if "answers" in asked or "is_impossible" in asked:
            record["answers"] = _columns([] if asked.get("is_impossible") is True else asked.get("answers"))
        yield record


def _columns(answers: Any) -> Any:
    """A list of answers as columns; anything else as it is."""
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return answers
    return {name: [answer.get(name) for answer in answers] for name in ("text", "answer_start")}
