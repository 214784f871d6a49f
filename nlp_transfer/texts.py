"""Texts: one or two per row, their usual names in files, and the token ids by which a model reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlp_transfer.long_texts import LongTexts, Pieces
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

CHARACTERS = 2**20
"""Characters after which texts are tokenised apart: what a tokenizer says of a long text takes a hundred times its bytes."""


def encode(
    rows: Mapping[str, Sequence[Any]], tokenizer: PreTrainedTokenizerBase, reading: LongTexts | None = None
) -> dict[str, list[Any]]:
    """Token ids of each row's text, or of its two texts, at most `tokenizer.model_max_length` at once.

    Two texts are put together as the tokenizer does it where it has a separator (BERT: `[CLS] text [SEP] text_pair [SEP]`),
    with `token_type_ids` where the model reads them. Other tokenizers (GPT-2, Llama) get the first text, a line feed and the
    second one, inside the special tokens that they put around one text. What is too long loses tokens at the end of
    whichever text is longer at that moment, unless `reading` says that its end or all of it is read.

    Returns:
        Features in columns: `input_ids` and maybe `token_type_ids`. With another reading than `truncate` also `tokens`, how
        many the feature's row has, and `lost`, how many of these are in none of its features; both stand in a row's first
        feature, and are 0 in the others. For windows also `row`, whose each is.

    Raises:
        RequestError: where windows have no room.
    """
    if reading is not None and reading.long_texts != "truncate":
        return _pieced(rows, tokenizer, reading)
    texts, options = list(rows[TEXT][:]), {"return_attention_mask": False, "return_token_type_ids": False}
    if PAIR not in rows:
        encoded: Any = tokenizer(texts, truncation=True, **options)
    elif not separates(tokenizer):
        return {"input_ids": _joined(*shortened(texts, list(rows[PAIR][:]), tokenizer), tokenizer)}
    else:
        options["return_token_type_ids"] = "token_type_ids" in tokenizer.model_input_names
        encoded = tokenizer(*shortened(texts, list(rows[PAIR][:]), tokenizer), truncation="longest_first", **options)
    # a text of characters that a tokenizer drops has no tokens, and a decoder must read at least one
    features = {"input_ids": [ids or [tokenizer.pad_token_id] for ids in encoded["input_ids"]]}
    return {**features, "token_type_ids": encoded["token_type_ids"]} if options["return_token_type_ids"] else features


def separates(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has a token that stands between two texts."""
    return tokenizer.sep_token is not None


BYTES = 8
"""More tokens than one character has."""


def shortened(
    texts: Sequence[str], pairs: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[str], list[str]]:
    """Pairs of texts without what stands far beyond the limit, so that the tokenizer cuts them as it would have cut the whole.

    Of what it cuts off two texts, a fast tokenizer pairs every piece of one with every piece of the other: 100 pairs of 2,000
    tokens took 6 GB.
    """
    limit = 2 * tokenizer.model_max_length
    sides = [list(texts), list(pairs)]
    long = [i for i, each in enumerate(zip(*sides, strict=True)) if max(map(len, each)) > limit]
    if not (tokenizer.is_fast and long):
        return sides[0], sides[1]
    ends = [_ends([side[i] for i in long], tokenizer) for side in sides]
    for i, first, second in zip(long, *ends, strict=True):
        # an odd token goes to the longer text, or the second; a character may be several tokens, which stay together
        more = (len(first) > len(second), len(first) <= len(second))
        for side, found, longer in zip(sides, (first, second), more, strict=True):
            kept = limit + BYTES * longer
            if len(found) > kept:
                side[i] = side[i][: found[kept - 1]]
    return sides[0], sides[1]


