"""Entities: forms of data, what is repaired and what refused, scores as seqeval has them, and the way from a file to answers."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from pyarrow import parquet
from seqeval.metrics import f1_score, precision_score, recall_score
from transformers import AutoModelForTokenClassification, pipeline

from nlp_transfer import cli, fine_tune, load_run, samples
from nlp_transfer import metrics as every_metric
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data import streams
from nlp_transfer.data.features import Features as Encoded
from nlp_transfer.data.inspection import cut_texts, tokens_read
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import Data, load, load_one
from nlp_transfer.errors import RequestError
from nlp_transfer.evaluation.errors import analysis
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.exporting import merged, transformers
from nlp_transfer.report import without_texts
from nlp_transfer.tagging.schemes import names
from nlp_transfer.tasks import from_json
from nlp_transfer.tasks.entities import REPAIRS, Entities
from tests.families import tiny as tiny_family
from tests.matrix import tokenizer

TOKENS = [["Ada", "Novak", "left", "Porto", "."], ["It", "rained", "."], ["Porto", ",", "Ada"]]
TAGS = [["B-PER", "I-PER", "O", "B-LOC", "O"], ["O", "O", "O"], ["B-LOC", "O", "B-PER"]]
TEXTS = ["Ada Novak left Porto .", "It rained .", "Porto , Ada"]
SPANS = [[(0, 9, "PER"), (15, 20, "LOC")], [], [(0, 5, "LOC"), (8, 11, "PER")]]
READ = [[{"start": a, "end": b, "label": kind} for a, b, kind in spans] for spans in SPANS]

KINDS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = [["B-PER", "E-PER", "O", "S-LOC", "O"], ["O", "O", "O"], ["S-LOC", "O", "S-PER"]]
PLAIN = [[tag.removeprefix("B-").removeprefix("I-") for tag in tags] for tags in TAGS]
IOB1 = [[tag.replace("B-", "I-") for tag in tags] for tags in TAGS]


def rows(text: str, texts: Any, found: str, every: Any) -> list[dict[str, Any]]:
    return [{text: a, found: b} for a, b in zip(texts, every, strict=True)]


def spans(*names: str, **more: Any) -> list[list[dict[str, Any]]]:
    return [[{**dict(zip(names, span, strict=True)), **more} for span in each] for each in SPANS]


def conll(tags: list[list[str]], mark: str = " ") -> str:
    blocks = [
        "\n".join(f"{a}{mark}X{mark}{b}" for a, b in zip(*row, strict=True)) for row in zip(TOKENS, tags, strict=True)
    ]
    return "-DOCSTART- -X- O\n\n" + "\n\n".join(blocks) + "\n"


def write(file: Path, content: Any) -> str:
    if isinstance(content, str):
        file.write_text(content, encoding="utf-8")
    elif file.suffix == ".csv":
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    elif file.suffix == ".parquet":
        Dataset.from_list(content).to_parquet(file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return str(file)


def read(source: Any, task: Entities | None = None, **settings: Any) -> Data:
    splits = {"source": source, "validation": source, "test": source}
    return load(DataSettings(**splits, **settings), {}, task or Entities(), seed=0)


FORMS: dict[str, tuple[str, Any]] = {
    "conll": ("rows.conll", conll(TAGS)),
    "conll with tabs": ("rows.iob", conll(TAGS, "\t")),
    "conll in iob1": ("rows.conll", conll(IOB1)),
    "tokens and tags": ("rows.jsonl", rows("tokens", TOKENS, "ner_tags", TAGS)),
    "bioes": ("rows.jsonl", rows("words", TOKENS, "tags", BIOES)),
    "plain": ("rows.jsonl", rows("tokens", TOKENS, "labels", PLAIN)),
    "parquet": ("rows.parquet", rows("tokens", TOKENS, "tags", TAGS)),
    "lists in csv": ("rows.csv", rows("tokens", map(json.dumps, TOKENS), "tags", map(str, TAGS))),
    "blanks in csv": ("rows.csv", rows("text", TEXTS, "tags", map(" ".join, TAGS))),
    "spans": ("rows.jsonl", rows("text", TEXTS, "entities", spans("start", "end", "label"))),
    "spans of prodigy": (
        "rows.jsonl",
        [
            {**row, "tokens": [{"text": "Ada", "id": 0}], "_input_hash": 1}
            for row in rows("text", TEXTS, "spans", spans("start", "end", "label", token_start=0))
        ],
    ),
    "triples of doccano": ("rows.jsonl", rows("text", TEXTS, "label", [[*map(list, each)] for each in SPANS])),
    "objects of doccano": (
        "rows.jsonl",
        rows("text", TEXTS, "entities", spans("start_offset", "end_offset", "label", id=7)),
    ),
    "label studio": (
        "rows.jsonl",
        rows("text", TEXTS, "label", [[{"start": a, "end": b, "labels": [c]} for a, b, c in each] for each in SPANS]),
    ),
    "spans in csv": ("rows.csv", rows("text", TEXTS, "entities", map(json.dumps, spans("start", "end", "label")))),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_the_same(form: str, tmp_path: Path) -> None:
    name, content = FORMS[form]
    content = content if isinstance(content, str) else list(content)
    data = read(write(tmp_path / name, content))
    test = data.splits["test"].rows
    assert test["entities"][:] == READ
    assert data.task.types == ("LOC", "PER")
    of_tokens = "span" not in form and "doccano" not in form and "studio" not in form
    assert test["text"][:] == (TOKENS if of_tokens else TEXTS)
    assert data.task.split == ("space" if of_tokens else "punctuation")
    kinds = {"repaired_tags", "trimmed_spans", "spans_inside_words"}
    assert not kinds & {finding.kind for finding in data.warnings}


def test_classes_of_the_hub_have_their_names() -> None:
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=KINDS))})
    numbers = [[KINDS.index(tag) for tag in tags] for tags in TAGS]
    data = read(Dataset.from_dict({"tokens": TOKENS, "ner_tags": numbers}, features))
    assert data.splits["test"].rows["entities"][:] == READ


def test_the_scheme_is_said_and_may_be_named(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.conll", conll(IOB1))
    assert any("read as IOB1" in note and "recognised" in note for note in read(file).notes)
    forced = read(file, Entities(scheme="bio2"))
    assert any("read as BIO2" in note and "as asked" in note for note in forced.notes)
    found = [warning for warning in forced.report()["warnings"] if warning["kind"] == "repaired_tags"]
    assert [warning["count"] for warning in found] == [2, 2, 2]
    assert found[0]["rows"] == [f"{file}, line 3", f"{file}, line 13"]
    assert forced.splits["test"].rows["entities"][:] == READ
    with pytest.raises(RequestError, match=r'line 3, column "tags": the tag "LOC" is none of BIOES'):
        read(write(tmp_path / "rows.bio", conll(IOB1).replace("I-LOC", "LOC")), Entities(scheme="bioes"))


def test_entities_without_an_end_are_counted_by_themselves() -> None:
    """BIO2 that is forced to be BIOES has no I- that continues nothing."""
    forced = read(rows("tokens", TOKENS, "tags", TAGS), Entities(scheme="bioes"))
    counts = {finding.kind: finding.count for finding in forced.warnings if finding.kind in REPAIRS}
    assert counts == {"entities_without_end": 2}
    odd = [["I-PER", "E-PER", "O", "B-LOC", "O"], *BIOES[1:]]
    found = read(rows("tokens", TOKENS, "tags", odd), Entities(scheme="bioes"))
    assert {finding.kind: finding.count for finding in found.warnings if finding.kind in REPAIRS} == {
        "repaired_tags": 1,
        "entities_without_end": 1,
    }


def test_a_file_in_another_scheme_than_training_is_told_so(data: Data) -> None:
    says = r'the tag "PER" is none of BIO2, as which those of training are read: expected one scheme in all files'
    with pytest.raises(RequestError, match=says):
        load_one(rows("tokens", TOKENS, "tags", PLAIN), data.task, answers=True, warnings=[], columns={}, remembered={})


def test_spans_are_trimmed_and_those_inside_words_counted() -> None:
    given = [{"text": "Ada Novak left Porto.", "entities": [[0, 10, "PER"], [15, 18, "LOC"]]}] * 3
    data = read(given)
    assert data.splits["test"].rows["entities"][0] == [
        {"start": 0, "end": 9, "label": "PER"},
        {"start": 15, "end": 18, "label": "LOC"},
    ]
    counts = {finding.kind: finding.count for finding in data.warnings}
    assert counts["trimmed_spans"] == counts["spans_inside_words"] == 3
    encoded = Encoded.of(data.splits["train"].rows, data.task, tokenizer())
    assert [names(data.task.types)[tag] for tag in encoded.columns["labels"][0]] == [
        "B-PER",
        "I-PER",
        "O",
        "B-LOC",
        "O",
    ]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "lengths": ({"tokens": ["a", "b"], "tags": ["O"]}, r"line 2, column \"tags\": 1 tag for 2 tokens"),
    "an empty token": ({"tokens": ["a", ""], "tags": ["O", "O"]}, 'column "tokens": token 2 is empty'),
    "no tokens": ({"tokens": [], "tags": []}, "there are no tokens"),
    "numbers": ({"tokens": ["a"], "tags": [3]}, "numbers need their names"),
    "an empty tag": ({"tokens": ["a"], "tags": [""]}, "tag 1 is empty"),
    "another form": ({"tokens": "Ada", "tags": [[0, 3, "PER"]]}, "spans and tags stand in one file"),
    "nothing": ({"tokens": ["a"], "tags": None}, "no entities: expected an empty list"),
    "a span among tags": (
        {"tokens": ["a", "b"], "tags": ["O", {"start": 0, "end": 1, "label": "PER"}]},
        r'column "tags": tags and spans stand in one list: expected tags .* or spans',
    ),
    "a list among tags": (
        {"tokens": ["a", "b"], "tags": ["O", ["O"]]},
        'column "tags": tags and spans stand in one list',
    ),
    "a tag among spans in text": (
        {"tokens": ["a"], "tags": '[[0, 1, "PER"], "O"]'},
        'column "tags": tags and spans stand in one list',
    ),
    "spans beside tokens": (
        {"tokens": ["a"], "tags": [{"start": 0, "end": 1, "label": "PER"}]},
        "spans of characters stand beside tokens",
    ),
}
BAD_SPANS: dict[str, tuple[Any, str]] = {
    "outside": ([[0, 99, "PER"]], "the span 0 to 99 .PER. ends outside the text, which has 10 characters"),
    "overlapping": ([[0, 5, "PER"], [4, 9, "LOC"]], "0 to 5 .PER. and 4 to 9 .LOC. overlap"),
    "empty": ([[3, 3, "PER"]], "the span 3 to 3 .PER. is empty"),
    "blank": ([[3, 4, "PER"]], "holds no character but white space"),
    "below 0": ([[-1, 4, "PER"]], "-1 is no place of a character"),
    "without a type": ([{"start": 0, "end": 3}], "is no span"),
    "a word as place": ([["0", 3, "PER"]], "'0' is no place of a character"),
    "beyond numbers": ([[0, float("inf"), "PER"]], "inf is no place of a character"),
    "other words": (
        [{"start": 0, "end": 3, "label": "PER", "text": "da "}],
        'at 0 to 3 .PER. stands "Ada", and the span says "da "',
    ),
    "an empty type": ([[0, 3, " "]], "has no type"),
    "no entity as type": (
        [[0, 3, "PER"], [4, 8, "O"]],
        r"4, 8, 'O'.* has the type O, which means no entity: leave such spans out",
    ),
    "a broken list": (
        "[[0, 3, 'PER'",
        r"\[\[0, 3, 'PER' begins like a list and cannot be read as JSON: expected tags .* or spans",
    ),
    "a tag among spans": ([[0, 3, "PER"], "O"], "tags and spans stand in one list"),
    "an object": ({"start": 0}, "where entities are expected"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_are_refused_with_their_place(kind: str, tmp_path: Path) -> None:
    row, says = BAD[kind]
    file = write(tmp_path / "rows.jsonl", [{"tokens": ["Ada"], "tags": ["B-PER"]}, row])
    with pytest.raises(RequestError, match=says) as caught:
        read(file)
    assert f"{file}, line 2" in str(caught.value)
    bad = [finding for finding in read(file, skip_bad_rows=True).warnings if finding.kind == "bad_rows"]
    assert [finding.count for finding in bad] == [1, 1, 1]


@pytest.mark.parametrize("kind", BAD_SPANS)
def test_bad_spans_are_refused_with_their_place(kind: str, tmp_path: Path) -> None:
    found, says = BAD_SPANS[kind]
    good = {"text": "Ada left.", "entities": [[0, 3, "PER"]]}
    file = write(tmp_path / "rows.jsonl", [good, {"text": "Ada left it", "entities": found} | {"text": "Ada lefts."}])
    with pytest.raises(RequestError, match=says) as caught:
        read(file)
    assert f'{file}, line 2, column "entities"' in str(caught.value)


def test_other_bad_data(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no training row has an entity"):
        read(write(tmp_path / "none.jsonl", rows("tokens", TOKENS, "tags", [["O"] * len(each) for each in TOKENS])))
    odd = [[*TAGS[0][:3], "LOC", "O"], *TAGS[1:]]
    with pytest.raises(RequestError, match=r'odd.conll, line 3, column "tags": the tag "LOC" is of no scheme'):
        read(write(tmp_path / "odd.conll", conll(odd)))
    file, other = write(tmp_path / "rows.conll", conll(TAGS)), conll(TAGS).replace("PER", "PRE")
    with pytest.raises(
        RequestError, match=r"other.conll, line 3.*the type \"PRE\" is not one of training. Did you mean"
    ):
        load(DataSettings(file, test=write(tmp_path / "other.conll", other)), {}, Entities(), seed=0)
    bad = write(tmp_path / "bad.conll", conll(TAGS).replace("rained X O", "rained O"))
    assert [f.count for f in read(bad, skip_bad_rows=True).warnings if f.kind == "bad_rows"] == [1, 1, 1]


@pytest.mark.parametrize(("scheme", "odd"), [("auto", "PER"), ("auto", "X-PER"), ("auto", "b-per"), ("bio2", "S-PER")])
def test_rows_of_another_scheme_can_be_left_out(scheme: Any, odd: str, tmp_path: Path) -> None:
    """Of training as of the other files."""
    tags = [*TAGS, *TAGS, [odd, "O", "O"]]
    file = write(tmp_path / "rows.jsonl", rows("tokens", [*TOKENS, *TOKENS, TOKENS[1]], "tags", tags))
    with pytest.raises(RequestError, match=rf'line 7, column "tags": the tag "{odd}" is .* --data.skip_bad_rows true'):
        read(file, Entities(scheme=scheme))
    data = read(file, Entities(scheme=scheme), skip_bad_rows=True)
    assert [finding.count for finding in data.warnings if finding.kind == "bad_rows"] == [1, 1, 1]
    assert (data.task.scheme_read, len(data.splits["train"])) == ("bio2", 6)


def test_a_cut_keeps_rare_types() -> None:
    found = [{"text": "Ada", "entities": [[0, 3, "RARE" if i < 3 else "PER"]]} for i in range(60)]
    splits = load(
        DataSettings([{**row, "text": f"Ada {i}"} for i, row in enumerate(found)]), {}, Entities(), seed=0
    ).splits
    assert any(span["label"] == "RARE" for each in splits["train"].rows["entities"][:] for span in each)
    assert {finding.kind for finding in read(found).warnings} >= {"imbalance"}


# learning and scores


def encoded(data: Data) -> Encoded:
    return Encoded.of(data.splits["test"].rows, data.task, tokenizer())


@pytest.fixture(scope="module")
def data() -> Data:
    return read(rows("tokens", TOKENS, "tags", TAGS))


def test_the_loss_is_that_of_transformers_own_head(data: Data) -> None:
    """Their labels: the first piece of each word, -100 everywhere else."""
    model = tiny_family("bert", AutoModelForTokenClassification, **data.task.head()[1])
    batch = encoded(data).fetch(np.arange(3))
    loss, weight = data.task.loss(model(**batch.inputs), batch)
    assert float(weight) == sum(map(len, TOKENS))
    torch.testing.assert_close(loss / weight, model(**batch.inputs, labels=batch.targets["labels"]).loss)


def test_classes_weigh_as_asked(data: Data) -> None:
    model = tiny_family("bert", AutoModelForTokenClassification, **data.task.head()[1])
    batch = encoded(data).fetch(np.arange(3))
    task = read(rows("tokens", TOKENS, "tags", TAGS), Entities(class_weights={"PER": 3.0})).task
    assert task.weights == (1, 1, 1, 3, 3)
    assert float(task.loss(model(**batch.inputs), batch)[1]) == 11 + 2 * 3
    balanced = read(rows("tokens", TOKENS, "tags", TAGS), Entities(class_weights="balanced")).task
    assert balanced.weights == pytest.approx([11 / (3 * count) for count in (6, 2, 2, 3, 3)])
    with pytest.raises(RequestError, match='names "PRE"'):
        read(rows("tokens", TOKENS, "tags", TAGS), Entities(class_weights={"PRE": 3.0}))


def test_scores_are_seqevals(data: Data) -> None:
    """Of random answers with slips: the same as seqeval's of the tags as the model gave them."""
    generator = np.random.default_rng(0)
    known = names(data.task.types)
    tokens = [[f"w{i}" for i in range(count)] for count in generator.integers(1, 9, 60)]
    gold = [[known[tag] for tag in generator.choice([0, 1, 3], len(each))] for each in tokens]
    test = replace(read(rows("tokens", tokens, "tags", gold)).splits["test"])
    features = Encoded.of(test.rows, data.task, tokenizer())
    outputs = generator.normal(size=(sum(map(len, tokens)), 5)).astype(np.float32)
    answers = data.task.decode(outputs, features.columns, test.rows)
    ends = np.cumsum([0, *map(len, tokens)])
    given = [[known[tag] for tag in outputs[a:b].argmax(1)] for a, b in itertools.pairwise(ends)]
    found = data.task.score(answers, test.rows)
    assert found["f1"] == pytest.approx(f1_score(gold, given))
    assert found["f1"] == pytest.approx(every_metric.function("entity_f1")([a.tags for a in answers], gold))
    assert found["precision"] == pytest.approx(precision_score(gold, given))
    assert found["recall"] == pytest.approx(recall_score(gold, given))
    assert found["macro_f1"] == pytest.approx(f1_score(gold, given, average="macro"))
    right = [a == b for x, answer in zip(gold, answers, strict=True) for a, b in zip(x, answer.tags, strict=True)]
    assert found["word_accuracy"] == pytest.approx(np.mean(right))
    details = data.task.details(answers, test.rows, {})
    for kind, score in zip(data.task.types, f1_score(gold, given, average=None), strict=True):
        assert details["per_type"][kind]["f1"] == pytest.approx(score)
    assert details["repaired"] == sum(answer.repaired for answer in answers) > 0
    entities = sum(values["support"] for values in details["per_type"].values())
    assert sum(values["support"] for values in details["recall_by_words"].values()) == entities
    wrong = sum(len(a.entities) for a in answers) - round(found["precision"] * sum(len(a.entities) for a in answers))
    assert sum(count for kind, count in details["misses"].items() if kind != "missed") == wrong


