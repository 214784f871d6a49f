"""Texts: one or two per row, their usual names in files, and the token ids by which a model reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlp_transfer.training.batch import pad

TEXT, PAIR = "text", "text_pair"

TEXT_NAMES = ("text", "sentence", "review", "content", "message", "comment", "tweet", "body", "document", "question")

PAIR_NAMES = (
    (TEXT, PAIR),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("query", "document"),
)
"""What two texts are called that are read together."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    TEXT: TEXT_NAMES,
    PAIR: tuple(dict.fromkeys(second for _, second in PAIR_NAMES)),
}
"""The columns of a task that reads one text or two, with their usual names."""

# a column called text is read alone unless text_pair stands beside it, whatever else the file has
TOGETHER: tuple[Mapping[str, str], ...] = (
    {TEXT: TEXT, PAIR: PAIR},
    {TEXT: TEXT},
    *({TEXT: first, PAIR: second} for first, second in PAIR_NAMES[1:]),
)
"""Names that are recognised together; the first of these that a file has whole is taken."""

BETWEEN = "\n"
"""What stands between two texts for a model whose tokenizer has no separator of its own."""


def encode(rows: Mapping[str, Sequence[Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
    """Token ids of each row's text, or of its two texts, cut at `tokenizer.model_max_length`.

    Two texts are put together as the tokenizer does it where it has a separator (BERT: `[CLS] text [SEP] text_pair [SEP]`),
    with `token_type_ids` where the model reads them. Other tokenizers (GPT-2, Llama) get the first text, a line feed and the
    second one, inside the special tokens that they put around one text. What is too long loses tokens at the end of
    whichever text is longer at that moment.
    """
    texts, options = list(rows[TEXT][:]), {"return_attention_mask": False, "return_token_type_ids": False}
    if PAIR not in rows:
        encoded: Any = tokenizer(texts, truncation=True, **options)
    elif not separates(tokenizer):
        return {"input_ids": _joined(texts, list(rows[PAIR][:]), tokenizer)}
    else:
        options["return_token_type_ids"] = "token_type_ids" in tokenizer.model_input_names
        encoded = tokenizer(texts, list(rows[PAIR][:]), truncation="longest_first", **options)
    # a text of characters that a tokenizer drops has no tokens, and a decoder must read at least one
    features = {"input_ids": [ids or [tokenizer.pad_token_id] for ids in encoded["input_ids"]]}
    return {**features, "token_type_ids": encoded["token_type_ids"]} if options["return_token_type_ids"] else features


def separates(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has a token that stands between two texts."""
    return tokenizer.sep_token is not None


def around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before a text, and those after it."""
    one: Any = tokenizer("a", return_special_tokens_mask=True)
    text = [i for i, special in enumerate(one["special_tokens_mask"]) if not special]
    return one["input_ids"][: text[0]], one["input_ids"][text[-1] + 1 :]


def _joined(texts: list[str], pairs: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of both texts with `BETWEEN` between them, and around them what the tokenizer puts around one text."""
    before, after = around(tokenizer)
    encoded: Any = tokenizer(
        texts,
        [f"{BETWEEN}{pair}" for pair in pairs],
        truncation="longest_first",
        max_length=tokenizer.model_max_length - len(before) - len(after),
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return [[*before, *ids, *after] for ids in encoded["input_ids"]]


def collate(features: Mapping[str, Sequence[Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """What a model reads: token ids, mask and, where there are any, token types (rows, tokens), padded on the right."""
    ids, mask = pad(features["input_ids"], tokenizer.pad_token_id)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in features:
        inputs["token_type_ids"], _ = pad(features["token_type_ids"], tokenizer.pad_token_type_id)
    return inputs
