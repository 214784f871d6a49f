"""Decoding: the lines of a text are the same, however its bytes come in, and a wrong byte is named with its line."""

from __future__ import annotations

import codecs
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_transfer.data import decoding
from nlp_transfer.errors import RequestError

MARKED = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def by_pieces(content: bytes, piece: int, newline: str = "") -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "PIECE", piece)
        return list(decoding.lines("some.csv", io.BytesIO(content), newline))


@settings(deadline=None, database=None, max_examples=200)
@given(
    st.text(st.sampled_from("ab\r\n\u2028\x85é日👍")),
    st.sampled_from(sorted(MARKED)),
    st.integers(1, 7),
    st.sampled_from(["", "\n"]),
)
def test_pieces_of_any_size_give_the_lines_that_python_gives(
    text: str, encoding: str, piece: int, newline: str
) -> None:
    expected = list(io.StringIO(text, newline=newline))
    assert by_pieces(MARKED[encoding] + text.encode(encoding), piece, newline) == expected


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_the_line_of_a_wrong_byte_does_not_depend_on_the_pieces(piece: int, end: str) -> None:
    content = end.join(["one", "two", "", "thr"]).encode() + b"\xe9e" + end.encode()
    with pytest.raises(RequestError, match=r"^some\.csv, line 4: byte 0xe9 is not UTF-8\. Save"):
        by_pieces(content, piece)


@pytest.mark.parametrize("piece", [1, 3, 100])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_the_line_of_half_a_pair_in_utf_16(piece: int, encoding: str) -> None:
    content = MARKED[encoding] + "one\r\ntwo\rx".encode(encoding) + "\ud83dy".encode(encoding, "surrogatepass")
    with pytest.raises(RequestError, match=r"line 3: byte .* is not UTF-16\."):
        by_pieces(content, piece)


def test_in_json_lines_a_lone_return_ends_no_line() -> None:
    with pytest.raises(RequestError, match="line 2: byte 0xe9"):
        by_pieces(b"one\rmore\ntw\xe9", 2, "\n")


def test_a_file_without_a_name_is_told_what_it_is_too() -> None:
    with pytest.raises(RequestError, match=r"^standard input is compressed with gzip: unpack it, or .* ending \.gz\.$"):
        list(decoding.lines("standard input", io.BytesIO(b"\x1f\x8b\x08\x00\x00\x00"), ""))
