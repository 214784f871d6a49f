"""Question answering: forms of data, the official scores, and the way from a file to answers."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Container, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, set_seed

from nlp_transfer import cli, fine_tune, load_run, samples
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.activations import Once, StoredFeatures
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.data.features import Features
from nlp_transfer.data.inspection import cut_texts
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import Data, load
from nlp_transfer.errors import RequestError
from nlp_transfer.evaluation.errors import analysis
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.exporting import merged, transformers
from nlp_transfer.heads import load_with_head
from nlp_transfer.methods import EVERY_BLOCK
from nlp_transfer.methods.head import Head
from nlp_transfer.methods.lora import LoRA
from nlp_transfer.questions.answers import text_scores
from nlp_transfer.questions.spans import Answer
from nlp_transfer.report import without_texts
from nlp_transfer.tasks import from_json
from nlp_transfer.tasks.qa import QA
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings
from tests.families import batch
from tests.families import tiny as tiny_family
from tests.matrix import tokenizer

CONTEXT = "The kiosk opens at nine. Its owner is Ada Novak, and it sells tea."
ROWS = [
    {"id": "1", "context": CONTEXT, "question": "When does it open?", "text": "nine", "start": 19},
    {"id": "2", "context": CONTEXT, "question": "Who is the owner?", "text": "Ada Novak", "start": 38},
    {"id": "3", "context": CONTEXT, "question": "How large is it?", "text": "", "start": None},
]
READ = [
    {"text": ["nine"], "answer_start": [19]},
    {"text": ["Ada Novak"], "answer_start": [38]},
    {"text": [], "answer_start": []},
]


def nested(rows: list[dict[str, Any]] = ROWS) -> dict[str, Any]:
    """Rows as SQuAD 2.0 is published."""
    asked = [
        {
            "id": row["id"],
            "question": row["question"],
            "is_impossible": not row["text"],
            "answers": [{"text": row["text"], "answer_start": row["start"]}] if row["text"] else [],
            **({} if row["text"] else {"plausible_answers": [{"text": "tea", "answer_start": 62}]}),
        }
        for row in rows
    ]
    return {"version": "v2.0", "data": [{"title": "Kiosk", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}


def columns(row: dict[str, Any]) -> dict[str, Any]:
    return {"text": [row["text"]] if row["text"] else [], "answer_start": [row["start"]] if row["text"] else []}


def flat(**answers: Any) -> list[dict[str, Any]]:
    """The rows with their answers in another form: columns by name, each made of a row."""
    kept = ("id", "context", "question")
    return [
        {**{name: row[name] for name in kept}, **{name: make(row) for name, make in answers.items()}} for row in ROWS
    ]


def write(file: Path, rows: Any) -> str:
    if file.suffix == ".csv":
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        file.write_text(json.dumps(rows), encoding="utf-8")
    return str(file)


def read(file: str, task: QA | None = None) -> Data:
    settings = DataSettings(file, validation=file, test=file)
    return load(settings, {}, task or QA(), seed=0)


FORMS: dict[str, tuple[str, Any]] = {
    "nested": ("rows.json", nested()),
    "columns": ("rows.jsonl", flat(answers=columns)),
    "list": (
        "rows.json",
        flat(answers=lambda row: [{"text": row["text"], "answer_start": row["start"]}] if row["text"] else []),
    ),
    "json in csv": ("rows.csv", flat(answers=lambda row: json.dumps(columns(row)))),
    "text and offset in csv": (
        "rows.csv",
        flat(answer=lambda row: row["text"], answer_start=lambda row: "" if row["start"] is None else row["start"]),
    ),
    "text alone": ("rows.csv", flat(answer=lambda row: row["text"])),
    "nothing is null": ("rows.jsonl", flat(answer=lambda row: row["text"] or None)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_the_same(form: str, tmp_path: Path) -> None:
    name, content = FORMS[form]
    data = read(write(tmp_path / name, content))
    rows = data.splits["test"].rows
    assert rows["answers"][:] == READ
    assert rows["context"][:] == [CONTEXT] * 3
    assert data.task.unanswerable == pytest.approx(1 / 3)
    assert "answer_start" not in rows.column_names
    assert not {finding.kind for finding in data.warnings} & {"repaired_offsets", "ambiguous_answers"}


DENIED = (
    r"line 1, column \"is_impossible\": is_impossible is true, and there is the answer \"nine\".*plausible_answers.*2 lines "
    r"are bad: 1, 3"
)
SAYS_NO = r"line 3, column \"is_impossible\": is_impossible is false, and there is no answer"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((False, False, True), None),
        (("", None, True), None),
        ((0, "false", 1), None),
        ((None, None, None), None),
        ((True, False, False), DENIED),
        (("True", "False", "False"), DENIED),
        ((None, None, False), SAYS_NO),
        (("perhaps", None, None), r"line 1, column \"is_impossible\": perhaps \(str\) where true or false is expected"),
    ],
)
def test_whether_there_is_an_answer_is_said_once(flags: tuple[Any, ...], says: str | None, tmp_path: Path) -> None:
    rows = [{**row, "is_impossible": flag} for row, flag in zip(flat(answers=columns), flags, strict=True)]
    file = write(tmp_path / "rows.jsonl", rows)
    if says is None:
        split = read(file).splits["train"]
        assert split.rows["answers"][:] == READ
        assert "is_impossible" not in split.rows.column_names
    else:
        with pytest.raises(RequestError, match=says):
            read(file)


def test_a_column_of_impossible_questions_in_csv(tmp_path: Path) -> None:
    rows = [{**row, "is_impossible": row["answer"] == ""} for row in flat(answer=lambda row: row["text"])]
    assert read(write(tmp_path / "rows.csv", rows)).splits["train"].rows["answers"][:] == READ
    rows[0]["is_impossible"] = True
    with pytest.raises(RequestError, match="line 2"):
        read(write(tmp_path / "rows.csv", rows))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {"is_impossible": True},
            'row 1, column "is_impossible": is_impossible is true, and there is the answer "nine"',
        ),
        ({"is_impossible": "true"}, 'row 1, column "is_impossible": is_impossible is true'),
        ({"is_impossible": 1}, 'row 1, column "is_impossible": is_impossible is true'),
        ({"answers": []}, 'row 1, column "is_impossible": is_impossible is false, and there is no answer'),
        ({"answers": None}, 'row 1, column "is_impossible": is_impossible is false, and there is no answer'),
        ({"answers": None, "is_impossible": None}, 'row 1, column "answers": nothing says whether there is an answer'),
    ],
)
def test_nested_questions_that_say_two_things(asked: dict[str, Any], says: str, tmp_path: Path) -> None:
    document = nested()
    document["data"][0]["paragraphs"][0]["qas"][0] |= asked
    file = write(tmp_path / "rows.json", document)
    with pytest.raises(RequestError, match=re.escape(says)):
        read(file)
    data = load(DataSettings(file, validation=file, test=file, skip_bad_rows=True), {}, QA(), seed=0)
    assert data.splits["train"].rows["answers"][:] == READ[1:]


def test_impossible_questions_need_no_empty_list(tmp_path: Path) -> None:
    document = nested()
    del document["data"][0]["paragraphs"][0]["qas"][2]["answers"]
    assert read(write(tmp_path / "rows.json", document)).splits["train"].rows["answers"][:] == READ


def test_further_columns_may_stand_in_some_files_alone(tmp_path: Path) -> None:
    """Version 2.0 of SQuAD beside 1.1, which does not say what is impossible; rows with offsets beside some without."""
    second = write(tmp_path / "second.json", nested())
    first = nested()
    for asked in first["data"][0]["paragraphs"][0]["qas"]:
        del asked["is_impossible"], asked["id"]
    first = write(tmp_path / "first.json", first)
    for train, test in ((first, second), (second, first)):
        splits = load(DataSettings(train, validation=test, test=test), {}, QA(), seed=0).splits
        assert [split.rows["answers"][:] for split in splits.values()] == [READ] * 3
    tea = {"question": "What?", "context": "tea and tea", "answer": "tea"}
    data = load(
        DataSettings({"train": [tea], "validation": [{**tea, "answer_start": 8}]}, test_fraction=0), {}, QA(), 0
    )
    assert [split.rows["answers"][0]["answer_start"] for split in data.splits.values()] == [[0], [8]]
    assert data.columns["answer_start"] == "answer_start"
    contradicting = [{**tea, "is_impossible": True}]
    with pytest.raises(RequestError, match=r"data \(test\), row 1, column \"is_impossible\""):
        load(DataSettings({"train": [tea], "test": contradicting}), {}, QA(), seed=0)
    named = {"train": [{**tea, "start": 0}], "test": [{**tea, "answer_start": 0}]}
    with pytest.raises(
        RequestError, match=r"data \(test\) has no column \"start\", which is the answer_start of data \(train"
    ):
        load(DataSettings(named), {}, QA(), seed=0)


MIXED: dict[str, list[Any]] = {
    "texts, lists and columns": ["nine", [{"text": "Ada Novak", "answer_start": 38}], {"text": [], "answer_start": []}],
    "a list of texts beside columns": [["nine"], {"text": ["Ada Novak"], "answer_start": [38]}, None],
    "two forms of nothing": [{"text": ["nine"], "answer_start": [19]}, ["Ada Novak"], []],
    "offsets as texts": [{"text": ["nine"], "answer_start": ["19"]}, {"text": ["Ada Novak"], "answer_start": [38]}, ""],
    "offsets of some": [{"text": ["nine"], "answer_start": None}, {"text": ["Ada Novak"], "answer_start": [38]}, ""],
    "keys of many kinds": [
        [{"text": "nine", "answer_start": 19, "sure": "very"}],
        [{"text": "Ada Novak", "answer_start": 38, "sure": 0.5}],
        [],
    ],
}


@pytest.mark.parametrize("form", MIXED)
def test_forms_may_stand_beside_each_other(form: str, tmp_path: Path) -> None:
    rows = [{**row, "answers": cell} for row, cell in zip(flat(), MIXED[form], strict=True)]
    data = read(write(tmp_path / "rows.jsonl", rows))
    assert data.splits["train"].rows["answers"][:] == READ
    assert data.fingerprint == read(write(tmp_path / "plain.jsonl", flat(answers=columns))).fingerprint


def test_a_column_of_offsets_counts_beside_texts_alone(tmp_path: Path) -> None:
    rows = flat(answers=lambda row: row["text"], answer_start=lambda row: row["start"])
    rows[1] |= {"answers": {"text": ["Ada Novak"], "answer_start": ["38"]}, "answer_start": ""}
    rows[0]["answer_start"] = "19"
    data = read(write(tmp_path / "rows.jsonl", rows))
    assert data.splits["train"].rows["answers"][:] == READ


def test_offsets_that_are_off_are_repaired_and_counted(tmp_path: Path) -> None:
    rows = [{**row, "start": row["start"] and row["start"] + 2} for row in ROWS]
    data = read(write(tmp_path / "rows.json", nested(rows)))
    assert data.splits["test"].rows["answers"][:] == READ
    found = [warning for warning in data.report()["warnings"] if warning["kind"] == "repaired_offsets"]
    assert [warning["count"] for warning in found] == [2, 2, 2]
    assert found[0]["rows"] == [f"{tmp_path}/rows.json, row 1", f"{tmp_path}/rows.json, row 2"]


def test_a_text_without_an_offset_is_taken_where_it_stands_first(tmp_path: Path) -> None:
    rows = [{"question": "What?", "context": "tea and tea", "answer": "tea"}] * 2
    data = read(write(tmp_path / "rows.csv", rows))
    assert data.splits["train"].rows["answers"][0] == {"text": ["tea"], "answer_start": [0]}
    assert "ambiguous_answers" in {finding.kind for finding in data.warnings}


def without_ids(document: dict[str, Any], kept: int) -> dict[str, Any]:
    """Nested rows, of which only the first ones keep their ids."""
    for asked in document["data"][0]["paragraphs"][0]["qas"][kept:]:
        del asked["id"]
    return document


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("rows.json", without_ids(nested(), 0), None),
        ("rows.json", without_ids(nested(), 1), ["1", None, None]),
        ("rows.jsonl", [{**row, "id": None} for row in flat(answers=columns)], None),
        (
            "rows.jsonl",
            [{**row, "id": {"3": None}.get(row["id"], row["id"])} for row in flat(answers=columns)],
            ["1", "2", None],
        ),
        (
            "rows.csv",
            [{**row, "id": " " if row["id"] == "1" else row["id"]} for row in flat(answer=lambda row: row["text"])],
            [None, "2", "3"],
        ),
    ],
)
def test_questions_need_no_id(name: str, content: Any, ids: Any, tmp_path: Path) -> None:
    rows = read(write(tmp_path / name, content)).splits["train"].rows
    assert rows["answers"][:] == READ
    found = rows["id"][:] if "id" in rows.column_names else None
    assert found == ids


def test_numbers_as_ids_of_a_frame_may_be_missing() -> None:
    frame = pandas.DataFrame(flat(answers=columns)).assign(id=[1, None, 3])
    rows = (
        load(DataSettings({"train": frame, "test": frame, "validation": frame}), {}, QA(), seed=0).splits["train"].rows
    )
    assert rows["id"][:] == [1, None, 3]


def test_an_id_stands_once_whatever_lacks_one(tmp_path: Path) -> None:
    rows = [{**row, "id": name} for row, name in zip(flat(answers=columns), ("7", None, "7"), strict=True)]
    with pytest.raises(RequestError, match=r"line 3, column \"id\": the id 7 stands in an earlier row too"):
        read(write(tmp_path / "rows.jsonl", rows))


def test_bad_rows_may_be_left_out(tmp_path: Path) -> None:
    rows = [*flat(answers=columns), {**flat(answers=columns)[0], "answers": {"text": ["ten"], "answer_start": [19]}}]
    file = write(tmp_path / "rows.jsonl", [{**row, "id": i} for i, row in enumerate(rows)])
    data = load(DataSettings(file, validation=file, test=file, skip_bad_rows=True), {}, QA(), seed=0)
    assert len(data.splits["train"]) == 3
    assert [finding.count for finding in data.warnings if finding.kind == "bad_rows"] == [1, 1, 1]


def test_questions_about_one_context_stay_together() -> None:
    rows = [
        {"question": f"What is number {q}?", "context": f"Text {c} holds {q}.", "answer": str(q)}
        for c in range(20)
        for q in (1, 2, 3)
    ]
    rows = [{**row, "context": f"Text {i // 3} holds 1, 2 and 3."} for i, row in enumerate(rows)]
    splits = load(DataSettings(rows), {}, QA(), seed=0).splits
    seen = {name: set(split.rows["context"][:]) for name, split in splits.items()}
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    assert sum(map(len, splits.values())) == 60
    assert len(splits["test"]) == len(splits["validation"]) == 6


def about(sizes: Sequence[int], silent: Container[int] = ()) -> list[dict[str, str]]:
    """So many questions about each of some contexts; those about some of them have no answer."""
    return [
        {"question": f"What is number {q}?", "context": f"Text {c} holds ten.", "answer": "" if c in silent else "ten"}
        for c, size in enumerate(sizes)
        for q in range(size)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_takes_no_context_that_is_far_too_large(seed: int) -> None:
    splits = load(DataSettings(about([196, 1, 1, 1, 1])), {}, QA(), seed=seed).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 197, "validation": 1, "test": 2}


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_keeps_the_share_of_questions_without_an_answer(seed: int) -> None:
    data = load(DataSettings(about([5] * 40, silent=range(4))), {}, QA(), seed=seed)
    silent = {name: sum(not row["text"] for row in split.rows["answers"]) for name, split in data.splits.items()}
    assert silent == {"train": 10, "validation": 5, "test": 5}
    assert {len(data.splits[name]) for name in ("validation", "test")} == {20}


@pytest.mark.parametrize("sizes", [[180], [90, 90]])
def test_contexts_too_few_to_cut_are_named_as_the_reason(sizes: list[int]) -> None:
    with pytest.raises(RequestError, match="rows in 1 block to be kept whole"):
        load(DataSettings(about(sizes)), {}, QA(), seed=0)


def test_a_training_without_answers_is_refused() -> None:
    with pytest.raises(RequestError, match="no training question has an answer"):
        load(DataSettings([{"question": "Who?", "context": CONTEXT, "answer": ""}] * 4), {}, QA(), seed=0)


def test_a_question_that_is_not_read_whole_is_counted(tiny_bert: Path) -> None:
    rows = flat(answers=columns)
    rows[1]["question"] = "Who? " * 60
    split = load(DataSettings({"train": rows, "validation": rows, "test": rows}), {}, QA(), seed=0).splits["train"]
    features = Features.of(split.rows, QA(unanswerable=0.3), Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(64))
    [finding] = cut_texts({"train": split}, {"train": features})
    assert (finding.kind, finding.count, finding.places[0].where) == ("cut_questions", 1, "row 2")


def test_an_answer_that_can_never_be_given_is_counted(tiny_bert: Path) -> None:
    rows = flat(answers=columns)
    task = QA(unanswerable=0.3, max_answer_length=2)
    split = load(DataSettings({"train": rows, "validation": rows, "test": rows}), {}, QA(), seed=0).splits["train"]
    features = Features.of(split.rows, task, Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(64))
    [finding] = cut_texts({"train": split}, {"train": features})
    assert (finding.kind, finding.places[0].where) == ("unheld_answers", "row 2")
    assert "task.max_answer_length" in str(finding)


# scores

OFFICIAL: list[tuple[str, list[str], float, float]] = [
    ("Ada Novak", ["Ada Novak"], 1, 1),
    ("the ada novak!", ["Ada Novak"], 1, 1),
    ("Novak", ["Ada Novak"], 0, 2 / 3),
    ("her name is Ada Novak", ["Ada Novak", "Novak"], 0, 4 / 7),
    ("Novak", ["Ada Novak", "Novak"], 1, 1),
    ("tea tea coffee", ["tea"], 0, 1 / 2),
    ("tea tea", ["tea tea tea"], 0, 4 / 5),
    ("U.S.", ["US"], 1, 1),
    ("half-time", ["half time"], 0, 0),
    ("", [], 1, 1),
    ("tea", [], 0, 0),
    ("", ["tea"], 0, 0),
    ("the", [], 1, 1),
    ("an apple a day", ["apple day"], 1, 1),
    ("1,000", ["1000"], 1, 1),
    ("«tea»", ["tea"], 0, 0),
    # true answers that are nothing but articles and punctuation: left out beside others, no answer alone
    ("tea", ["The", "tea"], 1, 1),
    ("", ["The", "tea"], 0, 0),
    ("", ["The"], 1, 1),
    ("tea", ["a.", "the"], 0, 0),
]
"""Answer, true answers, exact match and F1 by the rules of the official scripts of SQuAD 1.1 and 2.0, worked out by hand."""


@pytest.mark.parametrize(("answer", "golds", "exact", "f1"), OFFICIAL)
def test_the_official_scores(answer: str, golds: list[str], exact: float, f1: float) -> None:
    found = text_scores([answer], [golds])
    assert (found[0][0], found[1][0]) == (exact, pytest.approx(f1))


def test_the_official_totals() -> None:
    """Means over all questions, in points, as the official scripts take them."""
    some = [OFFICIAL[i] for i in (0, 1, 2, 3, 4)]
    exact, f1 = text_scores([answer for answer, *_ in some], [golds for _, golds, *_ in some])
    assert 100 * exact.mean() == pytest.approx(60)
    assert 100 * f1.mean() == pytest.approx(100 * (1 + 1 + 2 / 3 + 4 / 7 + 1) / 5)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stride": -1}, "task.stride is -1: expected 0 or more"),
        ({"n_best": 0}, "task.n_best is 0: expected 1 to 100"),
        ({"n_best": 101}, "task.n_best is 101: expected 1 to 100"),
        ({"max_answer_length": 0}, "task.max_answer_length is 0: expected 1 or more"),
    ],
)
def test_settings_out_of_range(values: dict[str, int], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        QA(**values)


def given(text: str, probability: float = 0.9) -> Answer:
    return Answer(text, 0, len(text), probability, 0.1, -1.0, ())


def test_scores_are_split_by_whether_there_is_an_answer(tmp_path: Path) -> None:
    data = read(write(tmp_path / "rows.json", nested()))
    rows = data.splits["test"].rows
    assert data.task.score([given("nine"), given("Novak"), given("")], rows) == {
        "exact_match": pytest.approx(2 / 3),
        "f1": pytest.approx((1 + 2 / 3 + 1) / 3),
        "answerable_exact_match": 0.5,
        "answerable_f1": pytest.approx(5 / 6),
        "unanswerable_accuracy": 1.0,
    }
    only = rows.select([0, 1])
    assert data.task.score([given("nine"), given("Novak")], only).keys() == {"exact_match", "f1"}


def test_errors_by_question_word_and_by_length_of_the_answer(tmp_path: Path) -> None:
    data = read(write(tmp_path / "rows.json", nested()))
    split = data.splits["test"]
    answers = [given("nine"), given("Novak", 0.6), given("tea", 0.8)]
    mistakes = data.task.mistakes(answers, split.rows)
    assert [(mistake.row, mistake.gold, mistake.answer) for mistake in mistakes] == [
        (1, ["Ada Novak"], "Novak"),
        (2, [], "tea"),
    ]
    found = analysis(data.task, data.task.judged(answers, split.rows), mistakes, split)
    assert {entry["group"]: entry["f1"] for entry in found["by_question_word"]} == {
        "when": 1.0,
        "who": pytest.approx(2 / 3),
        "how": 0.0,
    }
    assert {entry["group"]: entry["rows"] for entry in found["by_answer_length"]} == {
        "1 word": 1,
        "2 to 3 words": 1,
        "no answer": 1,
    }
    assert [error["answer"] for error in found["most_confident"]] == ["tea", "Novak"]
    shared = json.dumps(without_texts({"details": {"test": {"errors": found}}}))
    assert "Novak" not in shared


# from a file to answers


def test_a_threshold_is_chosen_on_validation_and_helps() -> None:
    data = load(DataSettings(str(samples.path("qa"))), {}, QA(), seed=0)
    rows = data.splits["validation"].rows
    features = Features.of(rows, data.task, tokenizer())
    generator = np.random.default_rng(0)
    batch = features.fetch(np.arange(len(features)))
    outputs = data.task.keep(
        type("Outputs", (), {name: _noise(batch, generator) for name in ("start_logits", "end_logits")}), batch
    ).numpy()
    calibrated = data.task.calibrate(outputs, features.columns, rows)
    assert calibrated.threshold != 0
    f1 = [task.score(task.decode(outputs, features.columns, rows), rows)["f1"] for task in (data.task, calibrated)]
    assert f1[1] > f1[0]
    assert from_json(json.loads(json.dumps(calibrated.to_json()))) == calibrated
    always = QA(unanswerable=0.0)
    assert always.calibrate(outputs, features.columns, rows) is always
    assert all(answer.text for answer in always.decode(outputs, features.columns, rows))


def _noise(batch: Any, generator: np.random.Generator) -> Any:
    ids = batch.inputs["input_ids"]
    return ids.new_tensor(generator.normal(size=ids.shape), dtype=None).float() + generator.normal()


@pytest.fixture(scope="module")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("tiny-gemma")
    tiny_family("gemma", AutoModelForCausalLM).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("backbone", "method"), [("tiny_bert", "full"), ("tiny_gpt2", "head"), ("tiny_gemma", "lora")])
def test_from_a_file_to_answers(
    backbone: str, method: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(request.getfixturevalue(backbone))
    flags = ["--model", model, "--method", method, "--train.max_steps", "2", "--data.max_length", "64"]
    run_folder = str(tmp_path / "run")
    assert cli.main(["train", "--task", "qa", "--data", str(samples.path("qa")), *flags, "--output", run_folder]) == 0
    run = load_run(run_folder)
    lines = (run.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 42
    saved = run.evaluate(samples.path("qa") / "test.json")
    assert saved.scores == pytest.approx(dict(run.scores["test"]))
    context = "\r\n".join([CONTEXT] * 6)
    [answer] = run.predict([{"question": "Who is the owner?", "context": context}])
    assert all(context[span.start : span.end] == span.text for span in answer.spans)
    assert len({(span.start, span.end) for span in answer.spans}) == len(answer.spans)

    (tmp_path / "article.txt").write_text(context, encoding="utf-8-sig", newline="")
    capsys.readouterr()
    asked = ["--question", "Who is the owner?", "--question", "When?", "--context-file", str(tmp_path / "article.txt")]
    assert cli.main(["predict", run_folder, *asked]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Who is the owner?\n  ")
    assert answer.lines()[0] in printed
    assert "next best: " in printed

    out = tmp_path / "answers.csv"
    assert (
        cli.main(["predict", run_folder, "--input", str(samples.path("qa") / "test.json"), "--output", str(out)]) == 0
    )
    with out.open(encoding="utf-8", newline="") as opened:
        answered = list(csv.DictReader(opened))
    assert [row["answer"] for row in answered] == [json.loads(line)["text"] for line in lines]
    assert {"next_best", "next_best_probability", "no_answer_probability", "start", "end"} <= answered[0].keys()
    wrong = tmp_path / "wrong.jsonl"
    words = ["evaluate", run_folder, "--data", str(samples.path("qa") / "test.json"), "--errors", str(wrong)]
    assert cli.main(words) == 0
    assert len(wrong.read_text(encoding="utf-8").splitlines()) == run.report["details"]["test"]["errors"]["wrong"]
    assert "pipeline_tag: question-answering" in (run.folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--question", "Who?"], "--context-file"),
        (["--question", "Who?", "--context", "x", "--context-file", "y"], "--context-file"),
        (["--context", "x"], "exactly one"),
        (["a text"], "question, context"),
        (["--question", "Who?", "--context-file", "absent.txt"], "absent.txt"),
        (["--question", " ", "--context", "x"], "row 1"),
        (["--question", "Who?", "--context", " "], "--context is empty: expected the text that holds the answers"),
        (
            ["--question", "Who?", "--context-file", os.devnull],
            f"--context-file {os.devnull} is empty: expected the text",
        ),
        (
            ["--question", "Who?", "--context", "", "--context-file", "y"],
            "either --context TEXT or --context-file FILE",
        ),
        (["--question", "Who?", "--context", ""], "--context is empty"),
    ],
)
def test_questions_that_cannot_be_asked(
    words: list[str], says: str, answering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", str(answering), *words]) == 2
    assert says in capsys.readouterr().err


@pytest.fixture(scope="module")
def answering(tiny_gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose architecture has no head of its own for questions."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = {"source": str(samples.path("qa")), "limit": 8, "max_length": 64}
    fine_tune(task="qa", model=str(tiny_gemma), data=data, train={"max_steps": 1}, output=folder, silent=True)
    return folder


def test_export_says_what_there_is_no_head_for(answering: Path, tmp_path: Path) -> None:
    run = load_run(answering)
    with pytest.raises(RequestError, match="no question-answering head for gemma"):
        transformers(run, tmp_path / "plain")
    said = merged(run, tmp_path / "merged")
    assert "import nlp_transfer" in said[-1]


def test_pooling_is_refused_before_anything_is_read() -> None:
    with pytest.raises(RequestError, match=r"head\.pooling mean makes one vector of a text, but qa"):
        fine_tune(task="qa", data="absent.json", head={"pooling": "mean"})


def test_the_head_alone_trains_as_the_whole_model_does(tiny: Path, tmp_path: Path) -> None:
    """Windows, of which a row has several, are stored like rows."""
    data = load(DataSettings(str(samples.path("qa"))), {}, QA(), seed=0)
    backbone = Backbone.find(ModelSettings(str(tiny)))
    rows = data.splits["train"].rows.select(range(12))
    features = {name: Features.of(rows, data.task, backbone.tokenizer()) for name in ("train", "validation")}
    assert len(features["train"]) > 2 * len(rows)
    settings = TrainSettings(epochs=1, batch_size=16, learning_rate=1e-2, precision="fp32")
    found = []
    for stored in (False, True):
        set_seed(0)
        loaded = load_with_head(backbone, *data.task.head(), "own", 0.0)
        model: Any = Head().apply(loaded.model, loaded.head)
        used = features
        if stored:
            model, used = Once(nullcontext, tmp_path).through(model, features, EVERY_BLOCK, lambda _: None)
            assert isinstance(used["train"], StoredFeatures)
        plan = LengthBuckets(used["train"].lengths, settings.batch_size, 1, seed=0)
        groups = Head().parameter_groups(model, (), settings)
        loop = Loop(model, groups, plan, used["train"].fetch, data.task.loss, settings, accelerator("fp32"))
        losses = [float(step.loss) for step in loop]
        found.append((losses, outputs_of(model, used["validation"], 16)))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-5)
    np.testing.assert_allclose(found[0][1][:, -1], found[1][1][:, -1], atol=1e-5)


def test_a_tuner_hands_the_token_types_on() -> None:
    """They tell BERT question and context apart; PEFT's own class for question answering takes them and keeps them."""
    model = (
        LoRA()
        .apply(tiny_family("bert", AutoModelForQuestionAnswering), ["qa_outputs.weight", "qa_outputs.bias"])
        .eval()
    )
    rows = batch()
    with torch.no_grad():
        types = {"token_type_ids": torch.ones_like(rows["input_ids"])}
        assert not torch.allclose(model(**rows).start_logits, model(**rows, **types).start_logits, atol=1e-3)
