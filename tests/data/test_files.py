"""Files of rows: every form is read with its places, and every fault is named with its place."""

import csv
import gzip
import io
import json

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_transfer.data import files
from nlp_transfer.data.conll import CONLL
from nlp_transfer.errors import RequestError

ROWS = [
    {"text": "plain", "label": "a"},
    {"text": 'comma, "quotes" and ; semicolon', "label": "b"},
    {"text": "two\nlines", "label": "a"},
    {"text": "naïve – 日本語 👍", "label": "c"},
]


def as_csv(rows, delimiter=",", end="\n"):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return out.getvalue().encode()


def as_json_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows):
    return pandas.DataFrame(rows).to_parquet()


FORMS = {
    ".csv": (as_csv, [2, 3, 4, 6]),
    ".tsv": (lambda rows: as_csv(rows, "\t"), [2, 3, 4, 6]),
    ".json": (lambda rows: json.dumps(rows, indent=1).encode(), [1, 2, 3, 4]),
    ".jsonl": (as_json_lines, [1, 2, 3, 4]),
    ".ndjson": (as_json_lines, [1, 2, 3, 4]),
    ".parquet": (as_parquet, [1, 2, 3, 4]),
}


@pytest.fixture
def write(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def rows_of(table):
    return [dict(zip(table.columns, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)]


def refusal(path):
    with pytest.raises(RequestError) as caught:
        files.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_every_form_is_tried_here():
    assert {*FORMS, *CONLL} == set(files.SUFFIXES)  # the latter have tests of their own


@pytest.mark.parametrize("packed", ["", ".gz", ".GZ"])
@pytest.mark.parametrize("suffix", FORMS)
def test_every_form_gives_the_same_rows(write, suffix, packed):
    dump, places = FORMS[suffix]
    content = dump(ROWS)
    path = write(f"some.rows{suffix}{packed}", gzip.compress(content) if packed else content)
    table = files.read(path)
    assert rows_of(table) == ROWS
    assert list(table.columns) == ["text", "label"]
    assert table.places == places
    assert table.unit == ("line" if suffix in (".csv", ".tsv", ".jsonl", ".ndjson") else "row")
    assert table.origin == str(path)
    assert not table.bad
    assert len(table) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", ".csv"),
        ("a.CSV", ".csv"),
        ("a.b.jsonl.gz", ".jsonl"),
        ("a.csv.bak", None),
        ("a.gz", None),
        ("csv", None),
        ("a.txt", None),
    ],
)
def test_the_form_is_read_from_the_ending(tmp_path, name, expected):
    assert files.form(tmp_path / name) == expected


def test_columns_keep_the_order_of_the_file(write):
    names = [f"column_{i}" for i in range(30)]
    path = write("wide.csv", ",".join(names) + "\n" + ",".join("x" * 30) + "\n")
    assert list(files.read(path).columns) == names


@settings(deadline=None, database=None, max_examples=60)
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.sampled_from("ab")), min_size=1, max_size=8))
def test_any_text_survives_csv_and_json_lines(tmp_path_factory, cells):
    rows = [{"text": text, "label": label} for text, label in cells]
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.csv").write_bytes(as_csv(rows, end="\r\n"))
    (folder / "a.jsonl").write_bytes(as_json_lines(rows))
    assert rows_of(files.read(folder / "a.csv")) == rows
    assert rows_of(files.read(folder / "a.jsonl")) == rows


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_byte_order_marks_are_understood(write, suffix, encoding):
    content = FORMS[suffix][0](ROWS).decode().encode(encoding)
    assert rows_of(files.read(write(f"marked{suffix}", content))) == ROWS


def test_big_endian_utf_16_is_understood(write):
    content = b"\xfe\xff" + as_csv(ROWS).decode().encode("utf-16-be")
    assert rows_of(files.read(write("marked.csv", content))) == ROWS


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_csv_finds_its_delimiter_in_the_header(write, delimiter):
    assert rows_of(files.read(write("foreign.csv", as_csv(ROWS, delimiter)))) == ROWS


def test_a_tsv_may_know_no_quotes(write):
    """As GLUE's, of which many a line begins with a quote or has one inside."""
    lines = ['"Great movie\tpos', 'Bad movie"\tneg', '"Good" so they say\tpos', 'One more "\tneg', '"Great movie"\tpos']
    table = files.read(write("a.tsv", "\n".join(["text\tlabel", *lines]) + "\n"))
    assert table.columns["text"] == [line.split("\t")[0] for line in lines[:-1]] + ["Great movie"]
    assert (table.columns["label"], table.places, table.bad) == (["pos", "neg"] * 2 + ["pos"], [2, 3, 4, 5, 6], [])


