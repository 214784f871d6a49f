"""Inspection: rows that can be used are looked at for what makes their scores doubtful."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.data.features import Features
from nlp_transfer.data.findings import Finding, Place, plural, share, some
from nlp_transfer.data.repeats import Looked, Repeats, Some
from nlp_transfer.long_texts import LongTexts
from nlp_transfer.rows import windows
from nlp_transfer.scratch import numbers
from nlp_transfer.tasks import Task, column

SHORT = 3
"""Characters below which a text is very short."""

WITHOUT_LIMIT = 10**9
"""Tokens that no text has: a tokenizer with this limit cuts nothing."""

FLAGS = {
    "cut": ("cut_questions", "with a question of which only the beginning is read."),
    "unheld": (
        "unheld_answers",
        "with an answer that cannot be given: no window holds all of it, or it has more tokens than task.max_answer_length. "
        "A higher --data.max_length, --task.stride or --task.max_answer_length helps.",
    ),
}
"""Columns of features that mark rows: the kind of finding, and its words."""

WHOLE = 2**7
"""Rows that are encoded whole at once: what a tokenizer says of a long text takes a hundred times its bytes."""

Row = tuple[str, int]
"""A split's name and the index of one of its rows."""


def inspected(task: Task, splits: Mapping[str, Split]) -> list[Finding]:
    """What a reader must know of the rows of all splits, as the fitted task reads them.

    Rows are compared by what the model reads, all columns that are no answer: equal when they differ at most in case and
    white space.
    """
    short = {name: Some() for name in splits}
    read = {name: _looked_at(split, task, short[name]) for name, split in splits.items()}
    return [
        *_repeats(splits, Repeats.among(read)),
        *_short(splits, short),
        *(
            Finding(kind, message, len(rows), _places(splits, (("train", int(row)) for row in rows)))
            for kind, message, rows in task.remarks(splits["train"].rows)
        ),
    ]


class Tokens(NamedTuple):
    """What is read of a split: its features, its tokens, special ones too, and how many of each row are not read (rows,)."""

    features: int
    total: int
    lost: np.ndarray

    def said(self) -> dict[str, int]:
        """Three numbers for the report."""
        return {"features": self.features, "tokens": self.total, "not_read": int(self.lost.sum())}


def tokens_read(splits: Mapping[str, Split], features: Mapping[str, Features]) -> dict[str, Tokens]:
    """What is read of every split and what is not, as its features say it.

    Where they do not, rows as long as the limit are encoded again without one; and a split of which rows make several
    features is left out, since its task reads all but what it says itself.
    """
    found = {}
    for name, split in splits.items():
        encoded, lost = features[name], np.zeros(len(split), dtype=np.int64)
        if "lost" in encoded.columns.column_names:
            np.add.at(lost, encoded.rows, np.array(column(encoded.columns, "lost")))
            found[name] = Tokens(len(encoded), sum(column(encoded.columns, "tokens")), lost)
            continue
        if len(encoded) != len(split):
            continue
        full = np.flatnonzero(encoded.lengths >= encoded.tokenizer.model_max_length)
        if len(full):
            tokenizer = _without_limit(encoded.tokenizer)
            for start, window in windows(split.rows.select(full), split.rows.column_names, WHOLE):
                whole = encoded.task.encode(window.to_pydict(), tokenizer)["input_ids"]
                lost[full[start : start + len(whole)]] = [len(ids) for ids in whole]
            lost[full] -= encoded.lengths[full]
        found[name] = Tokens(len(encoded), int(encoded.lengths.sum() + lost.sum()), lost)
    return found


def windows_read(features: Mapping[str, Features]) -> list[str]:
    """How many windows there are, where rows are read in windows whose outputs are pooled."""
    if any(each.task.windows_pooled is None for each in features.values()):
        return []
    counts = [f"{len(each):,} of {name}" for name, each in features.items()]
    limit = features["train"].tokenizer.model_max_length
    return [f"rows are read in windows of up to {limit} tokens: {', '.join(counts)}."]


