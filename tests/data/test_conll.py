"""CoNLL files: sentences, tags in the last column, documents, comments, and lines that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nlp_transfer.data.conll import SAMPLE, sentences
from nlp_transfer.data.files import read
from nlp_transfer.data.sources import open_source
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


def test_blanks_that_do_not_break_are_part_of_a_token() -> None:
    rows = found("10\u00a0000 NN O\nAda\u3000B  NN B-PER \n")[0]
    assert rows == [(1, {"tokens": ["10\u00a0000", "Ada\u3000B"], "tags": ["O", "B-PER"]})]


def test_tabs_keep_blanks_inside_tokens() -> None:
    assert found("New York\tB-LOC\n\n")[0] == [(1, {"tokens": ["New York"], "tags": ["B-LOC"]})]


def test_comments_before_a_sentence() -> None:
    rows, bad = found("# sent_id = 1\n# text = It rains\nIt O\nrains O\n\n# nothing follows here\n\nYes O\n")
    assert rows == [(3, {"tokens": ["It", "rains"], "tags": ["O", "O"]}), (8, {"tokens": ["Yes"], "tags": ["O"]})]
    assert not bad


COMMENTS = {
    "with a blank line behind": "# Corpus made by us in 2020\n\n",
    "of as many columns": "# newdoc\n# text = Ada\n\n",
    "with a value before its sentence": "# text = Ada\n",
}


@pytest.mark.parametrize("kind", COMMENTS)
@pytest.mark.parametrize("place", ["at the head", "in the middle", "at the end"])
def test_comments_are_passed_over_wherever_they_stand(kind: str, place: str) -> None:
    before, after = "Ada X Y B-PER\nleft X Y O\n\n", "# X Y O\n1 X Y O\n\n"
    head = COMMENTS[kind]
    text = {
        "at the head": head + before + after,
        "in the middle": before + head + after,
        "at the end": before + after + head,
    }
    rows, bad = found(text[place])
    assert [(row["tokens"], row["tags"]) for _, row in rows] == [
        (["Ada", "left"], ["B-PER", "O"]),
        (["#", "1"], ["O", "O"]),
    ]
    assert not bad


def test_tokens_of_tabbed_lines_are_no_comments() -> None:
    assert found("#\tNN\t=\tO\n1\tCD\t=\tO\n")[0] == [(1, {"tokens": ["#", "1"], "tags": ["O", "O"]})]


def test_a_long_file_is_not_held() -> None:
    """What most of the first lines have is enough: of a file of any size little is in memory."""
    drawn = 0

    def lines() -> Iterator[str]:
        nonlocal drawn
        for drawn in range(1, 3 * SAMPLE):
            yield "\n" if drawn % 4 == 0 else "Ada O\n"

    assert next(sentences(lines(), []))[0] == 1
    assert drawn < 2 * SAMPLE


def test_tokens_alone() -> None:
    assert found("It\nrains\n")[0] == [(1, {"tokens": ["It", "rains"]})]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("It O\nrains\n", 2, "1 column where most lines have 2"),
        ("It O\n\nrains X O\n", 3, "3 columns where most lines have 2"),
        ("It\nrains\n\nIt X O\nrains X O\nnow X O\n", 1, "1 column where most lines have 3"),
        ("It X O\nrains X\n\nIt X O\nrains X O\n", 2, "2 columns where most lines have 3"),
        ("It\tO\n\tO\n", 2, "a line without a token"),
    ],
)
def test_lines_that_do_not_fit(text: str, place: int, says: str) -> None:
    assert found(text)[1] == [(place, says)]


@pytest.mark.parametrize("name", ["eng.train", "train.txt", "train"])
def test_other_names_are_told_the_ending(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(NEWS, encoding="utf-8")
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(RequestError, match=r"A CoNLL file needs the ending \.conll\."):
            open_source(source)


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
