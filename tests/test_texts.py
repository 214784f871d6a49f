"""Texts: one or two in a row, as each kind of tokenizer puts them together, and cut fairly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AutoTokenizer

from nlp_transfer import texts
from nlp_transfer.backbone import Backbone, ModelSettings

A, B = "the soup was cold and the waiter rude", "nobody smiled"


def tokenizer_of(folder: Path, length: int | None = None):
    return Backbone.find(ModelSettings(str(folder))).tokenizer(length)


def test_an_encoder_gets_both_texts_as_its_tokenizer_puts_them_together(tiny_bert: Path) -> None:
    tokenizer = tokenizer_of(tiny_bert)
    found = texts.encode({"text": [A, B], "text_pair": [B, A]}, tokenizer)
    expected = tokenizer([A, B], [B, A], return_token_type_ids=True)
    assert found == {"input_ids": expected["input_ids"], "token_type_ids": expected["token_type_ids"]}
    assert {0, 1} == set(found["token_type_ids"][0])
    batch = texts.collate(found, tokenizer)
    assert batch["token_type_ids"].shape == batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["token_type_ids"][0].tolist()[: len(found["token_type_ids"][0])] == found["token_type_ids"][0]


def test_one_text_is_encoded_as_ever(tiny: Path) -> None:
    tokenizer = tokenizer_of(tiny)
    found = texts.encode({"text": [A, "", B]}, tokenizer)
    assert list(found) == ["input_ids"]
    assert found["input_ids"][0] == tokenizer(A)["input_ids"]
    assert all(found["input_ids"])
    assert list(texts.collate(found, tokenizer)) == ["input_ids", "attention_mask"]


def test_a_decoder_gets_the_stated_template(tiny_gpt2: Path) -> None:
    tokenizer = tokenizer_of(tiny_gpt2)
    found = texts.encode({"text": [A], "text_pair": [B]}, tokenizer)
    assert list(found) == ["input_ids"]
    assert tokenizer.decode(found["input_ids"][0]) == f"{A}\n{B}"
    assert found["input_ids"][0] == [*tokenizer(A)["input_ids"], *tokenizer(f"\n{B}")["input_ids"]]


def test_a_decoders_own_special_tokens_stand_around_both(tiny_gpt2: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tiny_gpt2, 12)
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A <|endoftext|>", pair=None, special_tokens=[("<|endoftext|>", end)]
    )
    [ids] = texts.encode({"text": [A], "text_pair": [A]}, tokenizer)["input_ids"]
    assert len(ids) == 12
    assert [i for i, token in enumerate(ids) if token == end] == [0, 11]


def test_the_longer_text_loses_its_end_first(tiny: Path) -> None:
    tokenizer = tokenizer_of(tiny)

    @settings(deadline=None, database=None, max_examples=60)
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(6, 40))
    def check(first: int, second: int, limit: int) -> None:
        tokenizer.model_max_length = limit
        # words that make one token each in both vocabularies
        rows = {"text": ["a" + " a" * (first - 1)], "text_pair": ["b" + " b" * (second - 1)]}
        words = tokenizer.convert_ids_to_tokens(texts.encode(rows, tokenizer)["input_ids"][0])
        ours, theirs = (sum(word in (letter, f"Ġ{letter}") for word in words) for letter in "ab")
        glue = len(words) - ours - theirs
        assert glue == (3 if tokenizer.sep_token else 1)
        assert ours + theirs == min(first + second, limit - glue)
        if first + second > limit - glue:
            # both have about the same left, unless one was shorter than that from the start
            assert abs(ours - theirs) <= 2 or min(ours, theirs) in (first, second)

    check()


def test_token_types_are_given_where_the_model_reads_them(tiny_bert: Path, tiny_gpt2: Path) -> None:
    assert "token_type_ids" in tokenizer_of(tiny_bert).model_input_names
    assert "token_type_ids" not in tokenizer_of(tiny_gpt2).model_input_names


def test_what_a_model_reads_is_saved_with_its_tokenizer(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer_of(tiny_bert).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    pairs = {"text": [A], "text_pair": [B]}
    assert texts.encode(pairs, again) == texts.encode(pairs, tokenizer_of(tiny_bert))


def test_known_names_are_pairs_of_different_columns() -> None:
    assert len(set(texts.PAIR_NAMES)) == len(texts.PAIR_NAMES)
    assert all(first != second for first, second in texts.PAIR_NAMES)
    assert np.all([second in texts.COLUMNS["text_pair"] for _, second in texts.PAIR_NAMES])


@pytest.mark.parametrize("limit", [4, 5])
def test_hardly_any_room_still_makes_a_row(tiny: Path, limit: int) -> None:
    [ids] = texts.encode({"text": [A], "text_pair": [A]}, tokenizer_of(tiny, limit))["input_ids"]
    assert len(ids) == limit
