"""SQuAD's nested form becomes flat records; what holds no questions is refused."""

import re

import pytest

from nlp_transfer.data.files import read
from nlp_transfer.data.nested import is_nested, questions
from nlp_transfer.errors import RequestError


def test_what_is_nested():
    assert is_nested({"version": "1.1", "data": []})
    assert not is_nested([{"question": "x"}])
    assert not is_nested({"data": "x"})
    assert not is_nested({"question": "x"})


def test_version_one_and_questions_without_answers():
    asked = [
        {"id": "a", "question": "Who?", "answers": [{"text": "I", "answer_start": 0}]},
        {"id": "b", "question": "Why?"},
    ]
    found = questions({"data": [{"title": "T", "paragraphs": [{"context": "I am.", "qas": asked}]}]})
    assert found == [
        {
            "id": "a",
            "title": "T",
            "context": "I am.",
            "question": "Who?",
            "answers": {"text": ["I"], "answer_start": [0]},
        },
        {"id": "b", "title": "T", "context": "I am.", "question": "Why?", "answers": {}},
    ]


def flat(*asked):
    return questions({"data": [{"paragraphs": [{"context": "I am.", "qas": [{"id": "a", **each} for each in asked]}]}]})


def test_whether_a_question_is_impossible_is_left_to_the_task():
    given = [{"text": "I", "answer_start": 0}]
    answers, none = {"text": ["I"], "answer_start": [0]}, {"text": [], "answer_start": []}
    found = flat(
        {"is_impossible": True, "answers": given}, {"is_impossible": "true"}, {"answers": None}, {"answers": []}
    )
    assert [(each["is_impossible"], each["answers"]) for each in found] == [
        (True, answers),
        ("true", none),
        (None, {}),
        (None, none),
    ]


def test_a_document_that_answers_nothing_has_no_answers():
    for asked in ({}, {"answers": None}, {"answers": None, "is_impossible": None}):
        assert [set(found) for found in flat(asked, {})] == [{"id", "title", "context", "question"}] * 2


def test_what_holds_no_questions_is_said_where_it_stands():
    article, paragraph, asked = {"title": "T"}, {"context": "x"}, "Who?"
    whole = {"context": "x", "qas": [asked]}
    seven, first, second, third, kept = questions(
        {"data": [7, article, {"paragraphs": [paragraph, {"qas": None}, whole]}]}
    )
    assert (seven, kept) == (7, asked)
    assert 'an article without "paragraphs"' in first.reason
    assert 'a paragraph without "qas"' in second.reason
    assert second == third


def test_objects_without_paragraphs_are_flat_rows():
    rows = [{"text": "x", "label": "a"}, 7]
    assert questions({"data": rows}) == rows


def test_there_are_ids_where_any_question_has_one():
    def ids(*given):
        asked = [{"question": "Who?", **({"id": each} if each else {})} for each in given]
        return [found.get("id", "none") for found in questions({"data": [{"paragraphs": [{"qas": asked}]}]})]

    assert ids("a", None) == ["a", None]
    assert ids(None, None) == ["none", "none"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"paragraphs": [{"context": "x"}]}', 'row 1: a paragraph without "qas": expected the list'),
        ('{"paragraphs": [{"qas": [], "qas": []}]}', 'row 1: a JSON object that names "qas" twice'),
        ('{"paragraphs": [], "paragraphs": []}', 'row 1: a JSON object that names "paragraphs" twice'),
    ],
)
def test_a_file_without_questions_says_what_it_lacks(content, says, tmp_path):
    file = tmp_path / "rows.json"
    file.write_text(f'{{"data": [{content}]}}', encoding="utf-8")
    with pytest.raises(RequestError, match=re.escape(says)):
        read(file)
