"""Long texts: head, head and tail, or all of it in windows, whose outputs become one answer per row."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import set_seed

from nlp_transfer import fine_tune, load_run, long_texts, texts
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.activations import Once
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.data.features import Features, WholeRows, learned
from nlp_transfer.errors import RequestError
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.exporting.plain import merged
from nlp_transfer.heads import load_with_head
from nlp_transfer.long_texts import LongTexts, pooled, pooled_by_row, shared, spread
from nlp_transfer.methods.full import Full
from nlp_transfer.methods.head import Head
from nlp_transfer.recipe import Recipe
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.tasks.multi_label import MultiLabel
from nlp_transfer.tasks.regression import Regression
from nlp_transfer.tasks.sentiment import Sentiment
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings

A, B = "the soup was cold and the waiter rude", "nobody smiled"
WINDOWS = LongTexts("windows", stride=4)
ENDS = LongTexts("head_and_tail")

relaxed = settings(deadline=None, database=None, max_examples=100)


def tokenizer_of(folder: Path, length: int | None = None):
    return Backbone.find(ModelSettings(str(folder))).tokenizer(length)


# which tokens


@relaxed
@given(st.integers(0, 400), st.integers(1, 60), st.integers(0, 40))
def test_windows_hold_every_token_evenly_and_share_enough(length: int, room: int, stride: int) -> None:
    count = long_texts.windows(length, room, stride)
    found = spread(length, room, count)
    assert len(found) == count
    assert found[0].start == 0
    assert found[-1].stop == length
    assert {piece.stop - piece.start for piece in found} == {min(length, room)}
    overlaps = [one.stop - other.start for one, other in pairwise(found)]
    assert all(overlap >= min(stride, room // 2) for overlap in overlaps)
    assert not overlaps or max(overlaps) - min(overlaps) <= 1
    if count > 1:
        # one window less would share too little
        assert (count - 1) * room - (count - 2) * min(stride, room // 2) < length


@relaxed
@given(st.integers(0, 80), st.integers(0, 80), st.integers(1, 80))
def test_two_texts_share_the_room_and_the_longer_gives_way(first: int, second: int, room: int) -> None:
    ours, theirs = shared([first, second], room)
    assert ours <= first
    assert theirs <= second
    assert ours + theirs == min(first + second, room)
    if ours < first:
        assert ours + 1 >= theirs
    if theirs < second:
        assert theirs + 1 >= ours


def test_head_and_tail_are_those_of_the_paper() -> None:
    parts = ENDS.parts([1000], 510)
    assert parts.windows == [((slice(0, 128), slice(618, 1000)),)]
    assert parts.lost == 490
    assert LongTexts("head_and_tail", head_share=0.5).parts([11], 10).windows == [((slice(0, 5), slice(6, 11)),)]


@relaxed
@given(st.lists(st.integers(0, 90), min_size=1, max_size=2), st.integers(0, 40), st.floats(0.01, 0.99))
def test_head_and_tail_fill_the_room_and_no_more(lengths: list[int], room: int, share: float) -> None:
    parts = LongTexts("head_and_tail", head_share=share).parts(lengths, room)
    [window] = parts.windows
    read = [[i for piece in pieces for i in range(piece.start, piece.stop)] for pieces in window]
    assert sum(map(len, read)) == min(sum(lengths), room) == sum(lengths) - parts.lost
    for length, tokens in zip(lengths, read, strict=True):
        assert sorted(set(tokens)) == tokens
        if tokens:
            assert tokens[0] == 0
        if len(tokens) > 1 and (1 - share) * len(tokens) >= 1:
            assert tokens[-1] == length - 1


@relaxed
@given(st.lists(st.integers(0, 90), min_size=1, max_size=2), st.integers(2, 40), st.integers(1, 5), st.booleans())
@example([50, 0], 10, 5, False)
@example([0, 50], 10, 5, True)
def test_no_token_is_lost_in_windows_unless_training_reads_fewer(
    lengths: list[int], room: int, most: int, learns: bool
) -> None:
    reading = replace(WINDOWS, max_windows=most, learns=learns)
    parts = reading.parts(lengths, room)
    seen = [set() for _ in lengths]
    for window in parts.windows:
        assert sum(piece.stop - piece.start for pieces in window for piece in pieces) <= room
        for text, pieces in zip(seen, window, strict=True):
            text.update(*(range(piece.start, piece.stop) for piece in pieces))
    assert sum(lengths) - sum(map(len, seen)) == parts.lost
    assert not parts.lost or learns
    assert not learns or len(parts.windows) <= most


@pytest.mark.parametrize(
    ("values", "said"), [({"head_share": 1.0}, "head_share"), ({"stride": -1}, "stride"), ({"max_windows": 0}, "max_w")]
)
@pytest.mark.parametrize("task", [Classification, Sentiment, MultiLabel, Regression])
def test_settings_that_cannot_be_are_refused(task: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=f"task.{said}"):
        task(**values)


# as each kind of tokenizer puts them together


@pytest.mark.parametrize("reading", [WINDOWS, ENDS])
@pytest.mark.parametrize("pair", [[], [B, "", A]])
def test_texts_that_fit_are_read_as_ever(tiny: Path, reading: LongTexts, pair: list[str]) -> None:
    tokenizer = tokenizer_of(tiny)
    rows = {"text": [A, "", B], **({"text_pair": pair} if pair else {})}
    found, expected = texts.encode(rows, tokenizer, reading), texts.encode(rows, tokenizer)
    assert {name: found[name] for name in expected} == expected
    assert found["lost"] == [0, 0, 0]
    assert found.get("row", [0, 1, 2]) == [0, 1, 2]
    # a text without any token is read as padding, and counts none
    assert found["tokens"][0] == len(expected["input_ids"][0])


@pytest.mark.parametrize("reading", [LongTexts("truncate"), ENDS, WINDOWS])
@pytest.mark.parametrize("paired", [False, True])
def test_every_window_is_framed_and_holds_its_share(tiny: Path, reading: LongTexts, paired: bool) -> None:
    tokenizer, limit = tokenizer_of(tiny), 20
    long, other = " ".join([A] * 9), " ".join([B] * (1 + 8 * paired))
    rows = {"text": [long, B, long], **({"text_pair": [other, B, long]} if paired else {})}
    tokenizer.model_max_length = 10**6
    whole = texts.encode(rows, tokenizer)
    tokenizer.model_max_length = limit
    found = texts.encode(rows, tokenizer, reading)
    assert max(map(len, found["input_ids"])) <= limit
    assert sum(len(ids) == limit for ids in found["input_ids"]) >= 2 or tokenizer.sep_token is None
    if reading.long_texts == "truncate":
        return
    assert [sum(found["tokens"][i] for i in owned(found, row)) for row in range(3)] == [
        len(ids) for ids in whole["input_ids"]
    ]
    special = set(tokenizer.all_special_ids)
    for row in range(3):
        content = [i for i in whole["input_ids"][row] if i not in special]
        read = [[i for i in found["input_ids"][window] if i not in special] for window in owned(found, row)]
        lost = sum(found["lost"][i] for i in owned(found, row))
        if reading.long_texts == "windows":
            assert lost == 0
            assert set(content) == set().union(*read)
        else:
            assert lost == len(content) - len(read[0])
            assert read[0][0] == content[0]
            assert read[0][-1] == content[-1]
    if "token_type_ids" in found:
        assert [len(ids) for ids in found["token_type_ids"]] == [len(ids) for ids in found["input_ids"]]
        assert all(set(types) == {0, 1} for types in found["token_type_ids"])
    for ids in found["input_ids"]:
        kept = [i for i in ids if i in special]
        assert kept == [i for i in whole["input_ids"][0] if i in special]


def owned(features: dict[str, list[Any]], row: int) -> list[int]:
    return [i for i, each in enumerate(features.get("row", range(len(features["lost"])))) if each == row]


def test_the_pieces_of_one_text_make_it_again(tiny: Path) -> None:
    tokenizer = tokenizer_of(tiny, 16)
    long = " ".join([A, B] * 7)
    found = texts.encode({"text": [long]}, tokenizer, replace(WINDOWS, stride=0))
    frame = texts.Frame.of(tokenizer, paired=False)
    before, _, after = map(len, frame.ids)
    room = 16 - before - after
    content = tokenizer(long, add_special_tokens=False)["input_ids"]
    starts = [piece.start for piece in spread(len(content), room, len(found["input_ids"]))]
    again: dict[int, int] = {}
    for start, ids in zip(starts, found["input_ids"], strict=True):
        again |= dict(enumerate(ids[before : len(ids) - after], start))
    assert [again[i] for i in range(len(content))] == content


def test_a_short_second_text_is_in_every_window(tiny: Path) -> None:
    tokenizer = tokenizer_of(tiny, 24)
    found = texts.encode({"text": [" ".join([A] * 6)], "text_pair": [B]}, tokenizer, WINDOWS)
    assert len(found["row"]) > 2
    end = tokenizer(B if tokenizer.sep_token else f"\n{B}")["input_ids"]
    end = [i for i in end if i not in tokenizer.all_special_ids]
    for ids in found["input_ids"]:
        kept = [i for i in ids if i not in tokenizer.all_special_ids]
        assert kept[-len(end) :] == end


def test_a_decoders_later_windows_have_a_line_feed_between_too(tiny_gpt2: Path) -> None:
    tokenizer = tokenizer_of(tiny_gpt2, 24)
    rows = {"text": [B], "text_pair": [" ".join([A] * 6)]}
    found = texts.encode(rows, tokenizer, WINDOWS)
    read = [tokenizer.decode(ids) for ids in found["input_ids"]]
    assert len(read) > 2
    assert all(words.startswith(f"{B}\n") for words in read)
    assert all(words.count("\n") == 1 for words in read)


def test_windows_without_room_for_both_texts_are_refused(tiny_bert: Path) -> None:
    with pytest.raises(RequestError, match="max_length"):
        texts.encode({"text": [A], "text_pair": [A]}, tokenizer_of(tiny_bert, 4), WINDOWS)


# pooling


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_is_done_by_row_and_teaches_every_window(pooling: str) -> None:
    counts = [1, 3, 2]
    outputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    by_hand = [rows.mean(0) if pooling == "mean" else rows.max(0).values for rows in outputs.split(counts)]
    found = pooled(outputs, counts, pooling)
    torch.testing.assert_close(found, torch.stack(by_hand))
    again = pooled_by_row(outputs.detach().numpy(), np.repeat(np.arange(3), counts), pooling)
    np.testing.assert_allclose(again, found.detach().numpy(), atol=1e-6)
    assert again.dtype == np.float32
    found.sum().backward()
    share = outputs.grad.abs().sum(1)
    assert (share > 0).all() if pooling == "mean" else (share > 0).sum() >= 3
    assert torch.equal(pooled(outputs, [1] * 6, pooling), outputs)


# batches


@relaxed
@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 9)), min_size=1, max_size=120),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_batches_hold_whole_rows_and_no_more_windows_than_they_may(
    rows: list[tuple[int, int]], batch_size: int, accumulate: int, number: int
) -> None:
    lengths, counts = map(np.array, zip(*rows, strict=True))
    plan = LengthBuckets(lengths, batch_size, accumulate, 0, counts)
    plain = LengthBuckets(lengths, batch_size, accumulate, 0)
    epoch = plan.epoch(number)
    assert [np.concatenate(step).tolist() for step in epoch] == [
        np.concatenate(step).tolist() for step in plain.epoch(number)
    ]
    for batch in (batch for step in epoch for batch in step):
        assert len(batch) == 1 or counts[batch].sum() <= batch_size
    ones = LengthBuckets(lengths, batch_size, accumulate, 0, np.ones_like(counts))
    assert [[batch.tolist() for batch in step] for step in ones.epoch(number)] == [
        [batch.tolist() for batch in step] for step in plain.epoch(number)
    ]


def long_rows(count: int = 12, step: int = 7) -> Dataset:
    """Rows of one window to many, of 16 tokens."""
    words = A.split()
    made = [" ".join(words[(i + j) % 8] for j in range(3 + step * (i % 8))) for i in range(count)]
    return Dataset.from_dict({"text": made, "label": ["ab"[i % 2] for i in range(count)]})


def prepared(folder: Path, task: Any, rows: Dataset, limit: int = 16) -> tuple[torch.nn.Module, Features]:
    backbone = Backbone.find(ModelSettings(str(folder)))
    set_seed(1)
    model = load_with_head(backbone, *task.head(), "own", dropout=0.0).model
    return model, Features.of(rows, task, backbone.tokenizer(limit))


TASK = Classification(classes=("a", "b"), long_texts="windows", stride=4)
STEPS = TrainSettings(epochs=2, batch_size=4, learning_rate=1e-2, precision="fp32", clip=1.0, warmup=0.0)


def trained(model: torch.nn.Module, features: Features, settings: TrainSettings) -> tuple[list[float], torch.Tensor]:
    """The losses of a short training, and the weights after it."""
    model = copy.deepcopy(model)
    drawn = learned(features)
    plan = LengthBuckets(drawn.lengths, settings.batch_size, settings.accumulate, 0, drawn.counts)
    groups = Full().parameter_groups(model, (), settings)
    groups = [{**group, "params": [each for each in group["params"] if each.requires_grad]} for group in groups]
    loop = Loop(model, groups, plan, drawn.fetch, drawn.loss, settings, accelerator("fp32"))
    losses = [float(step.loss) for step in loop]
    return losses, torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_windows_of_texts_that_fit_train_exactly_as_truncate_does(tiny: Path) -> None:
    rows = long_rows(step=2)
    plain = prepared(tiny, replace(TASK, long_texts="truncate"), rows, 64)
    windows = prepared(tiny, TASK, rows, 64)
    assert len(windows[1]) == len(rows)
    assert isinstance(learned(windows[1]), WholeRows)
    (expected, weights), (found, same) = trained(*plain, STEPS), trained(*windows, STEPS)
    assert found == expected
    assert torch.equal(weights, same)
    np.testing.assert_array_equal(outputs_of(plain[0], plain[1], 4), outputs_of(windows[0], windows[1], 4))


@pytest.mark.parametrize(("pooling", "class_weights"), [("mean", None), ("max", (3.0, 0.2))])
def test_a_step_is_the_same_however_its_rows_are_dealt(tiny_bert: Path, pooling: str, class_weights: Any) -> None:
    task = replace(TASK, pool_windows=pooling, weights=class_weights)
    model, features = prepared(tiny_bert, task, long_rows(step=3))
    assert len(features) > 24
    whole = trained(model, features, replace(STEPS, batch_size=12))
    parts = trained(model, features, replace(STEPS, batch_size=4, accumulate=3))
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-5)
    torch.testing.assert_close(parts[1], whole[1], atol=5e-4, rtol=0)
    assert whole[0][1] != whole[0][0]


def test_the_loss_is_that_of_the_pooled_logits_of_whole_rows(tiny: Path) -> None:
    model, features = prepared(tiny, TASK, long_rows())
    drawn = learned(features)
    batch = drawn.fetch(np.array([7, 0, 5]))
    assert batch.counts == [int((features.rows == row).sum()) for row in (7, 0, 5)]
    outputs = model(**batch.inputs)
    logits = torch.stack([each.mean(0) for each in outputs.logits.split(batch.counts)])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 0, 1]), reduction="sum")
    loss, weight = drawn.loss(outputs, batch)
    torch.testing.assert_close(loss, expected)
    assert weight == 3
    outputs.logits.retain_grad()
    loss.backward()
    assert (outputs.logits.grad.abs().sum(1) > 0).all(), "every window of every row has a part in it"


def test_several_processes_share_rows_and_make_the_same_step(tiny_bert: Path) -> None:
    model, features = prepared(tiny_bert, TASK, long_rows())
    drawn = learned(features)
    [batches] = LengthBuckets(drawn.lengths, 12, 1, 0, drawn.counts).epoch(0)
    assert len(batches) > 2

    @dataclass
    class Engine:
        process_index: int
        num_processes: int

        device = torch.device("cpu")

        def autocast(self) -> Any:
            return nullcontext()

    @torch.no_grad()
    def step(rank: int, count: int) -> tuple[float, float]:
        parts = {"accelerator": Engine(rank, count), "fetch": drawn.fetch, "loss": drawn.loss, "model": model}
        loop = SimpleNamespace(**parts, settings=TrainSettings())
        pairs = [Loop._forward(loop, batch) for batch in batches]  # type: ignore[arg-type]
        return sum(float(loss) for loss, _ in pairs), sum(float(weight) for _, weight in pairs)

    alone = step(0, 1)
    shares = [step(rank, 3) for rank in range(3)]
    np.testing.assert_allclose(np.sum(shares, axis=0), alone, rtol=1e-6)
    assert alone[1] == sum(map(len, batches)) == 12


def test_an_answer_does_not_depend_on_what_shares_its_batch(tiny: Path) -> None:
    model, features = prepared(tiny, replace(TASK, pool_windows="max"), long_rows())
    together = outputs_of(model, features, batch_size=64)
    assert together.shape == (12, 2)
    np.testing.assert_allclose(outputs_of(model, features, batch_size=3), together, atol=1e-5)
    with torch.no_grad():
        each = [model(**features.fetch(np.array([i])).inputs).logits[0].numpy() for i in range(len(features))]
    by_hand = [np.max([each[i] for i in np.flatnonzero(features.rows == row)], axis=0) for row in range(12)]
    np.testing.assert_allclose(together, by_hand, atol=1e-5)


def test_stored_vectors_of_windows_train_the_head_as_the_whole_model_does(tiny: Path, tmp_path: Path) -> None:
    rows = long_rows()

    def made() -> tuple[Any, dict[str, Features]]:
        model, features = prepared(tiny, TASK, rows)
        return Head().apply(model, [n for n, _ in model.named_parameters() if "classifier" in n or "score" in n]), {
            "train": features,
            "validation": features,
        }

    model, features = made()
    expected = trained(model, features["train"], STEPS)[0]
    model, features = made()
    said: list[str] = []
    head, through = Once(nullcontext, tmp_path).through(model, features, Head().frozen_blocks(model), said.append)
    assert f"ran once over {2 * len(features['train'])} windows" in said[0]
    outputs = outputs_of(model, features["validation"], 8)
    np.testing.assert_allclose(outputs_of(head, through["validation"], 8), outputs, atol=1e-5)
    np.testing.assert_allclose(trained(head, through["train"], STEPS)[0], expected, atol=1e-5)
    assert np.std(expected) > 1e-4


# runs


@pytest.fixture(scope="module")
def source() -> dict[str, list[dict[str, str]]]:
    """Reviews whose verdict stands at the end."""
    words, verdicts = A.split(), {"negative": "never again", "positive": "we will come back"}
    rows = [
        {"text": f"{' '.join(words[(i + j) % 8] for j in range(4 + 9 * (i % 6)))}, {verdict} {i}", "label": label}
        for i in range(24)
        for label, verdict in verdicts.items()
    ]
    return {"train": rows[:32], "validation": rows[32:40], "test": rows[40:]}


def made(task: Any, source: Any, tiny: Path, output: Path, **parts: Any):
    return fine_tune(
        model=str(tiny),
        task=task,
        data={"source": source, "max_length": 24},
        train={"max_steps": 2, "batch_size": 8, "dropout": 0.0},
        output=output,
        silent=True,
        **parts,
    )


def test_a_run_in_windows_answers_as_it_learned(source: Any, tiny_bert: Path, tmp_path: Path) -> None:
    run = made(
        {"name": "sentiment", "long_texts": "windows", "pool_windows": "max"}, source, tiny_bert, tmp_path / "run"
    )
    read = run.report["data"]
    assert read["warnings"] == []
    assert {name: each["not_read"] for name, each in read["tokens"].items()} == {"train": 0, "validation": 0, "test": 0}
    assert read["tokens"]["train"]["features"] > 100
    assert any(note.startswith("rows are read in windows of up to 24 tokens: ") for note in read["notes"])
    assert run.report["recipe"]["task"]["long_texts"] == "windows"
    assert run.report["training"]["rows"] == 16, "rows are counted, not windows"

    run = load_run(tmp_path / "run")
    texts_ = [row["text"] for row in source["test"]]
    answers = run.predict(texts_, batch_size=3)
    expected = [answer_by_hand(run, text) for text in texts_]
    np.testing.assert_allclose([answer.probabilities["positive"] for answer in answers], expected, atol=1e-5)
    saved = [line["probability"] for line in map(json.loads, (tmp_path / "run/predictions/test.jsonl").open())]
    np.testing.assert_allclose(saved, [answer.probability for answer in answers], atol=1e-5)
    [alone] = run.predict(texts_[5])
    assert alone.probability == pytest.approx(answers[5].probability, abs=1e-5)
    judged = run.evaluate(source["test"]).scores
    assert judged["accuracy"] == run.scores["test"]["accuracy"]
    again = Recipe.read(tmp_path / "run" / "recipe.yaml").task
    assert again.settings() == run.task.settings()

    merged(run, tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").is_file()


def answer_by_hand(run: Any, text: str) -> float:
    """The probability of positive, from each window of one text by itself."""
    found = texts.encode({"text": [text]}, run.tokenizer, run.task)
    with torch.no_grad():
        logits = [run.model(input_ids=torch.tensor([ids])).logits[0] for ids in found["input_ids"]]
    return float(torch.stack(logits).amax(0).softmax(0)[list(run.task.classes).index("positive")])


def test_what_training_does_not_read_is_counted(source: Any, tiny_bert: Path, tmp_path: Path) -> None:
    task = {"name": "classification", "long_texts": "windows", "max_windows": 2, "stride": 0}
    run = made(task, source, tiny_bert, tmp_path / "few", method="head")
    [warning] = run.report["data"]["warnings"]
    read = run.report["data"]["tokens"]
    assert warning["kind"] == "cut_texts"
    assert f"{read['train']['not_read']:,} of {read['train']['tokens']:,} tokens" in warning["message"]
    assert "--task.max_windows" in warning["message"]
    assert read["train"]["not_read"] > 0 == read["test"]["not_read"]
    assert read["train"]["features"] <= 64 < 4 * read["test"]["features"]
    assert not run.task.learns

    ends = made({**task, "long_texts": "head_and_tail"}, source, tiny_bert, tmp_path / "ends")
    kinds = [warning["kind"] for warning in ends.report["data"]["warnings"]]
    assert kinds == ["cut_texts"] * 3
    assert "--task.long_texts windows" in ends.report["data"]["warnings"][0]["message"]
    # the same tokens, of which each reading leaves out its own
    assert {name: each["tokens"] for name, each in ends.report["data"]["tokens"].items()} == {
        name: each["tokens"] for name, each in read.items()
    }
    assert ends.report["data"]["tokens"]["test"]["features"] == 8


@pytest.mark.parametrize(
    ("task", "cell"), [(MultiLabel(classes=("a", "b")), ["a"]), (Regression(mean=1.0, deviation=2.0), 2.5)]
)
def test_other_tasks_pool_and_learn_by_row_too(task: Any, cell: Any, tiny: Path) -> None:
    rows = long_rows(step=3)
    name = task.answer_columns[0]
    rows = rows.remove_columns("label").add_column(name, [cell] * len(rows))
    task = replace(task, long_texts="windows")
    model, features = prepared(tiny, task, rows)
    drawn = learned(features)
    batch = drawn.fetch(np.array([3, 6]))
    assert all(len(each) == 2 for each in batch.targets.values())
    loss, weight = drawn.loss(model(**batch.inputs), batch)
    assert weight == (2 if name == "target" else 4)
    assert loss > 0
    assert len(task.decode(outputs_of(model, features, 8), features.columns, rows)) == len(rows)


def test_a_book_is_read_a_few_windows_at_a_time(tiny_bert: Path) -> None:
    rows = Dataset.from_dict({"text": ["a good book " * 8000, A]})
    backbone = Backbone.find(ModelSettings(str(tiny_bert)))
    features = Features.of(rows, TASK, backbone.tokenizer())
    assert features.lengths.sum() > 24_000
    held: list[int] = []

    class Reader(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> SimpleNamespace:
            held.append(len(input_ids))
            return SimpleNamespace(logits=input_ids[:, 1:3].float())

    outputs = outputs_of(Reader(), features, batch_size=16)
    assert outputs.shape == (2, 2)
    assert max(held) == 16
    assert sum(held) == len(features)