def scored(tags: list[list[str]]) -> np.ndarray:
    """Scores by which every word gets its tag with a probability of nearly 0.9."""
    every = np.array([KINDS_SORTED.index(tag) for each in tags for tag in each])
    return np.where(np.arange(5) == every[:, None], 3.5, 0.0).astype(np.float32)


KINDS_SORTED = names(("LOC", "PER"))


def test_answers_mistakes_and_groups(data: Data) -> None:
    test = data.splits["test"]
    given = [["B-PER", "O", "O", "I-LOC", "O"], ["O", "B-LOC", "O"], ["B-LOC", "O", "B-LOC"]]
    answers = data.task.decode(scored(given), encoded(data).columns, test.rows)
    assert [entity.mention for entity in answers[0].entities] == [(0, 3, "PER"), (15, 20, "LOC")]
    assert [entity.text for entity in answers[0].entities] == ["Ada", "Porto"]
    assert answers[0].repaired == 1
    assert answers[0].tags == ("B-PER", "O", "O", "B-LOC", "O")
    chance = np.exp(3.5) / (np.exp(3.5) + 4)
    assert answers[0].entities[0].probability == pytest.approx(chance + 1 / (np.exp(3.5) + 4))
    assert answers[1].words(2) == ["rained (LOC)", "0.92"]
    assert answers[0].cells()["tags"][3] == "B-LOC"
    json.dumps([answer.cells() for answer in answers])
    details = data.task.details(answers, test.rows, {})
    assert details["misses"] == {"type": 1, "boundary": 1, "type_and_boundary": 0, "invented": 1, "missed": 0}
    assert details["recall_by_words"] == {
        "1 word": {"recall": 2 / 3, "support": 3},
        "2 words": {"recall": 0.0, "support": 1},
    }
    mistakes = data.task.mistakes(answers, test.rows)
    assert [(mistake.row, mistake.gold) for mistake in mistakes] == [
        (0, "Ada Novak (PER) | Porto (LOC)"),
        (1, "(none)"),
        (2, "Porto (LOC) | Ada (PER)"),
    ]
    assert all(0.8 < mistake.confidence < 1 for mistake in mistakes)
    missed = data.task.decode(scored([["O"] * len(each) for each in TOKENS]), encoded(data).columns, test.rows)
    assert [mistake.row for mistake in data.task.mistakes(missed, test.rows)] == [0, 2]
    assert data.task.details(missed, test.rows, {})["misses"]["missed"] == 4
    assert not data.task.mistakes(data.task.decode(scored(TAGS), encoded(data).columns, test.rows), test.rows)
    errors = analysis(data.task, data.task.judged(answers, test.rows), mistakes, test)
    assert {entry["group"]: entry["rows"] for entry in errors["by_entities"]} == {"2 to 3": 2}, "no F1 without entities"
    assert errors["most_confident"][0]["text"] in TEXTS
    assert "Ada" not in json.dumps(without_texts({"details": {"test": {"errors": errors}}}))
    assert from_json(json.loads(json.dumps(data.task.to_json()))) == data.task


