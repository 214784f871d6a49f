"""Tag schemes: recognised, read as seqeval reads them, and refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from nlp_transfer.errors import RowError
from nlp_transfer.tagging import schemes
from nlp_transfer.tagging.schemes import Chunks, chunks, fault, misfits, names, of_training, recognised, runs

relaxed = settings(deadline=None, database=None, max_examples=150)

WRITTEN = {
    "iob1": "O I-PER I-PER B-PER I-LOC O I-PER",
    "bio2": "O B-PER I-PER B-PER B-LOC O B-PER",
    "bioes": "O B-PER E-PER S-PER S-LOC O S-PER",
    "bilou": "O B-PER L-PER U-PER U-LOC O U-PER",
    "bmewo": "O B_PER E_PER W_PER W_LOC O W_PER",
    "plain": "O PER PER O LOC O PER",
}
SPANS = [(1, 3, "PER"), (3, 4, "PER"), (4, 5, "LOC"), (6, 7, "PER")]


@pytest.mark.parametrize("name", WRITTEN)
def test_every_scheme_is_recognised_and_says_the_same(name: str) -> None:
    tags = WRITTEN[name].split()
    scheme = recognised([["O"], tags])
    assert scheme == {"bilou": "bioes", "bmewo": "bioes"}.get(name, name)
    expected = [span for span in SPANS if span != (3, 4, "PER")] if name == "plain" else SPANS
    assert chunks(tags, scheme) == Chunks(expected, repaired=False)
    assert fault(tags, scheme, ("LOC", "PER")) is None


def test_a_file_of_bio2_with_a_slip_stays_bio2() -> None:
    rows = [["B-PER", "I-PER"], ["O", "I-PER"]]
    assert recognised(rows) == "bio2"
    assert chunks(rows[1], "bio2") == Chunks([(1, 2, "PER")], repaired=True)


def test_unknown_letters_are_no_plain_types() -> None:
    with pytest.raises(RowError, match=r'the tag "X-PER" is of no scheme: expected B, I, M'):
        of_training([["O", "X-PER", "Y-PER"]], "auto")


@pytest.mark.parametrize("tags", ["B-PER LOC", "B-PER X-LOC", "I-PER 0"])
def test_tags_of_no_scheme_are_refused_with_their_row(tags: str) -> None:
    with pytest.raises(RowError, match="is of no scheme beside") as caught:
        of_training([["O"], [tags.split()[0]], tags.split()], "auto")
    assert caught.value.row == 2


@pytest.mark.parametrize("odd", ["PER", "X-PER", "b-per", "B-", "B-O", "o"])
def test_rows_of_another_kind_than_most_are_misfits(odd: str) -> None:
    most = {i: ["B-PER", "I-PER", "O"] for i in range(3)}
    found = misfits({**most, 3: ["O", odd], 4: ["O"], 5: ["B-PER", odd]}, "auto")
    assert found.keys() == {3, 5}
    assert all(f'the tag "{odd}" is of no scheme beside "B-PER"' in reason for reason in found.values())
    assert of_training([*most.values()], "auto") == "bio2"


def test_letters_where_most_rows_have_whole_types_are_misfits() -> None:
    rows = [["PER", "O"], ["X-cell"], ["LOC"], ["B-PER", "O"], ["PER", "I-PER"]]
    found = misfits(dict(enumerate(rows)), "auto")
    assert found.keys() == {3, 4}
    assert found[4].startswith('the tag "I-PER" begins as those of a scheme do, and tags of most rows are whole types')
    assert of_training(rows[:3], "auto") == "plain"
    assert of_training(rows, "plain") == "plain"


def test_rows_of_another_scheme_than_asked_are_misfits() -> None:
    found = misfits({2: ["B-PER"], 7: ["E-PER"]}, "bio2")
    assert found == {
        7: 'the tag "E-PER" is none of BIO2, as --task.scheme bio2 says: name the scheme of the file, or auto'
    }


def test_plain_types_may_hold_hyphens() -> None:
    assert recognised([["O", "bird-name", "O"]]) == "plain"
    assert chunks(["bird-name", "bird-name"], "plain").spans == [(0, 2, "bird-name")]


@pytest.mark.parametrize(
    ("tag", "scheme", "says"),
    [
        ("E-PER", "bio2", "is none of BIO2"),
        ("PER", "bioes", "is none of BIOES"),
        ("B-PRE", "bio2", 'Did you mean "PER"'),
    ],
)
def test_a_fitted_task_refuses_other_tags(tag: str, scheme: str, says: str) -> None:
    assert says in str(fault(["O", tag], scheme, ("LOC", "PER")))


@pytest.mark.parametrize("scheme", ["bio2", "bioes"])
def test_broken_tags_are_read_as_seqeval_reads_them(scheme: str) -> None:
    letters = "BI" if scheme == "bio2" else "BIES"
    tag = st.sampled_from(["O", *(f"{letter}-{kind}" for letter in letters for kind in "XY")])

    @relaxed
    @given(st.lists(tag, max_size=12))
    def check(tags: list[str]) -> None:
        expected = [(start, end + 1, kind) for kind, start, end in get_entities(tags)]
        assert chunks(tags, scheme).spans == expected

    check()


@pytest.mark.parametrize(("scheme", "reader"), [("iob1", IOB1), ("bio2", IOB2), ("bioes", IOBES), ("bioes", BILOU)])
def test_what_needs_no_repair_is_what_seqeval_reads_strictly(scheme: str, reader: type) -> None:
    letters = {"iob1": "BI", "bio2": "BI"}.get(scheme, "BILU" if reader is BILOU else "BIES")
    tag = st.sampled_from(["O", *(f"{letter}-{kind}" for letter in letters for kind in "XY")])

    @relaxed
    @given(st.lists(tag, min_size=1, max_size=8))
    def check(tags: list[str]) -> None:
        found = chunks(tags, scheme)
        strict = [(each.start, each.end, each.tag) for each in Entities([tags], reader).entities[0]]
        if (not (found.repaired or found.endless) and scheme != "iob1") or (
            scheme == "iob1" and recognised([tags]) == "iob1"
        ):
            assert found.spans == strict

    check()


@relaxed
@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=8), min_size=1, max_size=5))
def test_numbered_tags_of_many_rows_say_what_seqeval_reads(rows: list[list[int]]) -> None:
    known = names(("X", "Y"))
    lengths = np.array([len(row) for row in rows])
    starts = np.cumsum(lengths) - lengths
    found = runs(np.concatenate([np.array(row) for row in rows]), starts)
    expected = [
        (int(start) + first, last - first + 1, kind)
        for start, row in zip(starts, rows, strict=True)
        for kind, first, last in get_entities([known[tag] for tag in row])
    ]
    kinds = [("X", "Y")[kind] for kind in found.kind]
    assert list(zip(found.first.tolist(), found.length.tolist(), kinds, strict=True)) == expected
    inside = found.member[found.member >= 0]
    assert np.bincount(inside, minlength=len(found.first)).tolist() == found.length.tolist()


def test_every_scheme_has_a_name() -> None:
    assert set(schemes.NAMES) == {"iob1", "bio2", "bioes", "plain"}
