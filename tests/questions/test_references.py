"""True answers in every form that files have, and where they stand."""

from __future__ import annotations

import json
import re

import pytest

from nlp_transfer.questions.references import Found, Reference, every, found, impossible, offset, read

COLUMNS = {"text": ["nine", "at nine"], "answer_start": [12, 9]}
BOTH = [Reference("nine", 12), Reference("at nine", 9)]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (COLUMNS, BOTH),
        (json.dumps(COLUMNS), BOTH),
        ([{"text": "nine", "answer_start": 12}, {"text": "at nine", "answer_start": 9}], BOTH),
        ({"text": "nine", "answer_start": "12"}, BOTH[:1]),
        ({"text": ["nine"]}, [Reference("nine")]),
        (["nine", "ten"], [Reference("nine"), Reference("ten")]),
        ("nine", [Reference("nine")]),
        ({"text": [" nine "], "answer_start": [2]}, [Reference("nine", 3)]),
        ("[sic] nine", [Reference("[sic] nine")]),
        ("[1911]", [Reference("[1911]")]),
        ("[]", []),
        ("", []),
        (None, []),
        (float("nan"), []),
        ([], []),
        ({"text": [], "answer_start": []}, []),
    ],
)
def test_forms(cell: object, expected: list[Reference]) -> None:
    assert read(cell) == expected


def test_an_offset_may_stand_beside_a_text() -> None:
    assert read("nine", "12") == read("nine", 12.0) == [Reference("nine", 12)]
    assert offset(" ") is None
    assert read("[]", 14) == [Reference("[]", 14)]
    assert read("", 0) == read("", "") == []
    with pytest.raises(ValueError, match="answer_start is 12, and there is no answer"):
        read("", 12)


def test_without_an_offset_whole_words_come_first() -> None:
    context = "Steam rises. Here tea is sold, and teapots."
    assert found(Reference("tea"), context) == Found("tea", 18)
    assert found(Reference("ea"), context) == Found("ea", 2, first=True)
    assert found(Reference("Steam"), context) == Found("Steam", 0)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (7, "7 (int) is no answer"),
        ({"texts": ["nine"]}, "without a text"),
        ({"text": ["nine"], "answer_start": [1, 2]}, "1 answers, and not as many"),
        ({"text": [" "], "answer_start": [1]}, "without a text"),
        ({"text": ["nine"], "answer_start": [-1]}, "-1 is no place"),
        ({"text": ["nine"], "answer_start": ["soon"]}, "soon is no place"),
        ({"text": ["nine"], "answer_start": [1.5]}, "1.5 is no place"),
        ([7], "without a text"),
        ({}, "nothing says whether there is an answer"),
    ],
)
def test_what_is_no_answer_is_refused(cell: object, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read(cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (True, True),
        ("True", True),
        (1, True),
        (1.0, True),
        ("1", True),
        (False, False),
        ("FALSE ", False),
        (0, False),
        (None, None),
        ("", None),
        (float("nan"), None),
    ],
)
def test_whether_a_question_is_impossible(cell: object, expected: bool | None) -> None:
    assert impossible(cell) is expected


@pytest.mark.parametrize("cell", ["maybe", 2, [], {"a": True}])
def test_what_is_neither_true_nor_false_is_refused(cell: object) -> None:
    with pytest.raises(ValueError, match="where true or false is expected"):
        impossible(cell)


CONTEXT = "At nine it opens; at ten it closes, at ten sharp."


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (Reference("nine", 3), Found("nine", 3)),
        (Reference("nine", 4), Found("nine", 3, moved=True)),
        (Reference("nine", 4000), Found("nine", 3, moved=True)),
        (Reference("nine"), Found("nine", 3)),
        (Reference("at ten", 36), Found("at ten", 36)),
        (Reference("at ten"), Found("at ten", 18, first=True)),
    ],
)
def test_places(reference: Reference, expected: Found) -> None:
    assert found(reference, CONTEXT) == expected
    assert CONTEXT.startswith(expected.text, expected.start)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (Reference("eleven", 3), '"eleven" is not in the context'),
        (Reference("Nine", 3), '"Nine" is not in the context'),
        (Reference("at ten", 35), "does not begin at character 35, but at several others"),
        (Reference("at ten", 999), "character 999 (the text ends before)"),
    ],
)
def test_what_cannot_be_told_is_refused(reference: Reference, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        found(reference, CONTEXT)


def test_rows_are_read_one_by_one() -> None:
    rows = {"context": [CONTEXT] * 3, "answers": ["nine", "", "eleven"], "answer_start": ["2", "", "1"]}
    first, second, third = every(rows)
    assert first == [Found("nine", 3, moved=True)]
    assert second == []
    assert "not in the context" in third


def test_a_choice_that_is_none_is_not_told() -> None:
    assert found(Reference("nine"), "ninety people. It opens at nine.") == Found("nine", 27)
    assert found(Reference("nine"), "at nine, not nine thirty").first
    assert found(Reference("nin"), "ninety at nine").first
    assert not found(Reference("nin"), "at nine").first