def test_outputs_of_words_come_in_the_order_of_their_rows(data: Data) -> None:
    """Whatever the batches, and however many windows a row has."""
    tokens = [[f"word{i}" for i in range(count)] for count in (3, 40, 1, 17)]
    test = read(rows("tokens", tokens, "tags", [["B-PER", *["O"] * (len(each) - 1)] for each in tokens])).splits["test"]
    task = replace(data.task, stride=8)
    model = tiny_family("bert", AutoModelForTokenClassification, **task.head()[1])
    features = Encoded.of(test.rows, task, tokenizer())
    assert len(features) > len(tokens)
    alone, together = (outputs_of(model, features, batch_size) for batch_size in (1, 3))
    assert together.shape == (61, 5)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    batches = [features.fetch(np.array([i])) for i in range(len(features))]
    by_hand = np.concatenate([task.keep(model(**batch.inputs), batch).detach() for batch in batches])
    np.testing.assert_allclose(together, by_hand, atol=1e-5)
    answers = task.decode(together, features.columns, test.rows)
    assert [len(answer.tags) for answer in answers] == [3, 40, 1, 17]


@pytest.mark.parametrize("backbone", ["tiny_bert", "tiny_gpt2"])
def test_what_is_lost_of_a_long_word_is_counted(backbone: str, request: pytest.FixtureRequest) -> None:
    """And nothing else is, however many windows a row has."""
    words = [["Ada"], ["Ada", "x1" * 40, "left"], ["Ada", *["left"] * 60]]
    data = read(rows("tokens", words, "tags", [["B-PER", *["O"] * (len(each) - 1)] for each in words]))
    short = Backbone.find(ModelSettings(str(request.getfixturevalue(backbone)))).tokenizer(16)
    features = {name: Encoded.of(split.rows, data.task, short) for name, split in data.splits.items()}
    whole = Backbone.find(ModelSettings(str(request.getfixturevalue(backbone)))).tokenizer(10**6)
    texts = [" ".join(each) for each in words]
    around = len(whole("a")["input_ids"]) - 1
    piece = len(whole(" " + words[1][1], add_special_tokens=False)["input_ids"])
    lost = piece - (16 - around)
    assert lost > 0
    tokens = tokens_read(data.splits, features)
    every = sum(len(whole(text)["input_ids"]) for text in texts)
    assert tokens["test"].said() == {"features": len(features["test"]), "tokens": every, "not_read": lost}
    found = cut_texts(data.splits, features, tokens)
    assert [(each.kind, each.count) for each in found] == [("cut_texts", 1)] * 3
    assert (
        f"test: 1 row of 3 with a word longer than a window of 16 tokens; {lost} of {every:,} tokens"
        in found[-1].message
    )


