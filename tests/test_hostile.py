"""Bad input of every kind, and odd input that is good: here both tables are counted, and the parts that need no rows are held.

The rows themselves are in `tests/data/test_hostile.py`, models and runs from strangers in `tests/test_trust.py`.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import pytest
from transformers import AutoConfig, AutoTokenizer

from nlp_transfer import cli, fine_tune, tasks
from nlp_transfer.backbone import Backbone
from nlp_transfer.data import decoding, parquet
from nlp_transfer.data.files import SUFFIXES, read
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Run
from tests.data import test_hostile as rows

TRAIN = rows.TRAIN
MODEL = "MODEL"
"""Stands for a model in the words of a case."""
RUN = "RUN"
"""Stands for a finished run."""


class Refused(NamedTuple):
    """Files by name, the words of a command line, and what the message must contain."""

    name: str
    files: Mapping[str, str | bytes]
    words: list[str]
    says: list[str]


def recipe(name: str, text: str, *says: str) -> Refused:
    """A recipe of a classification in YAML."""
    words = ["train", "--config", "r.yaml", "--output", "runs/x", *([] if "model:" in text else ["--model", MODEL])]
    return Refused(f"recipe_{name}", {"rows.csv": TRAIN, "r.yaml": text}, words, [*says])


def setting(name: str, text: str, *says: str) -> Refused:
    """One section of such a recipe."""
    return recipe(
        name,
        f"task: classification\ndata: rows.csv\n{text}\n" if "data:" not in text else f"task: classification\n{text}\n",
        *says,
    )


def flag(name: str, line: str, *says: str) -> Refused:
    """Flags of a classification that is good but for them."""
    words = ["train", "--task", "classification", "--data", "rows.csv", "--model", MODEL, "--output", "runs/x"]
    return Refused(f"flag_{name}", {"rows.csv": TRAIN}, [*words, *line.split(" ")], [*says])


def command(name: str, line: str, *says: str, files: Mapping[str, str | bytes] | None = None) -> Refused:
    """A command of its own."""
    return Refused(f"command_{name}", files or {"rows.csv": TRAIN}, line.split(" "), [*says])


def data(name: str, task: str, file: str, content: str | bytes, *says: str) -> Refused:
    """Rows of a task."""
    words = ["train", "--task", task, "--data", file, "--model", MODEL, "--output", "runs/x"]
    return Refused(f"data_{name}", {file: content}, words, [*says])


def lines(*each: Any) -> str:
    return "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in each)


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
"""A few lines that stand for 9**10 words."""

SPAN = {"text": "Ada left Porto.", "entities": [[0, 3, "PER"]]}
SPANS = lines(*[SPAN] * 8)
ASKED = lines(*[{"question": "When?", "context": "It opens at nine.", "answers": ["nine"]}] * 8)
LABELS = lines(*[{"text": "x", "labels": ["a"]}, {"text": "y", "labels": ["b"]}] * 8)
NUMBERS = lines(*[{"text": "x", "target": 1}, {"text": "y", "target": 2}] * 8)
STARS = "text,label\n" + "x,1\ny,5\n" * 8
DEEP = "[" * 10_000 + "]" * 10_000
DEEP_OBJECT = '{"a":' * 10_000 + "1" + "}" * 10_000
DIGITS = "9" * 5_000
TWICE = "is given twice"


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 9)


def repeated_parquet(count: int) -> bytes:
    """A small file of very many rows."""
    out = BytesIO()
    cells = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int8()), pyarrow.array(["x" * 100]))
    pyarrow.parquet.write_table(pyarrow.table({"text": cells, "label": cells}), out)
    return out.getvalue()


REFUSED = [
    # recipes: YAML that is more than it looks
    recipe("billion_laughs", LAUGHS + "task: classification\n", "r.yaml", "anchors stand for more than"),
    setting("laughs_for_columns", "columns:\n" + indented(LAUGHS, 2), "r.yaml", "anchors stand for more than"),
    setting("laughs_for_training", "train:\n" + indented(LAUGHS, 2), "r.yaml", "anchors stand for more than"),
    recipe(
        "laughs_for_weights", "task:\n  name: classification\n  class_weights:\n" + indented(LAUGHS, 4), "anchors stand"
    ),
    recipe("anchor_in_itself", "task: &a [*a]\n", "r.yaml", "an anchor holds itself", "line 1"),
    setting("anchor_in_its_labels", "columns: &a {text: *a}", "r.yaml", "an anchor holds itself"),
    setting("anchor_for_a_number", "train: {epochs: &a [*a]}", "r.yaml", "an anchor holds itself"),
    recipe("deep", f"task: {DEEP[:2_000]}\n", "r.yaml", "nested too deeply"),
    setting("deep_map", "train: " + "{a: " * 900 + "1" + "}" * 900, "r.yaml", "nested too deeply"),
    recipe("name_twice", "task: classification\nseed: 1\nseed: 2\n", "r.yaml", '"seed"', TWICE),
    setting("setting_twice", "train: {epochs: 1, epochs: 2}", "r.yaml", '"epochs"', TWICE),
    recipe("two_documents", "task: classification\n---\ntask: qa\n", "r.yaml", "single document"),
    recipe("python_object", "task: !!python/object/apply:os.system [x]\n", "r.yaml", "is no YAML"),
    recipe("python_name", "task: !!python/name:os.system\n", "r.yaml", "is no YAML"),
    recipe("unknown_tag", "task: !evil x\n", "r.yaml", "is no YAML", "line 1"),
    recipe("list_for_a_name", "? [a]\n: 1\n", "r.yaml", "unhashable key"),
    recipe("tab", "task: classification\n\tseed: 1\n", "r.yaml", "line 2"),
    recipe("list", "- task: classification\n", "r.yaml", "settings by name"),
    recipe("empty", "", "r.yaml", "settings by name"),
    recipe("null_byte", "task: classification\ndata: a\0b\n", "r.yaml"),
    recipe("escaped_null_byte", 'task: classification\ndata: "a\\0b.csv"\n', "a\\x00b.csv", "does not exist"),
    recipe("half_a_character", 'task: classification\ndata: "a\\ud83d.csv"\n', "a\\ud83d.csv", "does not exist"),
    recipe("number_of_5000_digits", f"task: classification\nseed: {DIGITS}\n", "r.yaml", "digits"),
    # recipes: names and values that are no words, or of the wrong kind
    recipe("task_no", "task: no\n", 'no task "False"'),
    recipe("task_list", "task: [classification]\n", "no task", "Did you mean"),
    recipe("task_of_another_folder", "task: ../evil\n", 'no task "../evil"'),
    recipe("task_inside", "task: __init__\n", 'no task "__init__"'),
    setting("method_null", "method: null", 'no method "None"'),
    setting("unknown_section", "trian: {epochs: 1}", 'no "trian"', 'Did you mean "train"'),
    setting("unknown_setting", "train: {epoch: 1}", "train", '"epoch"', 'Did you mean "epochs"'),
    setting("output_is_no_setting", "output: x", 'no "output"'),
    setting("code_is_no_setting", "model: {name: minilm, trust_remote_code: true}", '"trust_remote_code"'),
    recipe(
        "labels_no", "task: {name: classification, labels: [no, yes]}\ndata: rows.csv\n", "task.labels", "False, True"
    ),
    recipe("labels_null", "task: {name: classification, labels: [null, a]}\ndata: rows.csv\n", "task.labels", "None"),
    recipe("labels_date", "task: {name: classification, labels: [2020-01-01, a]}\ndata: rows.csv\n", "task.labels"),
    recipe("labels_map", "task: {name: classification, labels: {a: 1}}\ndata: rows.csv\n", "task.labels"),
    recipe(
        "weights_no",
        "task: {name: classification, class_weights: {no: 2.0}}\n",
        "task.class_weights",
        "False",
        "quotes",
    ),
    recipe("weights_number", "task: {name: classification, class_weights: {1: 2.0}}\n", "task.class_weights", "quotes"),
    recipe(
        "weights_words", "task: {name: classification, class_weights: {a: heavy}}\ndata: rows.csv\n", "class_weights"
    ),
    setting("column_no", "columns: {text: no}", "columns", "False"),
    setting("columns_named_no", "columns: {no: text}", "columns", "False", "quotes"),
    setting("source_number", "data: 12", "data", "int", "expected a path"),
    setting("source_list", "data: [a.csv]", "data, row 1", "str"),
    setting("source_map", "data: {source: {a: 1}}", "train, validation and test"),
    setting("source_true", "data: {source: true}", "data", "bool"),
    setting("source_only_fraction", "data: {validation_fraction: 0.2}", "no data"),
    setting("subset_list", "data: {source: rows.csv, subset: [a]}", "data.subset"),
    setting("model_number", "model: 3", "model.name", "3"),
    setting("model_empty", "model: ''", 'model ""', "neither a folder"),
    setting("model_null_byte", 'model: "a\\0b"', "a\\x00b"),
    setting("model_of_nobody", "model: ~nobody-here/x", "~nobody-here"),
    setting("model_too_long", f"model: {'m' * 300}", "m" * 300, "too long"),
    setting("model_that_is_a_file", "model: rows.csv", "rows.csv"),
    setting("model_without_config", "model: .", "holds no model"),
    setting("seed_words", "seed: x", "seed", "whole number"),
    setting("seed_date", "seed: 2001-01-01", "seed", "whole number"),
    setting("seed_part", "seed: 1.5", "seed", "whole number"),
    setting("seed_negative", "seed: -1", "seed", "0 or more"),
    setting("train_set", "train: !!set {epochs}", "train", "settings by name"),
    # settings out of range, or against each other
    *(
        setting(f"{name}_{str(value).strip('.-')}", f"train: {{{name}: {value}}}", f"train.{name}", "expected")
        for name, value in (
            *(("epochs", 0), ("epochs", ".nan"), ("epochs", ".inf"), ("epochs", "1.0e+308"), ("batch_size", 0)),
            *(("batch_size", 10**21), ("batch_size", 1.5), ("accumulate", -1), ("max_steps", 0), ("max_steps", 2**40)),
            *(("learning_rate", -1), ("learning_rate", ".nan"), ("clip", 0), ("warmup", 1), ("warmup", ".nan")),
            *(("weight_decay", -1), ("weight_decay", ".nan"), ("dropout", 1), ("patience", 0), ("max_minutes", -5)),
            *(("checkpoint_every", 0), ("checkpoint_every", -1), ("store_gigabytes", -1), ("precision", "fp8")),
            *(("schedule", "steep"), ("frozen", "int4"), ("gradient_checkpointing", "perhaps"), ("epochs", "[1]")),
        )
    ),
    setting("unknown_tracker", "train: {trackers: [tensorbord]}", "train.trackers", 'Did you mean "tensorboard"'),
    setting("tracker_elsewhere", "train: {trackers: [../../x]}", "train.trackers", "../../x"),
    setting("fractions", "data: {source: rows.csv, validation_fraction: 0.6, test_fraction: 0.5}", "below 1"),
    setting("fraction_nan", "data: {source: rows.csv, validation_fraction: .nan}", "data.validation_fraction"),
    setting("length", "data: {source: rows.csv, max_length: 3}", "data.max_length", "4 or more"),
    setting("longer_than_the_model", "data: {source: rows.csv, max_length: 65}", "data.max_length", "64 tokens"),
    setting("limit", "data: {source: rows.csv, limit: 1}", "data.limit", "2 or more"),
    setting("frozen_in_other_numbers", "train: {frozen: bf16, precision: fp32}", "train.frozen", "train.precision"),
    setting("head_from_scratch", "method: head\nmodel: {name: rows, from_scratch: true}", "from_scratch", "head"),
    recipe("pooling_of_tokens", "task: qa\ndata: rows.csv\nhead: {pooling: mean}\n", "head.pooling", "qa"),
    recipe(
        "stars_of_polarity", "task: {name: sentiment, grades: five, scale: polarity}\ndata: rows.csv\n", "task.grades"
    ),
    recipe("labels_of_sentiment", "task: {name: sentiment, labels: [a, b]}\ndata: rows.csv\n", "task", '"labels"'),
    recipe("bounds_of_sentiment", "task: {name: sentiment, negative_to: 4, positive_from: 2}\n", "negative_to"),
    recipe("coverage", "task: {name: regression, coverage: 1.5}\ndata: rows.csv\n", "task.coverage", "between 0 and 1"),
    recipe("tolerance", "task: {name: regression, tolerance: -1}\ndata: rows.csv\n", "task.tolerance"),
    recipe("answer_length", "task: {name: qa, max_answer_length: 0}\ndata: rows.csv\n", "task.max_answer_length"),
    recipe("stride", "task: {name: entities, stride: -1}\ndata: rows.csv\n", "task.stride", "0 or more"),
    setting("rank", "method: {name: lora, rank: 0}", "method.rank"),
    setting("rank_words", "method: {name: lora, rank: many}", "method.rank", "whole number"),
    setting("method_of_another", "method: {name: full, rank: 4}", "method", '"rank"'),
    setting("placement", "method: {name: adapter, placement: everywhere}", "method.placement", "everywhere"),
    setting("tuner", "method: {name: peft, tuner: evil}", "evil"),
    # flags
    flag("stray_word", "--seed 1 2", '"2"', "belongs to no flag"),
    flag("short", "-s 1", '"-s"', "belongs to no flag"),
    flag("unknown", "--epochs 3", 'no "epochs"'),
    flag("near", "--train.epoch 3", '"epoch"', 'Did you mean "epochs"'),
    flag("against_another", "--train 3 --train.epochs 2", "contradicts"),
    flag("section_as_a_word", "--train 3", "train", "settings by name"),
    flag("without_a_value", "--seed", "seed", "whole number"),
    flag("null_byte", "--data.test a\0b.csv", "a\\x00b.csv", "null byte"),
    flag("half_a_character", "--data.test a\udcff.csv", "a\\udcff.csv", "does not exist"),
    flag("escape_for_a_terminal", "--columns.text \x1b[31mred", "\\x1b[31mred", "no column"),
    flag("line_turned_round", "--columns.text a\u202eb", "a\\u202eb", "no column"),
    flag("switch_with_a_value", "--overwrite=perhaps", "--overwrite", "takes no value"),
    flag("output_empty", "--output=", "--output", "needs a value"),
    flag("output_inside_a_file", "--output rows.csv/x", "rows.csv/x", "cannot be"),
    flag("output_too_long", f"--output {'o' * 300}", "o" * 300, "too long"),
    flag("output_of_others", "--output .", "other files"),
    flag("config_missing", "--config none.yaml", "none.yaml", "does not exist"),
    flag("config_a_folder", "--config .", "cannot be read"),
    # commands
    command("unknown", "tarin", '"tarin"', 'Did you mean "train"'),
    command("train_without_a_task", "train --data rows.csv", "no task", "--task"),
    command("train_without_data", f"train --task sentiment --model {MODEL}", "no data", "--data"),
    command("train_standard_input", f"train --task sentiment --model {MODEL} --data -", "- "),
    command("train_device", f"train --task sentiment --model {MODEL} --data /dev/null", "/dev/null"),
    command("resume_what", "train --resume", "--resume needs --output"),
    command("compare_seeds", "compare --task sentiment --data rows.csv --seeds a", "--seeds", "whole numbers"),
    command("compare_workers", "compare --task sentiment --data rows.csv --workers 1,2", "--workers"),
    command("compare_unknown", "compare --task sentiment --data rows.csv --epochs 1", "--epochs"),
    command("compare_method", "compare --task sentiment --data rows.csv --method full", "--methods"),
    command("evaluate_nothing", "evaluate nothing --data rows.csv", "nothing", "no folder"),
    command("evaluate_no_run", "evaluate . --data rows.csv", "holds no finished run"),
    command("evaluate_number", f"evaluate {RUN} --data rows.csv --batch_size 0", "--batch_size"),
    command("evaluate_two_forms", f"evaluate {RUN} --data rows.csv --errors wrong.doc", "wrong.doc", "ending"),
    command("evaluate_the_same", f"evaluate {RUN} {RUN} --data rows.csv", "named twice"),
    command("predict_nothing", f"predict {RUN}", "exactly one"),
    command("predict_both", f"predict {RUN} text --input rows.csv --output x.csv", "exactly one"),
    command("predict_without_output", f"predict {RUN} --input rows.csv", "go together"),
    command("predict_missing", f"predict {RUN} --input none.csv --output x.csv", "none.csv", "does not exist"),
    command("predict_form", f"predict {RUN} --input rows.csv --output x.doc", "x.doc", "ending"),
    command(
        "predict_broken",
        f"predict {RUN} --input r.jsonl --output x.csv",
        "r.jsonl, line 2",
        files={"r.jsonl": '{"text": "x"}\n{"text"'},
    ),
    command(
        "predict_deep", f"predict {RUN} --input r.jsonl --output x.csv", "r.jsonl, line 1", files={"r.jsonl": DEEP}
    ),
    command(
        "predict_empty_text",
        f"predict {RUN} --input r.csv --output x.csv",
        "r.csv, line 3",
        files={"r.csv": "id,text\n1,x\n2,\n"},
    ),
    command(
        "predict_no_column", f"predict {RUN} --input r.csv --output x.csv", "r.csv", files={"r.csv": "id,other\n1,x\n"}
    ),
    command(
        "predict_bomb",
        f"predict {RUN} --input r.csv.gz --output x.csv",
        "r.csv.gz unpacks to more",
        files={"r.csv.gz": packed(b"text\n" + b"x" * 2**22)},
    ),
    command("predict_question", f"predict {RUN} --question x", "--context"),
    command("export_form", f"export {RUN} --format pickle --output x", "pickle"),
    command("export_over", f"export {RUN} --format merged --output .", "."),
    command("list_unknown", "list evil", "evil"),
    command("demo_unknown", "demo --task evil", "evil"),
    # rows: nested deeply, packed, of other kinds
    data("deep_json", "classification", "rows.json", DEEP, "rows.json", "nested too deeply"),
    data("deep_json_object", "classification", "rows.json", DEEP_OBJECT, "rows.json", "nested too deeply"),
    data(
        "deep_line",
        "classification",
        "rows.jsonl",
        rows.lines_of() + f'{{"text": "x", "label": {DEEP}}}',
        "line 21",
        "deeply",
    ),
    data(
        "deep_cell",
        "classification",
        "rows.jsonl",
        rows.lines_of() + f'{{"text": {"[" * 900}{"]" * 900}}}',
        "line 21",
        '"text"',
    ),
    data(
        "deep_answers_of_csv",
        "qa",
        "rows.csv",
        f'question,context,answers\nq,c,"{DEEP}"\n',
        "rows.csv, line 2",
        '"answers"',
    ),
    data(
        "deep_object_of_csv",
        "qa",
        "rows.csv",
        'question,context,answers\nq,c,"' + DEEP_OBJECT.replace('"', '""') + '"\n',
        "line 2",
    ),
    data(
        "deep_answers",
        "qa",
        "rows.jsonl",
        ASKED + '{"question":"q","context":"x","answers":' + "[" * 900 + "]" * 900 + "}\n",
        "line 9",
    ),
    data(
        "deep_spans",
        "entities",
        "rows.jsonl",
        SPANS + '{"text":"Ada","entities":' + "[" * 900 + "]" * 900 + "}\n",
        "line 9",
    ),
    data(
        "deep_tokens",
        "entities",
        "rows.jsonl",
        SPANS + '{"text":' + "[" * 900 + "]" * 900 + ',"entities":[]}\n',
        "line 9",
    ),
    data("object_twice", "qa", "rows.json", '{"data": [], "data": [{}]}', "rows.json", '"data"', "twice"),
    data(
        "numbers_of_5000_digits", "classification", "rows.jsonl", rows.lines_of() + f"{DIGITS}\n", "line 21", "digits"
    ),
    data(
        "packed_zeros",
        "classification",
        "rows.csv.gz",
        packed(b"text,label\n" + b"0" * 2**22),
        "rows.csv.gz unpacks to more",
    ),
    data("packed_json", "classification", "rows.json.gz", packed(b"[" + b" " * 2**22), "rows.json.gz unpacks to more"),
    data("packed_lines", "entities", "rows.conll.gz", packed(b"Ada B-PER\n" * 2**19), "rows.conll.gz unpacks to more"),
    data(
        "packed_parquet",
        "classification",
        "rows.parquet.gz",
        packed(b"PAR1" + b"\0" * 2**22),
        "rows.parquet.gz unpacks to more",
    ),
    data(
        "parquet_of_many_rows",
        "classification",
        "rows.parquet",
        repeated_parquet(200_000),
        "rows.parquet",
        "200,000 rows",
    ),
    data(
        "wide_and_ragged",
        "classification",
        "rows.csv",
        "text,label," + ",".join(map(str, range(30_000))) + "\nx,a\n",
        "rows.csv, line 2",
    ),
    data(
        "wide_and_twice", "classification", "rows.csv", ",".join(["text"] * 30_000) + "\n", "rows.csv, line 1", "twice"
    ),
    data("only_quotes", "classification", "rows.csv", '"' * 10_001, "rows.csv, line 1", "never closed"),
    data("only_commas", "classification", "rows.csv", "," * 10_000, "rows.csv", "no rows"),
    data("only_zeros", "classification", "rows.csv", b"\0" * 10_000, "rows.csv", "UTF-16"),
    data("null_line", "classification", "rows.jsonl", rows.lines_of() + "\0\n", "line 21", "JSON"),
    data("columns_of_null_bytes", "classification", "rows.csv", "te\0xt,label\nx,a\n", "te\\x00xt"),
    data(
        "half_a_character_for_a_label",
        "classification",
        "rows.jsonl",
        rows.lines_of() + '{"text":"x","label":"\\ud83d"}',
        "line 21",
        "surrogate",
    ),
    data(
        "half_a_character_for_a_column",
        "classification",
        "rows.jsonl",
        '{"te\\ud83dxt":"x","label":"a"}\n',
        "te\\ud83dxt",
    ),
    data("label_of_5000_digits", "sentiment", "rows.csv", STARS + f"z,{DIGITS}\n", "rows.csv", "999 [...]"),
    data(
        "label_beyond_numbers",
        "sentiment",
        "rows.jsonl",
        lines(*[{"text": "x", "label": 1}, {"text": "y", "label": 5}] * 8) + '{"text":"z","label":1e400}',
        "rows.jsonl",
        "inf",
    ),
    data("stars_below_one", "sentiment", "rows.csv", STARS + "z,-3\n", "rows.csv", "-3"),
    data(
        "half_a_character_for_a_name_inside",
        "multi_label",
        "rows.jsonl",
        LABELS + '{"text":"x","labels":{"\\ud83d":1}}',
        "line 17",
        "surrogate",
    ),
    data(
        "half_a_character_among_labels",
        "multi_label",
        "rows.jsonl",
        LABELS + '{"text":"x","labels":["\\ud83d"]}',
        "line 17",
        "surrogate",
    ),
    data(
        "nothing_among_labels",
        "multi_label",
        "rows.jsonl",
        LABELS + '{"text":"x","labels":["a",null]}',
        "line 17",
        '"labels"',
    ),
    data(
        "words_for_flags", "multi_label", "rows.jsonl", LABELS + '{"text":"x","labels":{"a":"b"}}', "line 17", "0 or 1"
    ),
    data(
        "number_beyond_numbers",
        "regression",
        "rows.jsonl",
        NUMBERS + '{"text":"x","target":1e400}',
        "line 17",
        "finite",
    ),
    data(
        "number_of_400_digits",
        "regression",
        "rows.jsonl",
        NUMBERS + f'{{"text":"x","target":{"9" * 400}}}',
        "line 17",
        "finite",
    ),
    data(
        "numbers_that_have_no_square",
        "regression",
        "rows.jsonl",
        NUMBERS + lines({"text": "x", "target": 1e308}, {"text": "y", "target": -1e308}),
        "too large",
    ),
    data("list_for_a_number", "regression", "rows.jsonl", NUMBERS + '{"text":"x","target":[1]}', "line 17", "[1]"),
    data(
        "half_a_character_for_a_number",
        "regression",
        "rows.jsonl",
        NUMBERS + '{"text":"x","target":"\\ud83d"}',
        "line 17",
    ),
    data(
        "place_beyond_numbers",
        "qa",
        "rows.jsonl",
        ASKED + '{"question":"q","context":"x","answers":{"text":["x"],"answer_start":[1e400]}}',
        "line 9",
        "inf",
    ),
    data(
        "dict_among_lists",
        "multi_label",
        "rows.jsonl",
        LABELS + '{"text":"x","labels":{"a":1}}',
        "line 17",
        '"labels"',
        "a dict, where line 1 has a list. Write both in one form.",
    ),
    data(
        "more_places_than_answers",
        "qa",
        "rows.jsonl",
        ASKED + '{"question":"q","context":"x","answers":{"text":["x"],"answer_start":[0,1]}}',
        "line 9",
    ),
    data(
        "half_a_character_for_an_answer",
        "qa",
        "rows.jsonl",
        ASKED + '{"question":"q","context":"x","answers":["\\ud83d"]}',
        "line 9",
        "surrogate",
    ),
    data(
        "object_for_an_id",
        "qa",
        "rows.jsonl",
        lines(*[{"id": {"a": 1}, "question": "q", "context": "x", "answers": ["x"]}] * 2),
        "line 1",
        '"id"',
    ),
    data(
        "span_beyond_numbers",
        "entities",
        "rows.jsonl",
        SPANS + '{"text":"Ada","entities":[[0,1e400,"PER"]]}',
        "line 9",
        "inf",
    ),
    data(
        "span_of_true_and_false",
        "entities",
        "rows.jsonl",
        SPANS + '{"text":"Ada","entities":[[false,true,"PER"]]}',
        "line 9",
        "False",
    ),
    data(
        "span_without_a_type",
        "entities",
        "rows.jsonl",
        SPANS + '{"text":"Ada","entities":[[0,3,null]]}',
        "line 9",
        "no span",
    ),
    data(
        "half_a_character_for_a_type",
        "entities",
        "rows.jsonl",
        SPANS + '{"text":"Ada","entities":[[0,3,"P\\ud83d"]]}',
        "line 9",
        "surrogate",
    ),
    data(
        "half_a_character_for_a_token",
        "entities",
        "rows.jsonl",
        lines(*[{"tokens": ["Ada"], "tags": ["B-PER"]}] * 8) + '{"tokens":["\\ud83d"],"tags":["O"]}',
        "line 9",
        "surrogate",
    ),
    data(
        "number_for_a_tag",
        "entities",
        "rows.jsonl",
        lines(*[{"tokens": ["Ada"], "tags": ["B-PER"]}] * 8) + '{"tokens":["a"],"tags":[1]}',
        "line 9",
        "1 (int)",
    ),
    data(
        "lines_of_other_widths",
        "entities",
        "rows.conll",
        "Ada NNP B-PER\nleft O\n\n" * 4,
        "rows.conll, line 2",
        "2 columns where most lines have 3",
    ),
    data("conll_of_another_task", "classification", "rows.conll", "Ada B-PER\n\n" * 8, "rows.conll", "tokens, tags"),
    data("zeros_for_a_line_of_bio", "entities", "rows.bio", b"\0" * 5_000, "rows.bio"),
    data("broken_iob", "entities", "rows.iob", b"Ada B-PER\n\xff O\n\n", "rows.iob, line 2", "0xff"),
    data("broken_ndjson", "regression", "rows.ndjson", NUMBERS + "{", "rows.ndjson, line 17"),
    data("broken_tsv", "sentiment", "rows.tsv", 'text\tlabel\n"x y 1\n', "rows.tsv, line 2", "never closed"),
]


def test_both_tables_are_as_large_as_promised() -> None:
    names = [case.name for case in REFUSED]
    assert len(set(names)) == len(names)
    refused = len(REFUSED) + len(rows.MALFORMED)
    accepted = len(ACCEPTED) + len(rows.VALID)
    print(f"{refused} malformed inputs, {accepted} unusual and valid ones")
    assert len(REFUSED) >= 150
    assert refused >= 250
    assert len(ACCEPTED) >= 20
    assert accepted >= 55
    kinds = ("recipe", "flag", "command", "data")
    assert all(sum(name.startswith(kind) for name in names) >= 15 for kind in kinds)
    asked = {case.words[2] for case in REFUSED if case.name.startswith("data")} | {case.task for case in rows.MALFORMED}
    assert asked == set(tasks.names())
    files = [name for case in (*REFUSED, *rows.MALFORMED) for name in case.files]
    assert all(any(ending in name for name in files) for ending in (*SUFFIXES, ".gz"))


@pytest.fixture(scope="module")
def places(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model of which only configuration and tokenizer are there, and a finished run."""
    folder = tmp_path_factory.mktemp("hostile")
    AutoConfig.from_pretrained(tiny_bert).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder / "model")
    parts: dict[str, Any] = {"task": "classification", "model": str(tiny_bert), "train": {"max_steps": 1}}
    run = fine_tune(data=rows.ROWS, output=folder / "run", silent=True, **parts)
    return {MODEL: str(folder / "model"), RUN: str(run.folder)}


