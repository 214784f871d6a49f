"""CoNLL files: sentences, tags in the last column, documents, comments, and lines that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp_transfer.data.conll import sentences
from nlp_transfer.data.files import read
from nlp_transfer.errors import RequestError

NEWS = """-DOCSTART- -X- -X- O

Ada NNP B-NP B-PER
Novak NNP I-NP I-PER

# NN B-NP O
1 CD I-NP O


-DOCSTART- -X- -X- O
Porto NNP B-NP B-LOC
"""


def found(text: str) -> tuple[list[tuple[int, dict[str, list[str]]]], list[tuple[int, str]]]:
    bad: list[tuple[int, str]] = []
    return list(sentences(text.splitlines(keepends=True), bad)), bad


def test_the_form_of_conll_2003() -> None:
    assert found(NEWS) == (
        [
            (3, {"tokens": ["Ada", "Novak"], "tags": ["B-PER", "I-PER"]}),
            (6, {"tokens": ["#", "1"], "tags": ["O", "O"]}),
            (11, {"tokens": ["Porto"], "tags": ["B-LOC"]}),
        ],
        [],
    )


def test_tabs_keep_blanks_inside_tokens() -> None:
    assert found("New York\tB-LOC\n\n")[0] == [(1, {"tokens": ["New York"], "tags": ["B-LOC"]})]


def test_comments_before_a_sentence() -> None:
    rows, bad = found("# sent_id = 1\n# text = It rains\nIt O\nrains O\n\n# nothing follows here\n\nYes O\n")
    assert rows == [(3, {"tokens": ["It", "rains"], "tags": ["O", "O"]}), (8, {"tokens": ["Yes"], "tags": ["O"]})]
    assert not bad


def test_tokens_alone() -> None:
    assert found("It\nrains\n")[0] == [(1, {"tokens": ["It", "rains"]})]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("It O\nrains\n", 1, "2 columns where other lines have 1"),
        ("It O\n\nrains X O\n", 3, "3 columns where other lines have 2"),
        ("It\tO\n\tO\n", 2, "a line without a token"),
    ],
)
def test_lines_that_do_not_fit(text: str, place: int, says: str) -> None:
    assert found(text)[1] == [(place, says)]


@pytest.mark.parametrize("ending", [".conll", ".bio", ".iob"])
def test_files_are_known_by_their_ending(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"news{ending}"
    file.write_bytes(NEWS.replace("\n", "\r\n").encode())
    table = read(file)
    assert (table.unit, table.places) == ("line", [3, 6, 11])
    assert table.columns["tags"] == [["B-PER", "I-PER"], ["O", "O"], ["B-LOC"]]
    file.write_text("-DOCSTART- O\n\n", encoding="utf-8")
    with pytest.raises(RequestError, match="holds no rows"):
        read(file)
