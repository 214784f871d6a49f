"""Batches: every feature once per epoch, an order that follows from seed and epoch alone, and little padding."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from nlp_transfer import fine_tune, tasks
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data import batches as batching
from nlp_transfer.data import encoding
from nlp_transfer.data.batches import (
    MOST_TOKENS,
    POOL,
    LengthBuckets,
    TokenBuckets,
    by_length,
    padding,
    planned,
    tokens_at_once,
)
from nlp_transfer.data.features import Features
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.training.settings import TrainSettings
from tests.conftest import shared

relaxed = settings(deadline=None, database=None, max_examples=100)

plans = st.builds(
    LengthBuckets,
    lengths=st.lists(st.integers(1, 512), min_size=1, max_size=300).map(np.array),
    batch_size=st.integers(1, 17),
    accumulate=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)


def skewed_lengths(rows=4000):
    """Most texts are short and a few are long, as in reviews."""
    return np.clip(np.random.default_rng(0).lognormal(3.2, 0.9, rows), 3, 512).astype(int)


def padding_share(batches, lengths):
    """Share of all positions that hold no token."""
    positions = sum(len(batch) * lengths[batch].max() for batch in batches)
    return 1 - sum(lengths[batch].sum() for batch in batches) / positions


def as_lists(epoch):
    return [[batch.tolist() for batch in step] for step in epoch]


def rows_of(step):
    return np.concatenate(step).tolist()


@relaxed
@given(plans, st.integers(0, 9))
def test_every_feature_is_seen_once_per_epoch(plan, number):
    epoch = plan.epoch(number)
    assert sorted(i for step in epoch for i in rows_of(step)) == list(range(len(plan.lengths)))
    assert len(epoch) == plan.steps_per_epoch


@relaxed
@given(plans, st.integers(0, 9))
def test_all_steps_are_full_but_one(plan, number):
    rows_per_step = plan.batch_size * plan.accumulate
    sizes = sorted(len(rows_of(step)) for step in plan.epoch(number))
    assert sizes[1:] == [rows_per_step] * (len(sizes) - 1)
    assert sizes[0] == (len(plan.lengths) % rows_per_step or rows_per_step)


@relaxed
@given(plans, st.integers(0, 9), st.integers(1, 2000))
def test_batches_of_too_many_tokens_are_cut_into_even_parts(plan, number, most):
    whole = plan.epoch(number)
    for step, cut in zip(whole, replace(plan, most_tokens=most).epoch(number), strict=True):
        parts = iter(cut)
        for batch in step:
            wanted = min(len(batch), math.ceil(plan.lengths[batch].sum() / most))
            own = [next(parts) for _ in range(wanted)]
            assert np.concatenate(own).tolist() == batch.tolist()
            assert len({len(part) for part in own} | {len(batch) // wanted}) <= 2
        assert not list(parts)


def test_a_cpu_trains_on_so_many_tokens_at_once():
    def most(device, processes):
        return tokens_at_once(SimpleNamespace(device=torch.device(device), num_processes=processes))

    assert most("cpu", 1) == MOST_TOKENS["cpu"]
    assert most("cpu", 3) == 3 * MOST_TOKENS["cpu"]
    assert most("cuda", 1) is None
    plan = LengthBuckets(np.full(64, 512), 32, 1, 0, most_tokens=most("cpu", 1))
    assert [[len(batch) for batch in step] for step in plan.epoch(0)] == [[8] * 4] * 2
    assert len(plan.heaviest(32)) == 8


@pytest.mark.parametrize("method", ["full", "head"])
def test_a_run_in_parts_learns_what_it_learns_from_whole_batches(method, tiny_bert, tmp_path, monkeypatch):
    rows = [{"text": "good " * (i % 7 + 1) + "film", "label": ("no", "yes")[i % 2]} for i in range(48)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    counted = []
    plan = batching.planned

    def seen(*asked):
        found = plan(*asked)
        counted.append([len(step) for step in found.epoch(0)])
        return found

    monkeypatch.setattr("nlp_transfer.experiment.planned", seen)
    runs = []
    for most in (10**6, 24):
        monkeypatch.setitem(MOST_TOKENS, "cpu", most)
        run = fine_tune(
            model=str(tiny_bert),
            task="classification",
            method=method,
            data=str(tmp_path / "rows.jsonl"),
            train={"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "dropout": 0.0, "precision": "fp32"},
            output=tmp_path / str(most),
            silent=True,
        )
        runs.append([json.loads(line)["loss"] for line in (run.folder / "log.jsonl").open() if "loss" in line])
    assert runs[1] == pytest.approx(runs[0], rel=1e-4)
    # of a row the head alone reads one vector, however long its text
    assert set(counted[0]) == {1}
    assert (max(counted[1]) > 1) == (method == "full")


@relaxed
@given(plans, st.integers(0, 9))
def test_all_batches_of_a_step_are_full_but_the_last(plan, number):
    for step in plan.epoch(number):
        assert 1 <= len(step) <= plan.accumulate
        assert all(len(batch) == plan.batch_size for batch in step[:-1])
        assert 1 <= len(step[-1]) <= plan.batch_size


@relaxed
@given(plans, st.integers(0, 9))
def test_the_order_is_a_function_of_seed_and_epoch(plan, number):
    fresh = LengthBuckets(plan.lengths.copy(), plan.batch_size, plan.accumulate, plan.seed)
    plan.epoch(number + 1)
    np.random.default_rng().random()
    assert as_lists(plan.epoch(number)) == as_lists(fresh.epoch(number))


@relaxed
@given(plans, st.integers(0, 9))
def test_accumulation_has_the_rows_of_the_large_batch(plan, number):
    large = LengthBuckets(plan.lengths, plan.batch_size * plan.accumulate, 1, plan.seed)
    assert [rows_of(step) for step in plan.epoch(number)] == [rows_of(step) for step in large.epoch(number)]
    assert all(len(step) == 1 for step in large.epoch(number))


def test_another_epoch_or_seed_is_another_order():
    lengths = skewed_lengths()
    plan = LengthBuckets(lengths, 32, 1, 7)
    orders = [as_lists(plan.epoch(0)), as_lists(plan.epoch(1)), as_lists(LengthBuckets(lengths, 32, 1, 8).epoch(0))]
    # not only the order of the steps: their rows too
    steps = [{tuple(sorted(rows_of(step))) for step in order} for order in orders]
    assert not steps[0] & steps[1]
    assert not steps[0] & steps[2]


@pytest.mark.parametrize(("rows", "most"), [(4000, 0.2), (400, 0.6)])
def test_much_less_padding_than_random_batches(rows, most):
    lengths = skewed_lengths(rows)
    ours = [batch for step in LengthBuckets(lengths, 16, 1, 0).epoch(0) for batch in step]
    order = np.random.default_rng(1).permutation(rows)
    random = [order[i : i + 16] for i in range(0, rows, 16)]
    assert padding_share(random, lengths) > 0.7
    assert padding_share(ours, lengths) < most


def test_lengths_are_mixed_over_the_steps():
    lengths = skewed_lengths()
    means = np.array([lengths[rows_of(step)].mean() for step in LengthBuckets(lengths, 32, 1, 0).epoch(0)])
    turns = np.mean(np.diff(means) > 0)
    assert 0.35 < turns < 0.65  # up as often as down: neither long to short nor short to long
    first, second = np.array_split(means, 2)
    assert 0.6 < first.mean() / second.mean() < 1.6


def test_few_rows_are_mixed_too():
    # with one pool the longest would always meet the longest
    lengths = skewed_lengths(80)
    longest = set(np.argsort(-lengths)[:8].tolist())
    plan = LengthBuckets(lengths, 8, 1, 0)
    assert not any(longest == set(rows_of(step)) for number in range(5) for step in plan.epoch(number))


# batches by tokens


@st.composite
def token_plans(draw):
    """Rows of one feature, or of several windows of at most 64 tokens."""
    totals = draw(st.lists(st.integers(1, 512), min_size=1, max_size=200).map(np.array))
    windows = draw(st.booleans())
    counts = np.ceil(totals / 64).astype(int) if windows else np.ones_like(totals)
    longest = np.ceil(totals / counts).astype(int)
    return TokenBuckets(
        totals, draw(st.integers(1, 2048)), draw(st.integers(1, 4)), draw(st.integers(0, 99)), counts, longest
    )


def positions(plan, batch):
    """Tokens of a batch as the model reads it, padding included."""
    return plan.counts[batch].sum() * plan.longest[batch].max()


@relaxed
@given(token_plans(), st.integers(0, 9))
def test_no_batch_has_more_tokens_than_it_may_and_none_could_be_put_to_its_neighbour(plan, number):
    epoch = plan.epoch(number)
    assert sorted(i for step in epoch for i in rows_of(step)) == list(range(len(plan.lengths)))
    for step in epoch:
        assert 1 <= len(step) <= plan.accumulate
        assert all(positions(plan, batch) <= plan.tokens or len(batch) == 1 for batch in step)
    assert all(len(step) == plan.accumulate for step in epoch[:-1])
    fresh = TokenBuckets(plan.lengths.copy(), plan.tokens, plan.accumulate, plan.seed, plan.counts, plan.longest)
    assert as_lists(fresh.epoch(number)) == as_lists(epoch)
    if (plan.counts == 1).all():
        # but for the last of each pool, no batch could have taken one row more
        fewest = -(-plan.lengths.sum() // plan.tokens)
        pools = -(-len(plan.lengths) // (-(-len(plan.lengths) // fewest) * max(1, min(POOL, fewest // 2))))
        batches = [batch for step in epoch for batch in step]
        roomy = [(len(batch) + 1) * plan.longest[batch].max() <= plan.tokens for batch in batches]
        assert sum(roomy) <= pools


@relaxed
@given(token_plans(), st.floats(0.1, 3))
def test_so_many_epochs_have_so_many_steps(plan, epochs):
    whole = int(epochs)
    steps = sum(len(plan.epoch(number)) for number in range(whole))
    last = len(plan.epoch(whole))
    assert steps <= plan.steps(epochs) <= steps + last
    assert plan.steps(epochs) == steps + int(np.ceil((epochs - whole) * last))
    assert plan.steps(whole + 1) == steps + last


# how random the order is, and how little is padding


def token_plan(lengths, tokens, seed=0):
    return TokenBuckets(lengths, tokens, 1, seed, np.ones_like(lengths), lengths)


def both_plans(lengths):
    """Steps of 32 rows, and of as many tokens as 32 mean rows have."""
    return LengthBuckets(lengths, 32, 1, 0), token_plan(lengths, int(32 * lengths.mean()))


def meeting_again(first, second, rows):
    """Of the pairs of rows that meet in a step of one epoch, the share that meet in a step of another."""
    step_of = np.empty(rows, dtype=int)
    for number, step in enumerate(second):
        step_of[rows_of(step)] = number
    again = pairs = 0
    for step in first:
        counts = np.bincount(step_of[rows_of(step)])
        again += (counts * (counts - 1)).sum()
        pairs += len(rows_of(step)) * (len(rows_of(step)) - 1)
    return again / pairs


@pytest.mark.parametrize("kind", [0, 1])
def test_a_step_says_nothing_about_the_length_of_the_next(kind):
    lengths = skewed_lengths(20_000)
    plan = both_plans(lengths)[kind]
    for number in range(3):
        means = np.log([lengths[rows_of(step)].mean() for step in plan.epoch(number)])
        # of so many independent steps the correlation of neighbours lies within two deviations 19 times of 20
        for lag in (1, 2, 10):
            assert abs(np.corrcoef(means[:-lag], means[lag:])[0, 1]) < 3.5 / np.sqrt(len(means))


@pytest.mark.parametrize("kind", [0, 1])
def test_labels_mix_in_a_step_as_in_a_random_one(kind):
    lengths = skewed_lengths(20_000)
    labels = np.random.default_rng(5).random(len(lengths)) < 0.3
    plan = both_plans(lengths)[kind]
    spread = []
    for step in plan.epoch(0):
        rows = rows_of(step)
        spread.append((labels[rows].sum() - 0.3 * len(rows)) ** 2 / (0.3 * 0.7 * len(rows)))
    # a sum of squares of standardised counts: 1 on average
    assert abs(np.mean(spread) - 1) < 4 * np.sqrt(2 / len(spread))


@pytest.mark.parametrize(("rows", "most"), [(20_000, 0.05), (1_300, 0.45)])
@pytest.mark.parametrize("kind", [0, 1])
def test_few_pairs_of_rows_meet_in_every_epoch(kind, rows, most):
    # had length alone decided, all of them would
    plan = both_plans(skewed_lengths(rows))[kind]
    assert meeting_again(plan.epoch(0), plan.epoch(1), rows) < most


@pytest.mark.parametrize("kind", [0, 1])
def test_the_expected_gradient_is_that_of_all_rows(kind):
    """Of a model whose gradient depends on the length alone, which is what batches of similar lengths could bias."""
    lengths = skewed_lengths(19_968)
    plan = both_plans(lengths)[kind]
    gradients = 1 / lengths
    epoch = plan.epoch(0)
    means = np.array([gradients[rows_of(step)].mean() for step in epoch])
    shares = np.array([len(rows_of(step)) for step in epoch]) * len(epoch) / len(lengths) if plan.by_rows else 1.0
    assert np.mean(shares * means) == pytest.approx(gradients.mean())
    if plan.by_rows:  # without counting by rows long texts would weigh several times as much
        assert np.mean(means) < 0.7 * gradients.mean()
    # and no moment of an epoch, nor the first step of it, prefers a length
    first = np.array([gradients[rows_of(plan.epoch(number)[0])].mean() for number in range(60)])
    assert abs(first.mean() - means.mean()) < 4 * means.std() / np.sqrt(len(first))


@pytest.mark.parametrize("rows", [100, 1000])
def test_rows_that_are_left_over_are_as_likely_long_as_short(rows):
    lengths, epochs = skewed_lengths(rows), 100
    plan, weights = LengthBuckets(lengths, 32, 1, 0), np.zeros(rows)
    for number in range(epochs):
        for step in plan.epoch(number):
            weights[rows_of(step)] += rows / len(rows_of(step)) / plan.steps_per_epoch / epochs
    # a smaller step of the shortest rows of the last pool would give the shortest tenth 2.5 and 1.2 times the mean weight
    shortest = np.argsort(lengths, kind="stable")[: rows // 10]
    assert weights.mean() == pytest.approx(1)
    assert weights[shortest].mean() == pytest.approx(1, abs=0.1)


REAL = {
    "sst2": ("sentiment", 128, 6_000, 1024),
    "amazon_books": ("sentiment", 256, None, 4096),
    "squad_wiki": ("qa", 384, 1_500, 4096),
}
"""Task, limit of tokens, rows, and tokens of a batch."""


@pytest.mark.parametrize("name", ["sst2", "amazon_books", pytest.param("squad_wiki", marks=pytest.mark.slow)])
def test_less_than_a_twentieth_of_what_real_rows_are_read_as_is_padding(name, tiny_bert):
    kind, limit, most, tokens = REAL[name]
    lines = shared(f"data/{name}/train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = Dataset.from_list([json.loads(line) for line in lines[:most]])
    task = tasks.find(kind)()
    features = Features.of(rows, task.fit(rows), Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(limit))
    for asked in (TrainSettings(batch_size=32), TrainSettings(batch_tokens=tokens)):
        plan = planned(features, asked, seed=0)
        share = padding(plan, features)
        batches = [batch for step in plan.epoch(0) for batch in step]
        assert share == pytest.approx(padding_share(batches, features.lengths))
        assert 0 < share < 0.05


@relaxed
@given(st.lists(st.integers(1, 500), min_size=1, max_size=100), st.integers(1, 40))
def test_by_length_gives_every_feature_once_longest_first(lengths, batch_size):
    lengths = np.array(lengths)
    batches = by_length(lengths, batch_size)
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    assert 1 <= len(batches[-1]) <= batch_size


# features

WORDS = ["[PAD]", "[UNK]", "good", "bad", "very"]


@pytest.fixture(scope="module")
def tokenizer():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=4)


@pytest.fixture(scope="module")
def task():
    return Classification(classes=("no", "yes"))


def test_features_are_padded_to_the_longest_of_their_batch(task, tokenizer):
    rows = Dataset.from_dict({"text": ["good", "very bad", "bad"], "label": ["yes", "no", "no"], "place": [2, 3, 4]})
    features = Features.of(rows, task, tokenizer)
    assert len(features) == 3
    assert features.lengths.tolist() == [1, 2, 1]
    batch = features.fetch(np.array([2, 1]))
    assert batch.inputs["input_ids"].tolist() == [[3, 0], [4, 3]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch.targets["label"].tolist() == [0, 0]
    assert features.fetch(np.array([0])).inputs["input_ids"].tolist() == [[2]]


def test_texts_are_cut_at_the_tokenizer_s_length_and_never_empty(task, tokenizer):
    features = Features.of(Dataset.from_dict({"text": ["good " * 9, " "]}), task, tokenizer)
    assert features.lengths.tolist() == [4, 1]


def test_rows_without_labels_make_batches_without_targets(task, tokenizer):
    features = Features.of(Dataset.from_dict({"text": ["good", "bad"]}), task, tokenizer)
    assert not features.fetch(np.array([0, 1])).targets


def test_equal_rows_are_encoded_once(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Counting(Classification):
        """Classification that tells when it encodes."""

        def encode(self, rows, tokenizer):
            calls.append(len(rows["text"]))
            return super().encode(rows, tokenizer)

    def encoded(text: str = "a text", length: int = 16, classes: tuple[str, ...] = ("a", "b")) -> list[list[int]]:
        tokenizer = Backbone.find(ModelSettings(str(tiny_bert))).tokenizer(length)
        rows = Dataset.from_dict({"text": [text] * 3, "label": ["a"] * 3})
        return Features.of(rows, Counting(classes=classes), tokenizer).columns["input_ids"][:]

    assert encoded() == encoded()
    assert calls == [3]
    encoded("another")
    encoded(length=8)
    encoded(classes=("b", "a"))
    assert calls == [3] * 4
    encoded()
    assert calls == [3] * 4
    monkeypatch.setattr(encoding, "REMEMBERED", 0)
    encoded()
    encoded()
    assert calls == [3] * 5
