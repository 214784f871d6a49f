"""Encoded rows: rows as a task gives them to a model, remembered in a process and kept for later ones."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, BinaryIO

import numpy as np
import pyarrow.compute
from datasets import Dataset
from datasets.arrow_writer import ArrowWriter
from datasets.table import InMemoryTable
from transformers import PreTrainedTokenizerBase

from nlp_transfer.data import identity
from nlp_transfer.data.checks import PLACE
from nlp_transfer.data.store import NoRoom, Store
from nlp_transfer.quiet import quiet
from nlp_transfer.rows import mapped, windows
from nlp_transfer.scratch import scratch
from nlp_transfer.tasks import Columns, Task

REMEMBERED = 2**28
"""Bytes of encoded rows that are remembered: equal rows, windows of long texts above all, are not encoded again."""

SMALL = 2**18
"""Bytes of rows below which these are encoded anew in every process: it takes no longer than to look for them."""

LARGE = 2**25
"""Bytes of rows above which encoded ones are laid out in a file, as the rows of a large file are."""

BATCH = 1000
"""Rows that a tokenizer gets at once."""

WRITTEN = 2**18
"""Tokens that are written together, at least: few batches, of which a file that is mapped reads the beginnings."""

ENCODED = "rows.arrow"

LOOKED_THROUGH = 10_000
"""Encoded rows whose token ids are gathered at once."""

_remembered: dict[str, Dataset] = {}


def encoded(rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, store: Store | None) -> Dataset:
    """Rows encoded by the tokenizer's batch API, as `Features.of`; those of a while ago, or of an earlier run, where equal."""
    if not tokenizer.is_fast or identity.code_of(type(task)) is None:
        return made(rows, task, tokenizer)  # only a fast tokenizer, and code in a file, can tell what they depend on
    key = _key(rows, task, tokenizer)
    found = _remembered.pop(key, None)
    if found is None:
        large = rows.data.nbytes * len(rows) >= SMALL * max(1, rows.data.num_rows)
        found = _from_store(store, key, rows, task, tokenizer) if store and large else made(rows, task, tokenizer)
    _remembered[key] = found
    while sum(each.data.nbytes for each in _remembered.values()) > REMEMBERED:
        del _remembered[next(iter(_remembered))]
    return found


def anew(rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, file: BinaryIO | None = None) -> Dataset:
    """Rows encoded, in memory or in a file that is mapped into it."""

    def encode(batch: Columns, indices: Sequence[int]) -> dict[str, list[Any]]:
        features = task.encode(batch, tokenizer)
        if "row" in features:
            features["row"] = [indices[row] for row in features["row"]]
        return features

    if not len(rows):
        return rows.remove_columns(rows.column_names)
    kept = pyarrow.PythonFile(file, "w") if file else pyarrow.BufferOutputStream()
    # as `map` does it, but the rows of a selection are not fetched one by one, and no page of their file stays in memory
    with quiet(), ArrowWriter(stream=kept, writer_batch_size=WRITTEN) as writer:
        held: dict[str, list[Any]] = {}
        for start, window in windows(rows, rows.column_names, BATCH):
            for name, cells in encode(window.to_pydict(), range(start, start + window.num_rows)).items():
                held.setdefault(name, []).extend(cells)
            if sum(map(len, held["input_ids"])) >= WRITTEN:
                writer.write_batch(held)
                held = {}
        if held:
            writer.write_batch(held)
        writer.finalize(close_stream=False)
    if file is None:
        table = pyarrow.ipc.open_stream(kept.getvalue()).read_all()
        return Dataset(InMemoryTable(table), fingerprint=f"{rows._fingerprint[:32]}-encoded")
    file.flush()
    return mapped(file)


def made(rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Rows encoded for this process alone: in memory, or, where they are many, in a mapped file without a name."""
    if rows.data.nbytes * len(rows) < LARGE * max(1, rows.data.num_rows):
        return anew(rows, task, tokenizer)
    with tempfile.TemporaryFile(dir=scratch()) as file:
        return anew(rows, task, tokenizer, file)


def tokens_in(*columns: Dataset) -> np.ndarray:
    """Every token id that stands in encoded rows of some splits (ids,)."""
    batches = (window.column(0) for each in columns for _, window in windows(each, ["input_ids"], LOOKED_THROUGH))
    found = [pyarrow.compute.unique(pyarrow.compute.list_flatten(ids)).to_numpy() for ids in batches]
    return np.unique(np.concatenate(found))


def _from_store(store: Store, key: str, rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Rows as an earlier run encoded them, or encoded now and kept: a file of `datasets`, mapped into memory."""
    entry = store.find(key)
    if entry is None:
        with store.turn(key) as mine:
            entry = store.find(key)  # another process may have made it meanwhile
            with store.making(key) if mine and entry is None else nullcontext(None) as making:
                if making:
                    started = time.perf_counter()
                    try:
                        with (making.path / ENCODED).open("w+b") as file:
                            anew(rows, task, tokenizer, file)
                        store.make_room((making.path / ENCODED).stat().st_size, making.path)
                        entry = making.keep(seconds=time.perf_counter() - started, rows=len(rows))
                    except (NoRoom, OSError) as reason:  # a full disk among them
                        store.say(f"encoded rows are kept for this run alone: {reason}.")
    with suppress(OSError):  # who makes room may have removed it meanwhile
        if entry is not None:
            with (entry.path / ENCODED).open("rb") as found:
                return mapped(found)
    return made(rows, task, tokenizer)


def _key(rows: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase) -> str:
    """What the encoding of rows depends on: their cells, the task and its code, the tokenizer and its limit."""
    # a fast tokenizer describes itself, after the truncation and the padding of its last call
    described = tokenizer.backend_tokenizer.to_str()
    return identity.key(
        "encoded",
        cells=identity.cells(rows, without=(PLACE,)),
        task=[str(type(task)), task.to_json(), identity.code_of(type(task))],
        tokenizer=[str(type(tokenizer)), tokenizer.model_max_length, tokenizer.model_input_names],
        special=str(tokenizer.special_tokens_map),
        described=described[max(described.find('"added_tokens"'), 0) :],
    )