# from a file to answers


@pytest.fixture(scope="module")
def tiny_opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("tiny-opt")
    tiny_family("opt", AutoModelForCausalLM).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("backbone", "method"), [("tiny_bert", "full"), ("tiny_gpt2", "head"), ("tiny_opt", "lora")])
def test_from_a_file_to_answers(
    backbone: str,
    method: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, folder = str(request.getfixturevalue(backbone)), str(tmp_path / "run")
    sample = samples.path("entities")
    flags = ["--model", model, "--method", method, "--train.max_steps", "2", "--data.max_length", "64"]
    assert cli.main(["train", "--task", "entities", "--data", str(sample), *flags, "--output", folder]) == 0
    run = load_run(folder)
    assert len((run.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()) == 40
    assert run.evaluate(sample / "test.jsonl").scores == pytest.approx(dict(run.scores["test"]))
    text = " ".join(["Ada Novak left (Porto)."] * 30)
    [answer] = run.predict([text])
    assert len(answer.tags) == 30 * 7
    assert all(text[entity.start : entity.end] == entity.text for entity in answer.entities)
    [tokens] = run.predict([["Ada", "Novak", "left"]])
    assert len(tokens.cells()["tags"]) == 3
    assert run.predict("Ada left.")[0].cells().keys() == {"entities"}
    capsys.readouterr()
    assert cli.main(["predict", folder, "Ada Novak left."]) == 0
    assert capsys.readouterr().out.endswith("\tAda Novak left.\n")
    news = write(tmp_path / "news.conll", conll(TAGS))
    for out in ("answers.jsonl", "answers.csv", "answers.parquet"):
        assert cli.main(["predict", folder, "--input", news, "--output", str(tmp_path / out)]) == 0
    answered = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["tokens"] for row in answered] == TOKENS
    assert [len(row["predicted_tags"]) for row in answered] == [5, 3, 3]
    assert parquet.read_table(tmp_path / "answers.parquet").column_names == [
        "tokens",
        "tags",
        "entities",
        "predicted_tags",
    ]
    wrong = tmp_path / "wrong.jsonl"
    assert cli.main(["evaluate", folder, "--data", str(sample / "test.jsonl"), "--errors", str(wrong)]) == 0
    assert len(wrong.read_text(encoding="utf-8").splitlines()) == run.report["details"]["test"]["errors"]["wrong"]
    assert "pipeline_tag: token-classification" in (run.folder / "README.md").read_text(encoding="utf-8")
    mixed = [{"text": "Ada left."}] * 3 + [{"text": ["Ada", "left"]}]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mixed), encoding="utf-8")
    monkeypatch.setattr(streams, "ROWS", 3)
    assert (
        cli.main(["predict", folder, "--input", str(tmp_path / "mixed.jsonl"), "--output", str(tmp_path / "a.csv")])
        == 2
    )
    assert "mixed.jsonl, line 4: from here on answers have tags too" in capsys.readouterr().err
    if backbone == "tiny_opt":
        with pytest.raises(RequestError, match="no token-classification head for opt"):
            transformers(run, tmp_path / "plain")
        assert "import nlp_transfer" in merged(run, tmp_path / "merged")[-1]


