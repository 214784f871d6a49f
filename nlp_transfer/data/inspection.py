"""Inspection: rows that can be used are looked at for what makes their scores doubtful."""

from __future__ import annotations

import copy
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nlp_transfer.data.batches import Features
from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.data.findings import Finding, Place, plural, share, some
from nlp_transfer.tasks import Task, column

SHORT = 3
"""Characters below which a text is very short."""

WITHOUT_LIMIT = 10**9
"""Tokens that no text has: a tokenizer with this limit cuts nothing."""

Row = tuple[str, int]
"""A split's name and the index of one of its rows."""


def inspected(task: Task, splits: Mapping[str, Split]) -> list[Finding]:
    """What a reader must know of the rows of all splits, as the fitted task reads them.

    Rows are compared by what the model reads, all columns that are no answer: equal when they differ at most in case and
    white space.
    """
    asked = task.asked_columns
    keys = {name: _keys(split, asked) for name, split in splits.items()}
    return [
        *_copies(task, splits, keys),
        *_seen_in_training(splits, keys),
        *_conflicts(task, splits, keys),
        *_short(asked, splits),
        *(
            Finding(kind, message, len(rows), _places(splits, (("train", row) for row in rows)))
            for kind, message, rows in task.remarks(splits["train"].rows)
        ),
    ]


def cut_texts(splits: Mapping[str, Split], features: Mapping[str, Features]) -> list[Finding]:
    """Rows of which the model reads only the beginning, and how many tokens it never sees, by split.

    Rows as long as the limit are encoded again without one. A task that answers one row by several features reads all but
    what it says itself in a column `cut`: of questions the end.
    """
    findings = []
    for name, split in splits.items():
        encoded = features[name]
        if "cut" in encoded.columns.column_names:
            rows = np.unique(encoded.rows[np.array(column(encoded.columns, "cut"), dtype=bool)])
            if rows.size:
                message = f"{name}: {plural(rows.size)} of {len(split):,} with a question of which only the beginning is read."
                places = _places(splits, ((name, int(row)) for row in rows))
                findings.append(Finding("cut_questions", message, rows.size, places))
            continue
        limit = encoded.tokenizer.model_max_length
        full = np.flatnonzero(encoded.lengths >= limit)
        if len(encoded) != len(split) or not len(full):
            continue
        tokenizer = copy.deepcopy(encoded.tokenizer)
        tokenizer.model_max_length = WITHOUT_LIMIT
        whole = encoded.task.encode(split.rows.select(full)[:], tokenizer)["input_ids"]
        lost = np.array([len(ids) for ids in whole]) - encoded.lengths[full]
        if not (cut := full[lost > 0]).size:
            continue
        tokens = int(encoded.lengths.sum() + lost.sum())
        message = (
            f"{name}: {plural(len(cut))} of {len(split):,} longer than {limit} tokens; {int(lost.sum()):,} of {tokens:,} "
            f"tokens ({share(int(lost.sum()), tokens)}) are not read. A higher --data.max_length reads more, where the "
            "backbone can."
        )
        findings.append(Finding("cut_texts", message, len(cut), _places(splits, ((name, int(row)) for row in cut))))
    return findings


def folded(cell: Any) -> str:
    """A cell without what a reader overlooks: case, and the kind and amount of white space."""
    return " ".join(str(cell).casefold().split())


def _keys(split: Split, columns: Sequence[str]) -> list[bytes]:
    """A digest of each row's folded cells: equal cells, equal key, in little memory."""
    cells = zip(*(column(split.rows, name) for name in columns), strict=True)
    return [hashlib.blake2b("\x1f".join(map(folded, row)).encode("utf-8"), digest_size=16).digest() for row in cells]


def _places(splits: Mapping[str, Split], rows: Iterable[Row]) -> tuple[Place, ...]:
    return some(_place(splits, row) for row in rows)


def _place(splits: Mapping[str, Split], row: Row) -> Place:
    split = splits[row[0]]
    return Place(split.origin, f"{split.unit} {split.rows[row[1]][PLACE]}")


def _copies(task: Task, splits: Mapping[str, Split], keys: Mapping[str, list[bytes]]) -> Iterator[Finding]:
    """Rows that an earlier one of their split equals, answer and all."""
    for name, split in splits.items():
        seen: set[tuple[bytes, str]] = set()
        copies = []
        for row, whole in enumerate(zip(keys[name], _answers(task, split), strict=True)):
            if whole in seen:
                copies.append((name, row))
            seen.add(whole)
        if copies:
            message = f"{name}: {plural(len(copies))} of {len(split):,} repeat an earlier one."
            yield Finding("duplicate_rows", message, len(copies), _places(splits, copies))


def _seen_in_training(splits: Mapping[str, Split], keys: Mapping[str, list[bytes]]) -> Iterator[Finding]:
    """Rows to choose or judge by that training has too, whatever their answer."""
    first = {key: row for row, key in reversed(list(enumerate(keys["train"])))}
    for name in [name for name in splits if name != "train"]:
        seen = [(row, first[key]) for row, key in enumerate(keys[name]) if key in first]
        if seen:
            message = (
                f"{name}: {plural(len(seen))} of {len(splits[name]):,} ({share(len(seen), len(splits[name]))}) also in "
                "training, so its scores flatter. Take them out of one of the two."
            )
            pairs = some(
                _place(splits, (name, row))._replace(
                    where=f"{_place(splits, (name, row)).where} (as {_place(splits, ('train', twin))})"
                )
                for row, twin in seen
            )
            yield Finding("seen_in_training", message, len(seen), pairs)


def _conflicts(task: Task, splits: Mapping[str, Split], keys: Mapping[str, list[bytes]]) -> Iterator[Finding]:
    """Rows of any split that read the same and have different answers."""
    answers: dict[bytes, set[str]] = defaultdict(set)
    for name, split in splits.items():
        for key, answer in zip(keys[name], _answers(task, split), strict=True):
            answers[key].add(answer)
    texts = {key for key, given in answers.items() if len(given) > 1}
    if texts:
        rows = [(name, row) for name in splits for row, key in enumerate(keys[name]) if key in texts]
        message = f"{plural(len(rows))} with {plural(len(texts), 'text')} that the data answers in different ways."
        yield Finding("conflicting_answers", message, len(rows), _places(splits, rows))


def _answers(task: Task, split: Split) -> list[str]:
    """Each row's answer as one string."""
    return [repr(cells) for cells in zip(*(column(split.rows, name) for name in task.answer_columns), strict=True)]


def _short(columns: Sequence[str], splits: Mapping[str, Split]) -> Iterator[Finding]:
    """Rows with a text of hardly a character."""
    for name, split in splits.items():
        rows = [
            (name, row)
            for row, cells in enumerate(zip(*(column(split.rows, name) for name in columns), strict=True))
            if any(isinstance(cell, str) and len(cell.strip()) < SHORT for cell in cells)
        ]
        if rows:
            message = f"{name}: {plural(len(rows))} of {len(split):,} with a text of fewer than {SHORT} characters."
            yield Finding("short_texts", message, len(rows), _places(splits, rows))