def _ends(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    """The characters of whole texts at which their tokens end."""
    options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    for group in groups(texts):
        found = tokenizer(group, add_special_tokens=False, truncation=False, return_offsets_mapping=True, **options)
        yield from ([end for _, end in offsets] for offsets in found["offset_mapping"])


def _joined(texts: list[str], pairs: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of both texts with `BETWEEN` between them, and around them what the tokenizer puts around one text."""
    before, _, after = Frame.of(tokenizer, paired=False).ids
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


class Frame(NamedTuple):
    """The special tokens that a tokenizer puts around one text or two: ids before, between and after, and all token types."""

    ids: tuple[list[int], list[int], list[int]]
    types: tuple[list[int], list[int], list[int]]
    inside: tuple[int, int]
    """The token type of each text."""
    leads: bool = False
    """Whether the second text's own tokens begin with those between."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, paired: bool) -> Frame:
        """What stands around a letter, or two."""
        if paired and not separates(tokenizer):
            alone = cls.of(tokenizer, paired=False)
            between = _ids(BETWEEN, tokenizer)
            return alone._replace(ids=(alone.ids[0], between, alone.ids[2]), leads=True)
        around: Any = tokenizer(
            *(["a"] * (1 + paired)), return_special_tokens_mask=True, return_token_type_ids=True, truncation=False
        )
        ids, types, special = (around[name] for name in ("input_ids", "token_type_ids", "special_tokens_mask"))
        letters = [i for i, each in enumerate(special) if not each]
        first, last = letters[0], letters[-1]
        gap = [i for i in range(first, last) if special[i]] if paired else []
        parts = (slice(0, first), slice(gap[0], gap[-1] + 1) if gap else slice(0, 0), slice(last + 1, None))
        before, between, after = ((ids[part], types[part]) for part in parts)
        return cls((before[0], between[0], after[0]), (before[1], between[1], after[1]), (types[first], types[last]))

    @property
    def size(self) -> int:
        """How many special tokens there are around whole texts."""
        before, between, after = map(len, self.ids)
        return before + after + (0 if self.leads else between)

    def room(self, lengths: Sequence[int], limit: int, reading: LongTexts) -> int:
        """How many tokens of the texts themselves are read at once."""
        room = limit - self.size
        # a window from the middle of the second text needs what stands between; its beginning has it
        moves = self.leads and reading.long_texts == "windows" and sum(lengths) > room
        return max(0, room - (len(self.ids[1]) if moves else 0))

    def around(self, texts: Sequence[Sequence[int]], pieces: Sequence[Pieces]) -> tuple[list[int], list[int]]:
        """Token ids of a window of one text or two, and their types."""
        found = [list(chain(*(text[piece] for piece in each))) for text, each in zip(texts, pieces, strict=True)]
        ids, types = [*self.ids[0], *found[0]], [*self.types[0], *[self.inside[0]] * len(found[0])]
        if len(found) > 1:
            between = 0 if self.leads and pieces[1][0].start == 0 else None
            ids += [*self.ids[1][:between], *found[1]]
            types += [*self.types[1][:between], *[self.inside[1]] * len(found[1])]
        return [*ids, *self.ids[2]], [*types, *self.types[2]]


def _pieced(
    rows: Mapping[str, Sequence[Any]], tokenizer: PreTrainedTokenizerBase, reading: LongTexts
) -> dict[str, list[Any]]:
    """As `encode`, for texts whose end is read too: they are tokenised whole, and put together from pieces."""
    paired = PAIR in rows
    frame, limit = Frame.of(tokenizer, paired), tokenizer.model_max_length
    typed = paired and not frame.leads and "token_type_ids" in tokenizer.model_input_names
    columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "row", "tokens", "lost", "token_type_ids")}
    texts = [_tokens(rows[TEXT], tokenizer)]
    if paired:
        texts.append(_tokens([f"{BETWEEN}{pair}" for pair in rows[PAIR]] if frame.leads else rows[PAIR], tokenizer))
    for row, whole in enumerate(zip(*texts, strict=True)):
        lengths = [len(text) for text in whole]
        parts = reading.parts(lengths, frame.room(lengths, limit, reading))
        for number, pieces in enumerate(parts.windows):
            ids, types = frame.around(whole, pieces)
            columns["input_ids"].append(ids or [tokenizer.pad_token_id])
            columns["token_type_ids"].append(types)
            columns["row"].append(row)
            columns["tokens"].append(0 if number else sum(lengths) + frame.size)
            columns["lost"].append(0 if number else parts.lost)
    kept = {"row": reading.windows_pooled is not None, "token_type_ids": typed}
    return {name: cells for name, cells in columns.items() if kept.get(name, True)}


def of_features(cells: Sequence[Any], features: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Cells of rows as cells of their features."""
    return [cells[row] for row in features["row"]] if "row" in features else list(cells)


def _tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    """The token ids of whole texts, without special tokens."""
    for group in groups(texts):
        yield from _ids(group, tokenizer)


def groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in their order, few at a time where they are long."""
    group: list[str] = []
    characters = 0
    for text in texts:
        if group and characters + len(text) > CHARACTERS:
            yield group
            group, characters = [], 0
        group.append(text)
        characters += len(text)
    if group:
        yield group


def _ids(texts: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    return tokenizer(texts, add_special_tokens=False, truncation=False, **options)["input_ids"]


def collate(features: Mapping[str, Sequence[Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """What a model reads: token ids, mask and, where there are any, token types (rows, tokens), padded on the right."""
    ids, mask = pad(features["input_ids"], tokenizer.pad_token_id)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in features:
        inputs["token_type_ids"], _ = pad(features["token_type_ids"], tokenizer.pad_token_type_id)
    return inputs
