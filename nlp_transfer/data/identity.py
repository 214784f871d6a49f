"""What stored things depend on, as hashes: cells of rows, weights of models, code."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow
import torch
import xxhash
from datasets import Dataset
from torch import Tensor

from nlp_transfer.rows import windows

ROWS = 4096
"""Rows that are hashed at once, so that memory stays flat."""


def key(kind: str, **parts: Any) -> str:
    """The name of what depends on these parts, and on the versions and the code that make it: the kind, and a hash."""
    written = json.dumps({**parts, "versions": _versions(), "code": code()}, sort_keys=True, default=str)
    return f"{kind}-{xxhash.xxh3_128_hexdigest(written.encode())}"


def cells(columns: Dataset, without: Collection[str] = ()) -> str:
    """A hash of all cells, in order, wherever they lie and in whatever pieces."""
    names = sorted(set(columns.column_names) - set(without))
    digest = xxhash.xxh3_128()
    for _, window in windows(columns, names, ROWS):
        table = window.replace_schema_metadata().combine_chunks()
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        digest.update(sink.getvalue())
    digest.update(f"{names} {len(columns)}".encode())
    return digest.hexdigest()


def weights(named: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of tensors: their names, kinds, shapes and every bit."""
    digest = xxhash.xxh3_128()
    for name, tensor in named:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        if plain.numel():
            digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers", "tokenizers")}


@lru_cache(maxsize=1)
def code() -> str:
    """A hash of all code of this project: what an older or newer one has stored is not taken for ours."""
    package = Path(__file__).parent.parent
    digest = xxhash.xxh3_128()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def code_of(kind: type) -> str | None:
    """A hash of the file that a class stands in; None where it stands in none."""
    try:
        return xxhash.xxh3_128_hexdigest(Path(inspect.getfile(kind)).read_bytes())
    except (OSError, TypeError):
        return None
