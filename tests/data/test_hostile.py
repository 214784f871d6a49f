"""Files as people have them: what cannot be used is refused with its place and without a trace, what can be is read right."""

import datetime
import gzip
import json
import zipfile
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import pyarrow
import pyarrow.parquet
import pytest
from transformers import AutoConfig, AutoTokenizer

from nlp_transfer import cli
from nlp_transfer.backbone import Backbone
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.tasks import find

PAIRS = [(f"text number {i}", "ab"[i % 2]) for i in range(20)]
HEAD = "text,label\n"
LINES = "".join(f"{text},{label}\n" for text, label in PAIRS)
ROWS = [{"text": text, "label": label} for text, label in PAIRS]
TRAIN = HEAD + LINES
APART = ["--data", "rows.csv", "--data.test", "test.csv"]
SKIP = ["--data.skip_bad_rows", "true"]


def lines_of(*rows):
    return "".join(json.dumps(row) + "\n" for row in (*ROWS, *rows))


def parquet(schema=None, **columns):
    out = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), out)
    return out.getvalue()


def columns(texts=None, labels=None):
    return {
        "text": texts or [text for text, _ in PAIRS],
        "label": labels or [label for _, label in PAIRS],
    }


def repeated_columns():
    out = BytesIO()
    table = pyarrow.Table.from_arrays(
        [pyarrow.array(cells) for cells in [*columns().values(), ["x"] * 20]], names=["text", "label", "text"]
    )
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def broken_name():
    """A Parquet file with a column whose name is no UTF-8."""
    out = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({**columns(), "note": ["x"] * 20}), out, store_schema=False)
    return out.getvalue().replace(b"note", b"n\xffte")


def broken_characters():
    """A Parquet file whose text column claims to be UTF-8 and is not."""
    texts = pyarrow.array([b"caf\xe9"] * 20, pyarrow.binary()).view(pyarrow.string())
    return parquet(text=texts, label=[label for _, label in PAIRS])


def zipped():
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", TRAIN)
    return out.getvalue()


class Malformed(NamedTuple):
    """Files by name, the words after `train --task ...`, and what the message must contain."""

    name: str
    files: dict
    says: list
    words: Sequence = ("--data", "rows.csv")
    task: str = "classification"


ASKED = {"question": "When?", "context": "It opens at nine, at nine sharp, in May.", "answers": ["May"]}


def about(*rows):
    """Good questions, then those of a case, each with an id of its own unless it brings one."""
    every = [*([ASKED] * 6), *({**ASKED, **row} for row in rows)]
    return {"rows.jsonl": "".join(json.dumps({"id": i, **row}) + "\n" for i, row in enumerate(every))}


def answered(text, start):
    return about({"answers": {"text": [text], "answer_start": [start]}})


def article(*paragraphs):
    return {"rows.json": json.dumps({"version": "v2.0", "data": [{"title": "x", "paragraphs": list(paragraphs)}]})}


QA = {"words": ["--data", "rows.jsonl"], "task": "qa"}
NESTED = {"words": ["--data", "rows.json"], "task": "qa"}