def test_a_tsv_may_have_quotes(write):
    lines = ['"two\nlines\tof ""one"" text"\tpos', '"open\tneg\textra', "b\tneg"]
    table = files.read(write("a.tsv", "\n".join(["text\tlabel", *lines]) + "\n"))
    assert table.columns == {"text": ['two\nlines\tof "one" text', "b"], "label": ["pos", "neg"]}
    assert [place for place, _ in table.bad] == [4]
    one = files.read(write("b.tsv", 'text\n"two\nlines"\nb\n'))
    assert one.columns == {"text": ["two\nlines", "b"]}


def test_a_tsv_may_hold_commas_and_semicolons(write):
    path = write("a.tsv", "text,or;so\tlabel\na, b; c\tx\n")
    assert rows_of(files.read(path)) == [{"text,or;so": "a, b; c", "label": "x"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_counts_as_one_line(write, end):
    path = write("ends.csv", end.join(["text,label", "one,a", "two,b", ""]))
    table = files.read(path)
    assert rows_of(table) == [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]
    assert table.places == [2, 3]


def test_mixed_line_ends_and_blank_lines_keep_their_places(write):
    path = write("mixed.csv", '\r\ntext,label\r\none,a\n\n\rtwo,b\r\n"x\r\ny\nz",c\nlast,d')
    table = files.read(path)
    assert table.columns["text"] == ["one", "two", "x\r\ny\nz", "last"]
    assert table.places == [3, 6, 7, 10]


def test_mixed_line_ends_in_json_lines(write):
    table = files.read(write("mixed.jsonl", '{"text": "a"}\r\n\n{"text": "b"}\n  \r\n{"text": "c"}'))
    assert table.columns == {"text": ["a", "b", "c"]}
    assert table.places == [1, 3, 5]


def test_the_place_of_quoted_newlines_is_where_the_record_starts(write):
    table = files.read(write("quoted.csv", 'text,label\n"a\nb\nc",x\nd,y\n"e\n",z\n'))
    assert table.places == [2, 5, 6]
    assert table.columns["text"] == ["a\nb\nc", "d", "e\n"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_line_separators_of_unicode_do_not_end_a_record(write, separator):
    rows = [{"text": f"one{separator}two", "label": "a"}, {"text": "three", "label": "b"}]
    as_text = as_csv(rows)
    assert rows_of(files.read(write("a.csv", as_text))) == rows
    if separator > " ":
        table = files.read(write("a.jsonl", as_json_lines(rows)))
        assert rows_of(table) == rows
        assert table.places == [1, 2]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_cell_of_ten_megabytes(write, suffix):
    rows = [{"text": "word " * 2_000_000, "label": "a"}]
    assert rows_of(files.read(write(f"long{suffix}", FORMS[suffix][0](rows)))) == rows


def test_numbers_and_missing_cells_of_json_lines(write):
    table = files.read(write("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n{"label": null, "more": [2.5]}\n'))
    assert table.columns == {"text": ["a", "b", None], "label": [1, None, None], "more": [None, None, [2.5]]}


def test_blanks_around_header_names_are_dropped(write):
    assert list(files.read(write("a.csv", " text , label\na,b\n")).columns) == ["text", "label"]


# what is refused


def test_a_missing_file(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.csv")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert "no file" in refusal(tmp_path / "folder.csv")


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.gz", "rows.csv.zip"])
def test_an_unknown_ending_lists_the_known_ones(write, name):
    message = refusal(write(name, "text,label\na,b\n"))
    assert all(suffix in message for suffix in files.SUFFIXES)


@pytest.mark.parametrize("content", ["", "\n", " \r\n\t\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_an_empty_file(write, suffix, content):
    assert "empty" in refusal(write(f"a{suffix}", content))


def test_an_empty_parquet_file(write):
    assert "Parquet" in refusal(write("a.parquet", b""))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\n"),
        ("a.tsv", "text\tlabel"),
        ("a.json", "[]"),
        ("a.parquet", as_parquet({"text": []})),
    ],
)
def test_a_file_without_rows(write, name, content):
    assert "no rows" in refusal(write(name, content))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_bytes_that_are_no_utf_8_are_named_with_their_line(write, suffix):
    content = b"text,label\none,a\n" + "café,b\n".encode("latin-1")
    message = refusal(write(f"a{suffix}", content))
    assert "line 3" in message
    assert "0xe9" in message
    assert "UTF-8" in message


def test_half_a_character_of_utf_16_is_named(write):
    assert "UTF-16" in refusal(write("a.csv", "text\nab".encode("utf-16") + b"\x00"))


@pytest.mark.parametrize(
    "break_it", [lambda b: b[:-9], lambda b: b[:3], lambda _: b"plain text", lambda b: b[:20] + b"?" * 9 + b[29:]]
)
def test_a_broken_gzip_file(write, break_it):
    content = break_it(gzip.compress(as_csv(ROWS * 50)))
    assert "gzip" in refusal(write("a.csv.gz", content))


def test_ragged_rows_are_collected_with_their_lines(write):
    table = files.read(write("a.csv", 'text,label\na,x\n"b\nb",x,y\nc\nd,y\n'))
    assert table.columns == {"text": ["a", "d"], "label": ["x", "y"]}
    assert table.places == [2, 6]
    assert [place for place, _ in table.bad] == [3, 5]
    assert "3 cells" in table.bad[0][1]
    assert "1 cell " in table.bad[1][1]
    assert all("2" in reason for _, reason in table.bad)


def test_a_file_of_ragged_rows_alone_names_the_first(write):
    message = refusal(write("a.csv", "text,label\nHello, you,x\nGood, bye,y\n"))
    assert "line 2" in message
    assert "3 cells" in message


def test_an_unclosed_quote_names_the_line_where_it_opens(write):
    table = files.read(write("a.csv", 'text,label\na,x\n"b\n",y\n"never closed,x\nc,y\nd,y\n'))
    assert table.places == [2, 3, 6, 7]
    [(line, reason)] = table.bad
    assert line == 5
    assert "never closed" in reason


def test_text_after_a_closing_quote_names_the_line(write):
    table = files.read(write("a.csv", 'text,label\na,x\n"b" and more,x\nc,y\n'))
    assert table.places == [2, 4]
    assert table.bad[0][0] == 3
    assert "quote" in table.bad[0][1]


def test_a_quote_at_every_line_is_read_in_no_time(write):
    table = files.read(write("a.csv", "text,label\nfine,x\n" + '"a\n' * 50_001))
    assert len(table.bad) > 25_000
    assert table.places == [2]


def test_a_date_that_python_cannot_hold_is_text(write):
    column = pyarrow.array([253402300800000, 0], pyarrow.timestamp("ms"))
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"when": column}), out)
    cells = files.read(write("a.parquet", out.getvalue())).columns["when"]
    assert str(cells[0]).startswith("10000-01-01")


def test_a_header_that_names_a_column_twice(write):
    message = refusal(write("a.csv", "text,label, text\na,b,c\n"))
    assert "line 1" in message
    assert "text" in message
    assert "twice" in message


def test_broken_json_names_its_line(write):
    message = refusal(write("a.json", '[\n {"text": "a"},\n {"text": }\n]'))
    assert "line 3" in message
    assert "JSON" in message


def test_json_lines_in_a_json_file_are_recognised(write):
    assert ".jsonl" in refusal(write("a.json", as_json_lines(ROWS)))


@pytest.mark.parametrize(("content", "kind"), [('{"text": "a"}', "dict"), ('"text"', "str"), ("3", "int")])
def test_json_that_is_no_list(write, content, kind):
    message = refusal(write("a.json", content))
    assert kind in message
    assert "list" in message


def test_json_items_that_are_no_objects_are_collected(write):
    table = files.read(write("a.json", '[{"text": "a"}, "b", {"text": "c"}, [1]]'))
    assert table.places == [1, 3]
    assert [place for place, _ in table.bad] == [2, 4]


def test_broken_json_lines_are_collected(write):
    table = files.read(write("a.jsonl", '{"text": "a"}\n{"text": \n\n["b"]\n{"text": "c"}\n'))
    assert table.places == [1, 5]
    assert [place for place, _ in table.bad] == [2, 4]
    assert "JSON" in table.bad[0][1]


def test_deep_nesting_is_no_crash(write):
    assert "deep" in refusal(write("a.json", "[" * 200_000))
    table = files.read(write("a.jsonl", '{"text": "a"}\n' + "[" * 200_000 + "\n"))
    assert [place for place, _ in table.bad] == [2]
    assert "deep" in table.bad[0][1]


def test_a_number_of_thousands_of_digits_is_no_crash(write):
    digits = "1" * 5000
    assert "JSON" in refusal(write("a.json", f'[{{"label": {digits}}}]'))
    table = files.read(write("a.jsonl", f'{{"label": 1}}\n{{"label": {digits}}}\n'))
    assert [place for place, _ in table.bad] == [2]


@pytest.mark.parametrize("content", [b"text,label\na,b\n", b"PAR1 and nothing else PAR1", as_parquet(ROWS)[:-20]])
def test_what_is_no_parquet_file(write, content):
    assert "Parquet" in refusal(write("a.parquet", content))