def test_plain_transformers_finds_the_same(tiny_bert: Path, tmp_path: Path) -> None:
    data = {"source": str(samples.path("entities")), "limit": 120}
    train = {"epochs": 15, "learning_rate": 5e-3, "batch_size": 8}
    run = fine_tune(task="entities", model=str(tiny_bert), data=data, train=train, output=tmp_path / "run", silent=True)
    assert "logits as the run's" in transformers(run, tmp_path / "plain")[0]
    plain = pipeline("token-classification", str(tmp_path / "plain"), aggregation_strategy="first")
    texts = ["Mira opened a bakery in Ghent.", "Oskar lost his keys on Friday."]
    found = [[(each["start"], each["end"], each["entity_group"]) for each in one] for one in plain(texts)]
    assert [answer.mentions for answer in run.predict(texts)] == found
    assert any(found)


def test_wrong_settings_are_refused_before_anything_is_read() -> None:
    with pytest.raises(RequestError, match=r"head\.pooling mean makes one vector of a text, but entities"):
        fine_tune(task="entities", data="absent.json", head={"pooling": "mean"})
    with pytest.raises(RequestError, match=r"task\.stride is -1"):
        fine_tune(task={"name": "entities", "stride": -1}, data="absent.json")
    with pytest.raises(RequestError, match=r"task\.scheme is 'bilou'"):
        fine_tune(task={"name": "entities", "scheme": "bilou"}, data="absent.json")


def test_the_odd_row_is_the_one_that_differs_from_most():
    task = Entities()
    odd, usual = ("Ada", [[0, 3, "PER"]]), (["Ada"], ["B-PER"])
    rows = {"text": [odd[0], *[usual[0]] * 3], "entities": [odd[1], *[usual[1]] * 3]}
    assert list(task.faults(rows)) == [0]
    for first, second in ((odd, usual), (usual, odd)):
        even = {"text": [first[0], second[0]], "entities": [first[1], second[1]]}
        assert list(task.faults(even)) == [1]
    assert not task.faults({"text": [], "entities": []})