MALFORMED = [
    # questions
    Malformed("answer_not_in_its_context", answered("ten", 3), ["rows.jsonl, line 7", '"ten" is not in'], **QA),
    Malformed("answer_in_other_case", answered("may", 36), ["rows.jsonl, line 7", '"may" is not in'], **QA),
    Malformed("offset_off_and_several", answered("at nine", 8), ["line 7", "character 8", "several others"], **QA),
    Malformed("offset_after_the_text", answered("nine", 800), ["line 7", "character 800 (the text ends"], **QA),
    Malformed("offset_negative", answered("nine", -1), ["line 7", "-1 is no place"], **QA),
    Malformed("offset_no_number", answered("nine", "soon"), ["line 7", "soon is no place"], **QA),
    Malformed("answer_without_text", answered(None, 3), ["line 7", "without a text"], **QA),
    Malformed("answers_a_number", about({"answers": 5}), ["rows.jsonl", "answer"], **QA),
    Malformed("empty_question", about({"question": " "}), ["line 7", 'column "question"', "empty"], **QA),
    Malformed("empty_context", about({"context": ""}), ["line 7", 'column "context"', "empty"], **QA),
    Malformed("question_a_list", about({"question": ["When?"]}), ["line 7", "text is expected"], **QA),
    Malformed("id_twice", about({"id": 3}), ["line 7", 'column "id"', "the id 3 stands in an earlier row"], **QA),
    Malformed("several_bad_questions", about({"question": ""}, {"id": 1}), ["2 lines are bad: 7, 8"], **QA),
    Malformed("no_context_column", {"rows.csv": TRAIN}, ["rows.csv", "question"], task="qa"),
    Malformed(
        "nested_without_context",
        article({"qas": [{"id": 1, "question": "Who?", "answers": []}]}),
        ["row 1", "context"],
        **NESTED,
    ),
    Malformed("nested_without_questions", article({"context": "x"}), ["rows.json"], **NESTED),
    Malformed(
        "nested_question_no_object",
        article({"context": "x", "qas": ["Who?", {"question": "Who?", "answers": [{"text": "x", "answer_start": 0}]}]}),
        ["row 1", "object is expected"],
        **NESTED,
    ),
    Malformed("nested_without_articles", {"rows.json": '{"data": []}'}, ["rows.json holds no rows"], **NESTED),
    # files that cannot be read
    Malformed("missing", {}, ["rows.csv", "does not exist"]),
    Malformed("no_name", {"train.csv": TRAIN}, ["no data", "--data"], ["--data", ""]),
    Malformed("name_too_long", {}, ["n" * 300, "cannot be read"], ["--data", "n" * 300 + ".csv"]),
    Malformed("home_of_nobody", {}, ["~nobody-here", "home"], ["--data", "~nobody-here/rows.csv"]),
    Malformed("a_folder_named_as_a_file", {"rows.csv/notes.txt": "x"}, ["rows.csv", "train, validation or test"]),
    Malformed("unknown_ending", {"rows.doc": TRAIN}, ["rows.doc", ".csv", ".parquet"], ["--data", "rows.doc"]),
    Malformed("empty", {"rows.csv": ""}, ["rows.csv", "empty"]),
    Malformed("only_a_byte_order_mark", {"rows.csv": b"\xef\xbb\xbf"}, ["rows.csv", "empty"]),
    Malformed("only_blank_lines", {"rows.jsonl": "\n \r\n\t\n"}, ["rows.jsonl", "empty"], ["--data", "rows.jsonl"]),
    Malformed("only_a_header", {"rows.csv": HEAD}, ["rows.csv", "no rows"]),
    Malformed("latin_1", {"rows.csv": (TRAIN + "café,a\n").encode("latin-1")}, ["rows.csv, line 22", "0xe9", "UTF-8"]),
    Malformed(
        "latin_1_and_old_line_ends",
        {"rows.csv": (TRAIN + "café,a\n").replace("\n", "\r").encode("latin-1")},
        ["rows.csv, line 22", "0xe9"],
    ),
    Malformed("utf_16_without_a_mark", {"rows.csv": TRAIN.encode("utf-16-le")}, ["rows.csv", "UTF-16", "UTF-8"]),
    Malformed("utf_16_cut_off", {"rows.csv": TRAIN.encode("utf-16")[:-1]}, ["rows.csv, line 21", "UTF-16"]),
    Malformed("gzip_without_gz", {"rows.csv": gzip.compress(TRAIN.encode())}, ["rows.csv", "gzip", "rows.csv.gz"]),
    Malformed("gz_without_gzip", {"rows.csv.gz": TRAIN}, ["rows.csv.gz", "gzip"], ["--data", "rows.csv.gz"]),
    Malformed(
        "gz_cut_off",
        {"rows.csv.gz": gzip.compress(TRAIN.encode())[:-9]},
        ["rows.csv.gz", "gzip"],
        ["--data", "rows.csv.gz"],
    ),
    Malformed("a_spreadsheet_named_csv", {"rows.csv": zipped()}, ["rows.csv", "zip", "spreadsheet"]),
    Malformed("parquet_named_csv", {"rows.csv": parquet(**columns())}, ["rows.csv", "Parquet", ".parquet"]),
    # broken rows
    Malformed(
        "too_many_cells", {"rows.csv": TRAIN + "one, two,a\n"}, ["rows.csv, line 22", "3 cells", "skip_bad_rows"]
    ),
    Malformed("too_few_cells", {"rows.csv": TRAIN + "one\nfine,a\ntwo\n"}, ["rows.csv, line 22", "1 cell ", "22, 24"]),
    Malformed(
        "unclosed_quote",
        {"rows.csv": TRAIN + '"one,a\ntwo,b\n'},
        ["rows.csv, line 22", "quote", "never closed", "skip_bad_rows"],
    ),
    Malformed(
        "text_after_a_quote", {"rows.csv": TRAIN + '"one" two,a\n'}, ["rows.csv, line 22", "quote", "skip_bad_rows"]
    ),
    Malformed("unclosed_quote_in_the_header", {"rows.csv": 'text,"label\n' + LINES}, ["rows.csv, line 1", "quote"]),
    Malformed(
        "header_names_a_column_twice", {"rows.csv": "text,label,text\na,b,c\n"}, ["rows.csv, line 1", "text", "twice"]
    ),
    Malformed(
        "broken_json_line",
        {"rows.jsonl": lines_of() + '{"text": "x"'},
        ["rows.jsonl, line 21", "JSON"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "json_line_that_is_no_object",
        {"rows.jsonl": lines_of(["x", "a"])},
        ["rows.jsonl, line 21", "list"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "json_names_a_key_twice",
        {"rows.jsonl": lines_of() + '{"text": "x", "label": "a", "label": "b"}'},
        ["rows.jsonl, line 21", '"label"', "twice"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "broken_json", {"rows.json": '[\n{"text": "a",}\n]'}, ["rows.json, line 2", "JSON"], ["--data", "rows.json"]
    ),
    Malformed("json_lines_named_json", {"rows.json": lines_of()}, ["rows.json", ".jsonl"], ["--data", "rows.json"]),
    Malformed(
        "json_that_is_no_list",
        {"rows.json": '{"text": ["a"]}'},
        ["rows.json", "list of objects"],
        ["--data", "rows.json"],
    ),
    # broken cells
    Malformed("empty_text", {"rows.csv": TRAIN + ",a\n"}, ["rows.csv, line 22", '"text"', "empty"]),
    Malformed("blank_text", {"rows.csv": TRAIN + " \t,a\nb,\n"}, ["rows.csv, line 22", '"text"', "empty", "22, 23"]),
    Malformed("missing_label", {"rows.csv": TRAIN + "fine,\n"}, ["rows.csv, line 22", '"label"', "empty"]),
    Malformed(
        "missing_key",
        {"rows.jsonl": lines_of({"text": "x"})},
        ["rows.jsonl, line 21", '"label"', "empty"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "null_label",
        {"rows.jsonl": lines_of({"text": "x", "label": None})},
        ["rows.jsonl, line 21", '"label"'],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "nan_label",
        {"rows.jsonl": lines_of({"text": "x", "label": float("nan")})},
        ["line 21", '"label"', "empty"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "number_for_a_text",
        {"rows.jsonl": lines_of({"text": 12, "label": "a"})},
        ["rows.jsonl, line 21", '"text"', "12 (int)"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "list_for_a_text",
        {"rows.jsonl": lines_of({"text": ["x"], "label": "a"})},
        ["line 21", '"text"', "list"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "list_for_a_label",
        {"rows.jsonl": lines_of({"text": "x", "label": ["a"]})},
        ["line 21", '"label"', "list"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "object_for_a_label",
        {"rows.jsonl": lines_of({"text": "x", "label": {"a": 1}})},
        ["line 21", '"label"', "dict"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "half_a_character",
        {"rows.jsonl": lines_of() + '{"text": "x \\ud83d", "label": "a"}'},
        ["line 21", '"text"', "surrogate"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "every_row_is_bad",
        {"rows.csv": HEAD + ",a\n,b\n"},
        ["rows.csv", "every row is bad", "line 2"],
        ["--data", "rows.csv", *SKIP],
    ),
    # columns
    Malformed(
        "mistyped_column",
        {"rows.csv": "reviw,label\n" + LINES},
        ["rows.csv", 'Did you mean column "reviw"?', "--columns.text reviw"],
    ),
    Malformed("no_header", {"rows.csv": LINES}, ["rows.csv", "first line", "--columns.text"]),
    Malformed("another_delimiter", {"rows.csv": TRAIN.replace(",", "|")}, ["rows.csv", "text|label", "--columns.text"]),
    Malformed(
        "mapped_to_no_column",
        {"rows.csv": TRAIN},
        ["--columns.text", "rows.csv", 'Did you mean "text"'],
        ["--data", "rows.csv", "--columns.text", "txt"],
    ),
    Malformed(
        "mapped_from_no_column",
        {"rows.csv": TRAIN},
        ["columns.labl", 'Did you mean "label"'],
        ["--data", "rows.csv", "--columns.labl", "label"],
    ),
    Malformed(
        "one_column_for_both",
        {"rows.csv": TRAIN},
        ["--columns.text", "--columns.label", "both"],
        ["--data", "rows.csv", "--columns.text", "label", "--columns.label", "label"],
    ),
    Malformed(
        "swapped_columns",
        {"rows.csv": TRAIN},
        ["rows.csv", "swapped", "--columns.text"],
        ["--data", "rows.csv", "--columns.text", "label", "--columns.label", "text"],
    ),
    Malformed(
        "test_has_other_columns",
        {"rows.csv": TRAIN, "test.csv": "review,label\n" + LINES},
        ["test.csv", 'no column "text"', "rows.csv"],
        APART,
    ),
    # labels
    Malformed("one_class", {"rows.csv": HEAD + "x,a\n" * 20}, ["rows.csv", "one label, a,", "two classes"]),
    Malformed(
        "fewer_rows_than_classes",
        {"rows.csv": TRAIN},
        ["--data.limit is 2", "fewer rows than classes", "3"],
        ["--data", "rows.jsonl", "--data.limit", "2"],
    ),
    Malformed(
        "a_class_per_row",
        {"rows.csv": HEAD + "".join(f"x,{i}\n" for i in range(9))},
        ["rows.csv", "9 different values in 9 rows"],
    ),
    Malformed(
        "too_few_rows_to_cut", {"rows.csv": HEAD + "x,a\ny,b\n"}, ["rows.csv", "2 rows are too few", "--data.test"]
    ),
    Malformed(
        "test_label_that_training_lacks",
        {"rows.csv": TRAIN, "test.csv": HEAD + "x,a\ny,A\nz,c\n"},
        ["test.csv, line 3", '"A"', 'Did you mean "a"', "3, 4", "skip_bad_rows"],
        APART,
    ),
    Malformed(
        "every_test_label_is_unknown",
        {"rows.csv": TRAIN, "test.csv": HEAD + "x,c\n"},
        ["test.csv", "every row is bad", "line 2"],
        [*APART, *SKIP],
    ),
    Malformed(
        "no_polarity",
        {"rows.csv": HEAD + "x,positive\ny,negative\n" * 9 + "z,perhaps\n"},
        ["rows.csv, line 20", '"perhaps"'],
        task="sentiment",
    ),
    Malformed(
        "test_polarity_that_training_lacks",
        {"rows.csv": HEAD + "x,positive\ny,negative\n" * 9, "test.csv": HEAD + "z,neutral\n"},
        ["test.csv, line 2", '"neutral"'],
        APART,
        "sentiment",
    ),
    # folders
    Malformed("folder_without_data", {"data/README.md": "x"}, ["data", "no file", "train"], ["--data", "data"]),
    Malformed(
        "folder_without_split_names", {"data/reviews.csv": TRAIN}, ["data", "reviews.csv", "train"], ["--data", "data"]
    ),
    Malformed(
        "folder_without_training", {"data/test.csv": TRAIN}, ["data", "no training rows", "test"], ["--data", "data"]
    ),
    Malformed(
        "folder_with_two_of_a_split",
        {"data/train.csv": TRAIN, "data/train.tsv": TRAIN},
        ["train.csv", "train.tsv"],
        ["--data", "data"],
    ),
    Malformed(
        "folder_with_an_empty_split",
        {"data/train.csv": TRAIN, "data/test.csv": ""},
        ["test.csv", "empty"],
        ["--data", "data"],
    ),
    Malformed(
        "a_folder_for_a_split",
        {"rows.csv": TRAIN, "data/train.csv": TRAIN, "data/test.csv": TRAIN},
        ["data.test", "train, test", "one file"],
        ["--data", "rows.csv", "--data.test", "data"],
    ),
    # Parquet
    Malformed("no_parquet", {"rows.parquet": TRAIN}, ["rows.parquet", "Parquet"], ["--data", "rows.parquet"]),
    Malformed(
        "parquet_cut_off",
        {"rows.parquet": parquet(**columns())[:-20]},
        ["rows.parquet", "Parquet"],
        ["--data", "rows.parquet"],
    ),
    Malformed(
        "parquet_without_columns", {"rows.parquet": parquet()}, ["rows.parquet", "no rows"], ["--data", "rows.parquet"]
    ),
    Malformed(
        "parquet_names_a_column_twice",
        {"rows.parquet": repeated_columns()},
        ["rows.parquet", "text", "twice"],
        ["--data", "rows.parquet"],
    ),
    Malformed(
        "parquet_with_a_broken_name",
        {"rows.parquet": broken_name()},
        ["rows.parquet", "Parquet", "a name", "0xff"],
        ["--data", "rows.parquet"],
    ),
    Malformed(
        "parquet_with_broken_characters",
        {"rows.parquet": broken_characters()},
        ["rows.parquet, row 1", '"text"', "bytes"],
        ["--data", "rows.parquet"],
    ),
    Malformed(
        "parquet_with_bytes_for_texts",
        {"rows.parquet": parquet(**columns([b"caf\xe9"] * 20))},
        ["rows.parquet, row 1", '"text"', "bytes"],
        ["--data", "rows.parquet"],
    ),
    Malformed(
        "parquet_with_numbers_for_texts",
        {"rows.parquet": parquet(**columns(list(range(20))))},
        ["rows.parquet, row 1", '"text"', "0 (int)", "20 rows"],
        ["--data", "rows.parquet"],
    ),
    Malformed(
        "parquet_with_other_columns",
        {"d/train.parquet": parquet(**columns()), "d/test.parquet": parquet(review=["x"], label=["a"])},
        ["test.parquet", 'no column "text"', "train.parquet"],
        ["--data", "d"],
    ),
    Malformed(
        "parquet_with_other_types",
        {"d/train.parquet": parquet(**columns()), "d/test.parquet": parquet(text=["x", "y"], label=[0, 1])},
        ["test.parquet, row 1", '"0"', "not one of training"],
        ["--data", "d"],
    ),
    Malformed(
        "parquet_with_lists_for_labels",
        {"d/train.parquet": parquet(**columns()), "d/test.parquet": parquet(text=["x"], label=[["a"]])},
        ["test.parquet, row 1", '"label"', "list"],
        ["--data", "d"],
    ),
]


def test_there_are_enough_of_both():
    assert len({case.name for case in MALFORMED}) == len(MALFORMED) >= 40
    assert len({case.name for case in VALID}) == len(VALID) >= 20


TWO = "premise,hypothesis,label\n" + "".join(f"{text},other {i},{label}\n" for i, (text, label) in enumerate(PAIRS))
SEVERAL = "text,labels\n" + "".join(f"{text},{('a', 'a|b', '', 'b')[i % 4]}\n" for i, (text, _) in enumerate(PAIRS))
SPREAD = "text,joy,anger\n" + "".join(f"{text},{i % 2},{i % 3 == 0:d}\n" for i, (text, _) in enumerate(PAIRS))
NUMBERED = "text,target\n" + "".join(f"{text},{i / 2}\n" for i, (text, _) in enumerate(PAIRS))
JOINED = ["--data", "rows.csv", "--columns.labels", "joy,anger"]
LISTS = "".join(json.dumps({"text": text, "labels": ["a", "b"][: i % 3]}) + "\n" for i, (text, _) in enumerate(PAIRS))

MALFORMED += [
    # two texts
    Malformed("empty_second_text", {"rows.csv": TWO + "x,,a\n"}, ["rows.csv, line 22", '"hypothesis"', "empty"]),
    Malformed(
        "number_for_a_second_text",
        {"rows.jsonl": "".join(json.dumps({"text": t, "text_pair": 3, "label": label}) + "\n" for t, label in PAIRS)},
        ["rows.jsonl, line 1", '"text_pair"', "3 (int)"],
        ["--data", "rows.jsonl"],
    ),
    Malformed(
        "one_column_for_both_texts",
        {"rows.csv": TWO},
        ["--columns.text", "--columns.text_pair", "both"],
        ["--data", "rows.csv", "--columns.text", "premise", "--columns.text_pair", "premise"],
    ),
    Malformed(
        "second_text_mapped_to_no_column",
        {"rows.csv": TWO},
        ["--columns.text_pair", 'no column "hypotesis"', 'Did you mean "hypothesis"'],
        ["--data", "rows.csv", "--columns.text", "premise", "--columns.text_pair", "hypotesis"],
    ),
    Malformed(
        "swapped_columns_of_pairs",
        {"rows.csv": TWO},
        ["rows.csv", "swapped", "--columns.text, --columns.text_pair and --columns.label"],
        [
            "--data",
            "rows.csv",
            *["--columns.text", "premise", "--columns.text_pair", "label", "--columns.label", "hypothesis"],
        ],
    ),
    Malformed(
        "test_lacks_the_second_text",
        {"rows.csv": TWO, "test.csv": "premise,label\nx,a\ny,b\n"},
        ["test.csv", 'no column "hypothesis"', "text_pair of rows.csv"],
        APART,
    ),
    Malformed(
        "sentiment_has_no_second_text",
        {"rows.csv": TWO},
        ["columns.text_pair", "sentiment has no column"],
        ["--data", "rows.csv", "--columns.text_pair", "hypothesis"],
        task="sentiment",
    ),
    # several labels
    Malformed(
        "no_list_of_labels",
        {"rows.jsonl": LISTS + '{"text": "x", "labels": null}\n'},
        ["rows.jsonl, line 21", '"labels"', "empty list"],
        ["--data", "rows.jsonl"],
        task="multi_label",
    ),
    Malformed(
        "list_of_lists_for_labels",
        {"rows.jsonl": LISTS + '{"text": "x", "labels": [["a"]]}\n'},
        ["rows.jsonl, line 21", '"labels"', "labels are expected"],
        ["--data", "rows.jsonl"],
        task="multi_label",
    ),
    Malformed(
        "one_of_several_labels_that_training_lacks",
        {"rows.csv": SEVERAL, "test.csv": "text,labels\nx,a\ny,b|aa\n"},
        ["test.csv, line 3", '"labels"', '"aa"', 'Did you mean "a"'],
        APART,
        "multi_label",
    ),
    Malformed(
        "no_yes_and_no_no",
        {"rows.csv": SPREAD + "x,1,maybe\n"},
        ["rows.csv, line 22", 'anger is "maybe"'],
        JOINED,
        "multi_label",
    ),
    Malformed(
        "label_column_that_is_not_there",
        {"rows.csv": SPREAD},
        ["--columns.labels", 'no column "fear"'],
        ["--data", "rows.csv", "--columns.labels", "joy,fear"],
        "multi_label",
    ),
    Malformed(
        "test_lacks_a_label_column",
        {"rows.csv": SPREAD, "test.csv": "text,joy\nx,1\n"},
        ["test.csv", "joy,anger", "rows.csv"],
        [*JOINED, "--data.test", "test.csv"],
        "multi_label",
    ),
    Malformed(
        "label_columns_of_a_task_with_one_label",
        {"rows.csv": SPREAD},
        ["--columns.label", 'no column "joy,anger"'],
        ["--data", "rows.csv", "--columns.label", "joy,anger"],
    ),
    Malformed(
        "no_row_has_a_label", {"rows.csv": "text,labels\n" + "x,\n" * 20}, ["rows.csv", "label"], task="multi_label"
    ),
    Malformed(
        "swapped_columns_of_several_labels",
        {"rows.csv": SEVERAL.replace(",\n", ",b\n")},
        ["rows.csv", "swapped", "--columns.text and --columns.labels"],
        ["--data", "rows.csv", "--columns.text", "labels", "--columns.labels", "text"],
        "multi_label",
    ),
    # numbers
    Malformed("no_number", {"rows.csv": NUMBERED + "x,many\n"}, ["line 22", '"target"', '"many"'], task="regression"),
    Malformed("missing_number", {"rows.csv": NUMBERED + "x,\n"}, ["line 22", '"target"', "empty"], task="regression"),
    Malformed("not_a_number", {"rows.csv": NUMBERED + "x,NaN\n"}, ["line 22", '"NaN"', "finite"], task="regression"),
    Malformed(
        "decimal_comma",
        {"rows.csv": NUMBERED + 'x,"3,5"\n'},
        ["line 22", '"3,5"', "--task.decimal ,"],
        task="regression",
    ),
    Malformed(
        "true_for_a_number",
        {
            "rows.jsonl": "".join(
                json.dumps({"text": t, "target": i == 3 or i}) + "\n" for i, (t, _) in enumerate(PAIRS)
            )
        },
        ["rows.jsonl, line 4", '"True"', "number"],
        ["--data", "rows.jsonl"],
        "regression",
    ),
    Malformed(
        "one_number",
        {"rows.csv": "text,target\n" + "x,3\n" * 20},
        ["rows.csv", "target 3", "differ"],
        task="regression",
    ),
    Malformed(
        "swapped_columns_of_numbers",
        {"rows.csv": NUMBERED.replace("text number", "this is text number")},
        ["rows.csv, line 2", "swapped", "--columns.target"],
        ["--data", "rows.csv", "--columns.text", "target", "--columns.target", "text"],
        "regression",
    ),
    Malformed(
        "test_that_is_no_number",
        {"rows.csv": NUMBERED, "test.csv": "text,target\nx,1\ny,two\n"},
        ["test.csv, line 3", '"two"'],
        APART,
        "regression",
    ),
]


@pytest.fixture(scope="module")
def without_weights(tiny_bert, tmp_path_factory):
    """A model of which only configuration and tokenizer are there: whoever loads it fails."""
    folder = tmp_path_factory.mktemp("without-weights")
    AutoConfig.from_pretrained(tiny_bert).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


def put(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_malformed(case, without_weights, tmp_path, monkeypatch, capsys):
    put(tmp_path, case.files)
    if case.name == "fewer_rows_than_classes":
        put(tmp_path, {"rows.jsonl": lines_of(*({"text": f"more {i}", "label": "c"} for i in range(9)))})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Backbone, "model", lambda *_, **__: pytest.fail("a model is loaded"))
    before = sorted(tmp_path.rglob("*"))
    status = cli.main(
        ["train", "--task", case.task, *case.words, "--model", str(without_weights), "--output", "runs/x"]
    )
    said = capsys.readouterr()
    assert status == 2, said.err
    assert said.out == ""
    for word in case.says:
        assert word in said.err
    assert said.err.startswith("nlp-transfer: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "rows", "left", "count"),
    [
        ("rows.csv", TRAIN + ",a\nx,\n1,2,3\nfine,b\n", 21, 3),
        ("rows.csv", TRAIN + '"one" two,a\nfine,b\n"never closed,a\nafter,b\nlast,a\n', 23, 2),
        ("rows.jsonl", lines_of({"text": 3, "label": "a"}, {"text": "fine", "label": "b"}) + "{\n", 21, 2),
        ("rows.parquet", parquet(**columns([None, "", *(text for text, _ in PAIRS[2:])])), 18, 2),
    ],
)
def test_bad_rows_can_be_left_out_and_no_others_are(name, rows, left, count, tmp_path):
    put(tmp_path, {name: rows})
    data = load(DataSettings(str(tmp_path / name), skip_bad_rows=True), {}, find("classification")(), 0)
    assert sum(len(split) for split in data.splits.values()) == left
    bad = [finding for finding in data.warnings if finding.kind == "bad_rows"]
    assert [finding.count for finding in bad] == [count] == [len(bad[0].places)]


# unusual and valid


class Valid(NamedTuple):
    """A file's name and content, and what its rows are: all of them, or the last ones after `PAIRS`."""

    name: str
    file: str
    content: object
    more: Sequence = ()
    train: Sequence = tuple(PAIRS)
    task: str = "classification"


ARABIC, EMOJI = "مرحبا بالعالم", "👩\u200d👩\u200d👧 🏳️\u200d🌈"
LONG = "word " * 2_000_000 + "end"


def typed(kind, cells):
    return pyarrow.array(cells, kind)


VALID = [
    Valid("byte_order_mark", "rows.csv", b"\xef\xbb\xbf" + TRAIN.encode()),
    Valid("utf_16", "rows.csv", (TRAIN + "café,a\n").encode("utf-16"), [("café", "a")]),
    Valid("utf_16_big_endian", "rows.jsonl", b"\xfe\xff" + lines_of().encode("utf-16-be")),
    Valid("utf_32", "rows.tsv", TRAIN.replace(",", "\t").encode("utf-32")),
    Valid(
        "mixed_line_ends", "rows.csv", TRAIN + "one,a\r\ntwo,b\rthree,a\n", [("one", "a"), ("two", "b"), ("three", "a")]
    ),
    Valid("no_line_end_at_the_end", "rows.csv", TRAIN + "last,a", [("last", "a")]),
    Valid("empty_lines_at_the_end", "rows.csv", TRAIN + "\n\r\n   \n\n"),
    Valid("blank_lines_first", "rows.csv", "\n  \n" + TRAIN),
    Valid("right_to_left", "rows.csv", TRAIN + f"{ARABIC},b\n", [(ARABIC, "b")]),
    Valid("emoji", "rows.csv", TRAIN + f"{EMOJI},a\n", [(EMOJI, "a")]),
    Valid("control_characters_are_kept", "rows.csv", TRAIN + "a\x00b\x0bc,b\n", [("a\x00b\x0bc", "b")]),
    Valid("quoted_line_breaks", "rows.csv", TRAIN + '"a\nb\r\n""c"", d",b\n', [('a\nb\r\n"c", d', "b")]),
    Valid("semicolons", "rows.csv", TRAIN.replace(",", ";") + "a, b, c;a\n", [("a, b, c", "a")]),
    Valid(
        "header_with_quoted_delimiters",
        "rows.csv",
        '"id, or name, or both";text;label\n' + "".join(f"1;{t};{label}\n" for t, label in PAIRS),
    ),
    Valid("header_with_blanks", "rows.csv", " Text , LABEL \n" + LINES),
    Valid(
        "columns_without_names",
        "rows.csv",
        ",text,label,,\n" + "".join(f"{i},{text},{label},,\n" for i, (text, label) in enumerate(PAIRS)),
    ),
    Valid(
        "more_columns_than_needed",
        "rows.csv",
        "id,label,text,more\n" + "".join(f"{i},{label},{t},\n" for i, (t, label) in enumerate(PAIRS)),
    ),
    Valid(
        "numbers_for_labels",
        "rows.csv",
        HEAD + "".join(f"{t},{i % 2}.0\n" for i, (t, _) in enumerate(PAIRS)),
        train=[(t, str(i % 2)) for i, (t, _) in enumerate(PAIRS)],
    ),
    Valid(
        "whole_and_broken_numbers",
        "rows.jsonl",
        "".join(json.dumps({"text": t, "label": 1 if i % 2 else 2.5}) + "\n" for i, (t, _) in enumerate(PAIRS)),
        train=[(t, "1" if i % 2 else "2.5") for i, (t, _) in enumerate(PAIRS)],
    ),
    Valid(
        "numbers_beyond_64_bits",
        "rows.jsonl",
        "".join(json.dumps({"text": t, "label": 2**70 + i % 2}) + "\n" for i, (t, _) in enumerate(PAIRS)),
        train=[(t, str(2**70 + i % 2)) for i, (t, _) in enumerate(PAIRS)],
    ),
    Valid(
        "true_and_false_for_labels",
        "rows.jsonl",
        "".join(json.dumps({"text": t, "label": i % 2 == 0}) + "\n" for i, (t, _) in enumerate(PAIRS)),
        train=[(t, ("positive", "negative")[i % 2]) for i, (t, _) in enumerate(PAIRS)],
        task="sentiment",
    ),
    Valid(
        "stars_for_labels",
        "rows.csv",
        HEAD + "".join(f"{t},{('★☆☆☆☆', '★★★★★')[i % 2]}\n" for i, (t, _) in enumerate(PAIRS)),
        train=[(t, ("negative", "positive")[i % 2]) for i, (t, _) in enumerate(PAIRS)],
        task="sentiment",
    ),
    Valid(
        "dates_for_labels",
        "rows.parquet",
        parquet(**columns(labels=[datetime.date(2020, 1, 1 + i % 2) for i in range(20)])),
        train=[(t, f"2020-01-0{1 + i % 2}") for i, (t, _) in enumerate(PAIRS)],
    ),
    Valid("ten_megabytes_in_a_cell", "rows.csv", TRAIN + f"{LONG},a\n", [(LONG, "a")]),
    Valid(
        "line_separators_of_unicode",
        "rows.jsonl",
        lines_of() + '{"text": "a\u2028b\u0085c", "label": "b"}\n',
        [("a\u2028b\u0085c", "b")],
    ),
    Valid(
        "escaped_characters",
        "rows.jsonl",
        lines_of() + '{"text": "\\ud83d\\udc4d \\n", "label": "b"}',
        [("👍 \n", "b")],
    ),
    Valid("gzip", "rows.jsonl.gz", gzip.compress(lines_of().encode())),
    Valid(
        "two_gzip_files_in_one",
        "rows.csv.gz",
        gzip.compress(TRAIN.encode()) + gzip.compress(b"more,a\n"),
        [("more", "a")],
    ),
    Valid("ending_in_capitals", "ROWS.CSV", TRAIN),
    Valid(
        "parquet_large_strings",
        "rows.parquet",
        parquet(
            text=typed(pyarrow.large_string(), [t for t, _ in PAIRS]),
            label=typed(pyarrow.large_string(), [label for _, label in PAIRS]),
        ),
    ),
    Valid(
        "parquet_dictionary",
        "rows.parquet",
        parquet(
            text=pyarrow.array([t for t, _ in PAIRS]).dictionary_encode(),
            label=pyarrow.array([label for _, label in PAIRS]).dictionary_encode(),
        ),
    ),
    Valid(
        "parquet_string_views",
        "rows.parquet",
        parquet(text=typed(pyarrow.string_view(), [t for t, _ in PAIRS]), label=[label for _, label in PAIRS]),
    ),
    Valid(
        "parquet_bytes_that_are_utf_8",
        "rows.parquet",
        parquet(text=[t.encode() for t, _ in PAIRS], label=[label.encode() for _, label in PAIRS]),
    ),
    Valid(
        "parquet_small_numbers",
        "rows.parquet",
        parquet(text=[t for t, _ in PAIRS], label=typed(pyarrow.int8(), [i % 2 for i in range(20)])),
        train=[(t, str(i % 2)) for i, (t, _) in enumerate(PAIRS)],
    ),
    Valid("path_with_blanks_and_quotes", "my \"best\" 'rows'; $HOME & co.csv", TRAIN),
    Valid("path_with_a_line_break", "rows\nand more.csv", TRAIN),
    Valid("path_in_another_script", "数据/Отзывы é e\u0301.csv", TRAIN),
    Valid("path_like_a_flag", "-rows.csv", TRAIN),
    Valid("path_with_dots", "rows.v1.2.final.csv", TRAIN),
]


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
def test_valid(case, tmp_path, monkeypatch):
    put(tmp_path, {case.file: case.content})
    monkeypatch.chdir(tmp_path)
    source = cli.training(["--task", case.task, "--data", case.file])["recipe"].data.source
    assert source == case.file
    data = load(DataSettings(source), {}, find(case.task)(), seed=0)
    rows = [row for split in data.splits.values() for row in split.rows]
    found = [(row["text"], row["label"]) for row in sorted(rows, key=lambda row: row["place"])]
    assert found == [*case.train, *case.more]
    assert not [finding for finding in data.warnings if finding.kind == "bad_rows"]


def test_whole_numbers_in_one_split_and_text_in_another(tmp_path):
    texts = [text for text, _ in PAIRS]
    put(
        tmp_path,
        {
            "train.parquet": parquet(text=texts, label=[i % 2 for i in range(20)]),
            "validation.csv": HEAD + "x,1\ny,0\n",
            "test.jsonl": '{"text": "x", "label": "1"}\n{"text": "y", "label": 0.0}\n',
        },
    )
    data = load(DataSettings(str(tmp_path)), {}, find("classification")(), seed=0)
    assert data.task.classes == ("0", "1")
    assert data.splits["validation"].rows["label"] == data.splits["test"].rows["label"] == ["1", "0"]