@lru_cache(maxsize=1)  # a copy takes as long as hundreds of texts, and a stream asks window by window
def _without_limit(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    copied = copy.deepcopy(tokenizer)
    copied.model_max_length = WITHOUT_LIMIT
    return copied


def cut_texts(
    splits: Mapping[str, Split], features: Mapping[str, Features], tokens: Mapping[str, Tokens] | None = None
) -> list[Finding]:
    """Rows that the model does not read whole, and how many tokens it never sees, by split.

    `tokens` are as `tokens_read` gives them, where it was asked before.
    Of questions nothing is lost but what their columns among `FLAGS` say.
    """
    findings, tokens = [], tokens_read(splits, features) if tokens is None else tokens
    for name, split in splits.items():
        encoded = features[name]
        told = [flag for flag in FLAGS if flag in encoded.columns.column_names]
        for flag in told:
            kind, words = FLAGS[flag]
            rows = np.unique(encoded.rows[np.array(column(encoded.columns, flag), dtype=bool)])
            if rows.size:
                places = _places(splits, ((name, int(row)) for row in rows))
                findings.append(
                    Finding(kind, f"{name}: {plural(rows.size)} of {len(split):,} {words}", rows.size, places)
                )
        if told:
            continue
        if name not in tokens or not (cut := np.flatnonzero(tokens[name].lost > 0)).size:
            continue
        _, total, lost = tokens[name]
        advice = "A higher --data.max_length reads more, where the backbone can."
        if isinstance(encoded.task, LongTexts):
            advice = f"{advice[:-1]}; --task.long_texts windows reads all."
        if encoded.task.windows_pooled is not None:
            advice = "--task.max_windows says how many these are; answers are given by all."
        message = (
            f"{name}: {plural(len(cut))} of {len(split):,} {longer(encoded)}; {int(lost.sum()):,} of {total:,} tokens "
            f"({share(int(lost.sum()), total)}) are not read. {advice}"
        )
        findings.append(Finding("cut_texts", message, len(cut), _places(splits, ((name, int(row)) for row in cut))))
    return findings


def longer(features: Features) -> str:
    """What rows are that are not read whole."""
    limit = features.tokenizer.model_max_length
    if features.task.windows_pooled is not None:
        return "longer than the windows that training reads of a row"
    words = "row" in features.columns.column_names
    return f"with a word longer than a window of {limit} tokens" if words else f"longer than {limit} tokens"


def folded(cell: Any) -> str:
    """A cell without what a reader overlooks: case, and the kind and amount of white space."""
    return " ".join(str(cell).casefold().split())


def _looked_at(split: Split, task: Task, short: Some) -> Looked:
    """All rows of a split, window by window; those with a very short text are added to the short ones."""
    asked, answers = task.asked_columns, task.answer_columns
    texts, whole = (numbers(len(split), np.uint64) for _ in range(2))
    for start, window in windows(split.rows, [*asked, *answers]):
        cells = {name: window.column(name).to_pylist() for name in (*asked, *answers)}
        brief = []
        for row, (read, given) in enumerate(zip(_rows(cells, asked), _rows(cells, answers), strict=True), start):
            digest = hashlib.blake2b("\x1f".join(map(folded, read)).encode("utf-8"), digest_size=8)
            texts[row] = int.from_bytes(digest.digest())
            digest.update(f"\x1e{given!r}".encode("utf-8", "backslashreplace"))
            whole[row] = int.from_bytes(digest.digest())
            if any(isinstance(cell, str) and len(cell.strip()) < SHORT for cell in read):
                brief.append(row)
        short.add(np.array(brief, dtype=int))
    return Looked(texts, whole)


def _rows(cells: Mapping[str, list[Any]], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(cells[name] for name in names), strict=True)


def _places(splits: Mapping[str, Split], rows: Iterable[Row]) -> tuple[Place, ...]:
    return some(_place(splits, row) for row in rows)


def _place(splits: Mapping[str, Split], row: Row) -> Place:
    split = splits[row[0]]
    return Place(split.origin, f"{split.unit} {split.rows[row[1]][PLACE]}")


def _repeats(splits: Mapping[str, Split], found: Repeats) -> Iterator[Finding]:
    """What is told of rows that read as others do."""
    for name, split in splits.items():
        if count := found.copies[name].count:
            message = f"{name}: {plural(count)} of {len(split):,} repeat an earlier one."
            yield Finding("duplicate_rows", message, count, _places(splits, _of(name, found.copies[name])))
    for name, seen in found.seen.items():
        if seen.count:
            message = (
                f"{name}: {plural(seen.count)} of {len(splits[name]):,} ({share(seen.count, len(splits[name]))}) also in "
                "training, so its scores flatter. Take them out of one of the two."
            )
            pairs = some(
                _place(splits, (name, row))._replace(
                    where=f"{_place(splits, (name, row)).where} (as {_place(splits, ('train', twin))})"
                )
                for row, twin in seen.first
            )
            yield Finding("seen_in_training", message, seen.count, pairs)
    if found.texts:
        count = sum(each.count for each in found.unlike.values())
        message = f"{plural(count)} with {plural(found.texts, 'text')} that the data answers in different ways."
        places = _places(splits, (row for name, each in found.unlike.items() for row in _of(name, each)))
        yield Finding("conflicting_answers", message, count, places)


def _short(splits: Mapping[str, Split], short: Mapping[str, Some]) -> Iterator[Finding]:
    """Rows with a text of hardly a character."""
    for name, split in splits.items():
        if count := short[name].count:
            message = f"{name}: {plural(count)} of {len(split):,} with a text of fewer than {SHORT} characters."
            yield Finding("short_texts", message, count, _places(splits, _of(name, short[name])))


def _of(name: str, rows: Some) -> Iterator[Row]:
    return ((name, row[0]) for row in rows.first)
