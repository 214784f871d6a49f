"""Two texts per row, from the columns of a file to answers, whatever the task, the method and the kind of backbone."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from nlp_transfer import cli, fine_tune, load_run, samples
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.activations import Once
from nlp_transfer.data.apart import unchanged
from nlp_transfer.data.choices import choose_columns
from nlp_transfer.data.features import Features
from nlp_transfer.data.files import Table
from nlp_transfer.data.inspection import cut_texts
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.errors import RequestError
from nlp_transfer.heads import load_with_head
from nlp_transfer.methods import EVERY_BLOCK
from nlp_transfer.runs import Run
from nlp_transfer.tasks import find
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.texts import shortened

PAIRS = [("The shop shuts at six.", "It closes at six."), ("I like tea.", "The lake is deep.")]


def chosen(columns: list[str], given: dict[str, str], task: str = "classification") -> dict[str, str]:
    found = find(task)()
    table = Table("rows.csv", "line", {name: ["x"] for name in columns}, [2])
    needed = [*found.asked_columns, *found.answer_columns]
    return choose_columns(table, given, found, needed, also=found.optional_columns)


@pytest.mark.parametrize(
    ("columns", "given", "texts"),
    [
        (["premise", "hypothesis"], {}, ("premise", "hypothesis")),
        (["Sentence2", " SENTENCE1 "], {}, (" SENTENCE1 ", "Sentence2")),
        (["question", "sentence"], {}, ("question", "sentence")),
        (["text", "text_pair"], {}, ("text", "text_pair")),
        (["text", "premise", "hypothesis"], {}, ("text",)),
        (["sentence", "hypothesis"], {}, ("sentence",)),
        (["question"], {}, ("question",)),
        (["premise", "hypothesis"], {"text": "premise"}, ("premise",)),
        (["premise", "hypothesis"], {"text": "hypothesis"}, ("hypothesis",)),
        (["premise", "hypothesis"], {"text_pair": "hypothesis"}, ("premise", "hypothesis")),
        (["text", "more"], {"text_pair": "more"}, ("text", "more")),
        (["a", "b"], {"text": "b", "text_pair": "a"}, ("b", "a")),
    ],
)
def test_two_texts_are_known_by_their_names_together(columns: list[str], given: dict, texts: tuple) -> None:
    found = chosen([*columns, "label"], given)
    assert found.pop("label") == "label"
    assert tuple(found.values()) == texts
    assert tuple(found) == ("text", "text_pair")[: len(texts)]


def test_a_task_without_a_second_text_takes_none() -> None:
    assert chosen(["question", "sentence", "label"], {}, "sentiment")["text"] == "sentence"


def test_names_are_found_for_every_task_that_reads_two() -> None:
    for task, answer in (("regression", "score"), ("multi_label", "tags")):
        found = chosen(["id", "sentence1", "sentence2", answer], {}, task)
        assert list(found.values()) == ["sentence1", "sentence2", answer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two-texts")


@pytest.fixture(scope="module")
def run(folder: Path, tiny_bert: Path) -> Run:
    """A run of two texts: sentence1 and sentence2."""
    data = {"source": str(samples.path("sentence_pairs"))}
    return fine_tune(
        task="classification", data=data, model=str(tiny_bert), train={"epochs": 1}, output=folder / "run", silent=True
    )


def test_a_run_says_which_columns_it_read(run: Run) -> None:
    assert run.report["data"]["columns"] == {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
    assert run.task.asked_columns == ("text", "text_pair")
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert 'run.predict([{"text": "...", "text_pair": "..."}])' in card
    shown = run.report["details"]["test"]["errors"]["most_confident"]
    assert not shown or {"text", "text_pair"} <= shown[0].keys()


def test_pairs_are_asked_in_every_form(run: Run) -> None:
    expected = [answer.probabilities for answer in run.predict(PAIRS)]
    forms = [
        [list(pair) for pair in PAIRS],
        [{"text": text, "text_pair": pair} for text, pair in PAIRS],
        [{"sentence1": text, "sentence2": pair} for text, pair in PAIRS],
        [{"premise": text, "hypothesis": pair} for text, pair in PAIRS],
    ]
    for form in forms:
        assert [answer.probabilities for answer in run.predict(form)] == expected
    [one] = run.predict(PAIRS[0])
    assert one.probabilities == pytest.approx(expected[0], abs=1e-6)
    assert run.predict([]) == []
    [turned] = run.predict([PAIRS[0][::-1]])
    assert turned.probabilities != expected[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["alone", "alone"], "row 1: 1 text where this run reads 2"),
        ("alone", "1 text where this run reads 2"),
        ([("a", "b", "c")], "3 texts where this run reads 2"),
        ([PAIRS[0], ("x",)], "row 2: 1 text"),
        ([PAIRS[0], ("x", " ")], 'row 2, column "text_pair": the cell is empty'),
        ([{"text": "x"}], "known as text_pair"),
    ],
)
def test_what_is_no_pair_is_refused(run: Run, asked: object, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        run.predict(asked)


def test_the_command_line_takes_two_words_for_an_answer(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(run.folder), *PAIRS[0], *PAIRS[1]]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [tuple(line[2:]) for line in lines] == PAIRS
    assert [line[0] for line in lines] == [answer.label for answer in run.predict(PAIRS)]
    assert cli.main(["predict", str(run.folder), "one", "two", "three"]) == 2
    assert "reads 2 for each answer (text, text_pair)" in capsys.readouterr().err


def test_files_of_pairs_are_answered_and_judged(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = samples.path("sentence_pairs") / "test.csv"
    assert cli.main(["predict", str(run.folder), "--input", str(source), "--output", str(folder / "answers.csv")]) == 0
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    again = run.predict([(row["sentence1"], row["sentence2"]) for row in rows])
    assert [row["predicted_label"] for row in rows] == [answer.label for answer in again]
    errors = folder / "wrong.jsonl"
    assert cli.main(["evaluate", str(run.folder), "--data", str(source), "--errors", str(errors)]) == 0
    wrong = [json.loads(line) for line in errors.read_text(encoding="utf-8").splitlines()]
    assert len(wrong) == sum(row["predicted_label"] != row["label"] for row in rows)
    capsys.readouterr()


def test_a_run_of_one_text_leaves_a_second_one_alone(folder: Path, tiny_bert: Path) -> None:
    rows = [{"sentence": f"text {i}", "label": "ab"[i % 2]} for i in range(30)]
    one = fine_tune(
        task="classification",
        data=rows,
        model=str(tiny_bert),
        train={"max_steps": 1},
        output=folder / "one",
        silent=True,
    )
    [plain] = one.predict("text 3")
    [beside] = one.predict([{"question": "what?", "sentence": "text 3"}])
    assert plain.probabilities == beside.probabilities


@pytest.mark.parametrize("task", ["regression", "multi_label"])
def test_every_task_with_texts_reads_two(task: str, folder: Path, tiny_gpt2: Path) -> None:
    answers = {"regression": lambda i: i / 7, "multi_label": lambda i: ["a", "b"][: i % 3]}
    rows = [{"sentence1": f"text {i}", "sentence2": f"other {i % 5}", "score": answers[task](i)} for i in range(40)]
    columns = {"target" if task == "regression" else "labels": "score"}
    found = fine_tune(
        task=task,
        data=rows,
        columns=columns,
        model=str(tiny_gpt2),
        train={"max_steps": 2},
        output=folder / task,
        silent=True,
    )
    again = load_run(folder / task)
    assert again.task == found.task
    assert again.task.asked_columns == ("text", "text_pair")
    assert len(again.predict(PAIRS)) == 2
    judged = again.evaluate(rows)
    assert set(judged.scores) == set(found.scores["test"])
    assert cli.main(["predict", str(folder / task), *PAIRS[0]]) == 0


@pytest.mark.parametrize("pooling", ["own", "mean"])
def test_the_head_alone_answers_pairs_as_the_whole_model_does(tiny: Path, pooling: str) -> None:
    data = load(DataSettings(str(samples.path("sentence_pairs"))), {}, Classification(), seed=0)
    backbone = Backbone.find(ModelSettings(str(tiny)))
    features = Features.of(data.splits["test"].rows, data.task, backbone.tokenizer())
    model = load_with_head(backbone, *data.task.head(), pooling, dropout=0.0).model
    model.base_model.requires_grad_(False)
    batch = features.fetch(np.arange(6))
    once = Once(nullcontext, Path(), done=lambda _: None)
    found = once.over(unchanged(model.eval(), features, EVERY_BLOCK), {"test": features}, say=print)
    stored = found["test"].fetch(np.arange(6))
    alone = unchanged(model, features, EVERY_BLOCK).model
    with torch.no_grad():
        whole = model(**batch.inputs).logits
        torch.testing.assert_close(alone(**stored.inputs).logits, whole, atol=1e-5, rtol=0)
        if "token_type_ids" in batch.inputs:
            assert batch.inputs["token_type_ids"].max() == 1
            plain = {name: values for name, values in batch.inputs.items() if name != "token_type_ids"}
            assert not torch.allclose(model(**plain).logits, whole, atol=1e-6), "token types change the answer"


def test_tokens_that_are_not_read_are_counted_for_both_texts(tiny: Path) -> None:
    rows = [{"text": "a " * 30, "text_pair": "a " * 30, "label": "ab"[i % 2]} for i in range(3)]
    rows += [{"text": "a", "text_pair": "a " * 40, "label": "a"}, {"text": "a", "text_pair": "a", "label": "b"}]
    data = load(DataSettings({"train": rows, "validation": rows[-2:], "test": rows[-1:]}), {}, Classification(), seed=0)
    tokenizer = Backbone.find(ModelSettings(str(tiny))).tokenizer(20)
    features = {name: Features.of(split.rows, data.task, tokenizer) for name, split in data.splits.items()}
    found = {finding.message.partition(":")[0]: finding for finding in cut_texts(data.splits, features)}
    assert found.keys() == {"train", "validation"}
    tokenizer.model_max_length = 10**6
    whole = Features.of(data.splits["train"].rows, data.task, tokenizer).lengths
    assert found["train"].count == 4
    assert f"{int(np.maximum(whole - 20, 0).sum()):,} of {int(whole.sum()):,} tokens" in found["train"].message


def test_rows_are_equal_only_if_both_texts_are() -> None:
    rows = [{"text": "one", "text_pair": f"other {i}", "label": "ab"[i % 2]} for i in range(20)]
    assert not [w for w in load(DataSettings(rows), {}, Classification(), 0).warnings if w.kind != "short_texts"]
    rows[7] = {"text": "ONE", "text_pair": "Other  4", "label": "b"}
    [finding] = [
        w for w in load(DataSettings(rows), {}, Classification(), 0).warnings if w.kind == "conflicting_answers"
    ]
    assert finding.count == 2


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_gpt2"])
@pytest.mark.parametrize("limit", [9, 16])
def test_long_pairs_are_cut_as_the_tokenizer_cuts_them_and_make_no_pieces_of_pieces(
    family: str, limit: int, request: pytest.FixtureRequest
) -> None:
    tokenizer = Backbone.find(ModelSettings(str(request.getfixturevalue(family)))).tokenizer(limit)
    words = ["the", "kiosk", "sells", "tea,", "naïvely", "三本", "🏆", "and"]
    generator = np.random.default_rng(0)
    counts = [*generator.integers(1, 90, (60, 2)).tolist(), [80, 80], [81, 80], [80, 81], [1, 90], [90, 1]]
    texts, pairs = ([" ".join(generator.choice(words, count[side]).tolist()) for count in counts] for side in (0, 1))
    found = shortened(texts, pairs, tokenizer)
    options = {"truncation": "longest_first", "max_length": limit}
    assert tokenizer(*found, **options)["input_ids"] == tokenizer(texts, pairs, **options)["input_ids"]
    pieces = [len(encoding.overflowing) for encoding in tokenizer(*found, **options).encodings]
    assert max(pieces) < 100
    assert max(len(each.overflowing) for each in tokenizer(texts, pairs, **options).encodings) > 2 * max(pieces)