def refused(
    case: Refused, places: Mapping[str, str], said: Any, status: int, before: Iterable[Path], folder: Path
) -> None:
    assert status == 2, said.err
    assert said.out == ""
    for word in case.says:
        assert word in said.err
    assert said.err.startswith("nlp-transfer: ")
    assert said.err.count("\n") == 1
    assert len(said.err) < 3_000
    assert said.err.rstrip("\n").isprintable()
    assert "Traceback" not in said.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(
    case: Refused,
    places: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows.put(tmp_path, case.files)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Backbone, "model", lambda *_, **__: pytest.fail("a model is loaded"))
    for module in (decoding, parquet):
        monkeypatch.setattr(module, "UNPACKED", 2**20)  # a quarter of a gigabyte would take a second each
    monkeypatch.setattr(parquet, "ROWS", 100_000)
    before = sorted(tmp_path.rglob("*"))
    status = cli.main([places.get(word, word) for word in case.words])
    refused(case, places, capsys.readouterr(), status, before, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED[::25], ids=lambda case: case.name)
def test_refused_in_a_process_of_its_own(case: Refused, places: dict[str, str], tmp_path: Path) -> None:
    rows.put(tmp_path, case.files)
    before = sorted(tmp_path.rglob("*"))
    words = [places.get(word, word) for word in case.words]
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "nlp_transfer.cli", *words],
        cwd=tmp_path,
        env=path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = type("Said", (), {"err": done.stderr, "out": done.stdout})
    refused(case, places, said, done.returncode, before, tmp_path)


