"""Batches: every feature once per epoch, an order that follows from seed and epoch alone, and little padding."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data import batches
from nlp_transfer.data.batches import Features, LengthBuckets, by_length
from nlp_transfer.tasks.classification import Classification

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
    monkeypatch.setattr(batches, "REMEMBERED", 0)
    encoded()
    encoded()
    assert calls == [3] * 5
