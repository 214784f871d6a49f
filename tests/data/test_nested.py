"""SQuAD's nested form becomes flat records; what has not the form is left to be refused."""

from nlp_transfer.data.nested import is_nested, questions


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
        {"id": "b", "title": "T", "context": "I am.", "question": "Why?"},
    ]


def test_answers_of_an_impossible_question_do_not_count():
    asked = {"id": "a", "question": "Who?", "is_impossible": True, "answers": [{"text": "I", "answer_start": 0}]}
    [found] = questions({"data": [{"paragraphs": [{"context": "I am.", "qas": [asked]}]}]})
    assert found["answers"] == {"text": [], "answer_start": []}


def test_what_has_not_the_form_stays():
    article, paragraph, asked = {"title": "T"}, {"context": "x"}, "Who?"
    whole = {"context": "x", "qas": [asked]}
    assert questions({"data": [7, article, {"paragraphs": [paragraph, whole]}]}) == [7, article, paragraph, asked]
