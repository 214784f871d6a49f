"""Nested JSON as SQuAD is published: articles hold paragraphs, paragraphs hold questions, each of which becomes a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


def is_nested(document: Any) -> bool:
    """Whether a JSON document is a data set in SQuAD's form: an object whose `data` is a list."""
    return isinstance(document, dict) and isinstance(document.get("data"), list)


OPTIONAL = ("id", "answers", "is_impossible")
"""What questions of such a document may lack."""


@dataclass(frozen=True)
class NoRow:
    """What stands where questions are expected and holds none."""

    reason: str


def questions(document: dict[str, Any]) -> list[Any]:
    """The questions of such a document as flat records, in their order.

    They have `title`, `context` and `question`, and all have `id`, `answers` and `is_impossible` where any of them has.
    Answers are the lists `text` and `answer_start`; an empty object where only others have answers. An article or a
    paragraph without questions is a `NoRow`. What has the form nowhere stays as it is, for a reader to take as flat rows or
    to refuse.
    """
    articles = document["data"]
    if not any(isinstance(article, dict) and isinstance(article.get("paragraphs"), list) for article in articles):
        return list(articles)
    found: list[Any] = []
    for article in articles:
        if type(article) is not dict:  # no object, or one that names a key twice
            found.append(article)
        elif not isinstance(article.get("paragraphs"), list):
            found.append(NoRow('an article without "paragraphs": expected the list of its paragraphs'))
        else:
            for paragraph in article["paragraphs"]:
                found += _of_paragraph(paragraph, article.get("title"))
    records = [record for record in found if type(record) is dict]
    if any(record[name] is not None for record in records for name in ("answers", "is_impossible")):
        for record in records:
            if record["answers"] is None:
                record["answers"] = {} if record["is_impossible"] in (None, "") else _columns([])
    absent = {name for name in OPTIONAL if all(record[name] is None for record in records)}
    for record in records:
        for name in absent:
            del record[name]
    return found


def _of_paragraph(paragraph: Any, title: Any) -> Iterator[Any]:
    if type(paragraph) is not dict:
        yield paragraph
        return
    if not isinstance(paragraph.get("qas"), list):
        yield NoRow('a paragraph without "qas": expected the list of its questions, [] where there are none')
        return
    for asked in paragraph["qas"]:
        if type(asked) is not dict:
            yield asked
            continue
        yield {
            "id": asked.get("id"),
            "title": title,
            "context": paragraph.get("context"),
            "question": asked.get("question"),
            "answers": _columns(asked.get("answers")),
            "is_impossible": asked.get("is_impossible"),
        }


def _columns(answers: Any) -> Any:
    """A list of answers as columns; anything else as it is."""
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return answers
    return {name: [answer.get(name) for answer in answers] for name in ("text", "answer_start")}