# unusual and valid


def classification(text: str) -> dict[str, Any]:
    return {"rows.csv": TRAIN, "r.yaml": f"task: classification\ndata: rows.csv\n{text}\n"}


class Accepted(NamedTuple):
    """A recipe, and what one of its settings is."""

    name: str
    text: str
    setting: str
    value: Any


ACCEPTED = [
    Accepted("anchors", "seed: &a 2\ntrain: {epochs: *a}", "train.epochs", 2.0),
    Accepted("merged_anchor", "train: &a {epochs: 4}\nhead: {pooling: mean}", "head.pooling", "mean"),
    Accepted("flow", "train: {epochs: 2, clip: null}", "train.clip", None),
    Accepted("quoted_no", 'columns: {text: "no"}', "columns", {"text": "no"}),
    Accepted("column_with_blanks", "columns: {text: the whole review}", "columns", {"text": "the whole review"}),
    Accepted("column_with_a_line_break", 'columns: {text: "a\\nb"}', "columns", {"text": "a\nb"}),
    Accepted("column_of_another_script", "columns: {text: Отзыв}", "columns", {"text": "Отзыв"}),
    Accepted("number_as_a_word", "seed: '7'", "seed", 7),
    Accepted("sixteen_digits", "seed: 0x1f", "seed", 31),
    Accepted("exponent", "train: {learning_rate: 1e-4}", "train.learning_rate", 1e-4),
    Accepted("underscores", "train: {max_steps: 1_000}", "train.max_steps", 1000),
    Accepted("on_for_true", "data: {source: rows.csv, skip_bad_rows: on}", "data.skip_bad_rows", True),
    Accepted("seed_at_the_end", f"seed: {2**32 - 1}", "seed", 2**32 - 1),
    Accepted("part_of_an_epoch", "train: {epochs: 0.01}", "train.epochs", 0.01),
    Accepted("no_test", "data: {source: rows.csv, test_fraction: 0}", "data.test_fraction", 0.0),
    Accepted("comment_and_tabs_at_the_end", "seed: 3 # three\t", "seed", 3),
    Accepted("byte_order_mark", "seed: 4", "seed", 4),
    Accepted("windows_lines", "seed: 5\r\nhead: {pooling: cls}\r", "head.pooling", "cls"),
    Accepted("path_with_blanks", "data: 'my rows/of today.csv'", "data.source", "my rows/of today.csv"),
    Accepted("path_with_a_line_break", 'data: "my\\nrows.csv"', "data.source", "my\nrows.csv"),
    Accepted("path_of_a_number", "data: '2024'", "data.source", "2024"),
    Accepted("word_for_a_list", "train: {trackers: tensorboard}", "train.trackers", ("tensorboard",)),
]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_accepted(case: Accepted, tmp_path: Path) -> None:
    file = tmp_path / "a recipe\nof mine.yaml"
    source = "" if "data:" in case.text else "data: rows.csv\n"
    mark = b"\xef\xbb\xbf" if case.name == "byte_order_mark" else b""
    file.write_bytes(mark + f"task: classification\n{source}{case.text}\n".encode())
    found: Any = Recipe.read(file)
    for name in case.setting.split("."):
        found = getattr(found, name)
    assert found == case.value
    assert type(found) is type(case.value)
    recipe = Recipe.read(file)
    (tmp_path / "again.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.read(tmp_path / "again.yaml") == recipe


def test_a_label_that_is_a_number_in_one_file_and_text_in_another(tmp_path: Path) -> None:
    texts = [text for text, _ in rows.PAIRS]
    numbers = [{"text": text, "label": i % 2} for i, text in enumerate(texts)]
    rows.put(tmp_path, {"train.jsonl": lines(*numbers), "validation.csv": "text,label\nx,1\ny,0\n"})
    rows.put(tmp_path, {"test.tsv": "text\tlabel\nx\t1.0\ny\t0\n"})
    found = load(DataSettings(str(tmp_path)), {}, tasks.find("classification")(), seed=0)
    assert found.task.classes == ("0", "1")
    assert [found.splits[name].rows["label"][:] for name in ("validation", "test")] == [["1", "0"]] * 2


def test_files_in_which_much_is_alike_are_read(tmp_path: Path) -> None:
    many = b"text,label\n" + b"the same text,a\nanother,b\n" * 20_000
    rows.put(tmp_path, {"rows.csv.gz": packed(many)})
    assert len(read(tmp_path / "rows.csv.gz")) == 40_000
    rows.put(tmp_path, {"rows.parquet": repeated_parquet(100_000)})
    assert len(read(tmp_path / "rows.parquet")) == 100_000


def test_a_file_with_a_name_that_is_no_text_is_read_and_reported(tiny_bert: Path, tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    Path(os.fsdecode(file)).write_text(TRAIN + "text number 0,a\n")
    train = {"max_steps": 1, "precision": "fp32"}
    parts: dict[str, Any] = {"task": "classification", "model": str(tiny_bert), "train": train}
    run: Run = fine_tune(data=os.fsdecode(file), output=tmp_path / "run", silent=True, **parts)
    assert run.predict(["a text"])
    assert Recipe.read(tmp_path / "run" / "recipe.yaml").data.source == os.fsdecode(file)
