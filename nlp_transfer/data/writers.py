"""Writers: rows with answers, in the forms that are read."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from nlp_transfer.data.files import form
from nlp_transfer.errors import RequestError, listing

FORMS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def check(path: Path) -> None:
    """Refuse a name that no writer has a form for, before work is done for it.

    Raises:
        RequestError: for an unknown ending, a folder, or a place that does not exist.
    """
    if form(path) not in FORMS or path.suffix.lower() == ".gz":
        raise RequestError(f"{path} has an ending that says nothing about its form: expected {listing(FORMS)}.")
    if path.is_dir() or not path.parent.is_dir():
        raise RequestError(f"{path} cannot be written: it is a folder, or its folder does not exist.")


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length; the file has its name only once it is whole.

    Raises:
        RequestError: where nothing can be written.
    """
    check(path)
    half = path.with_name(f".{path.name}.part")
    kind = form(path)
    try:
        if kind == ".parquet":
            pyarrow.parquet.write_table(pyarrow.table(dict(columns)), half)
        else:
            with half.open("w", encoding="utf-8", newline="") as opened:
                if kind in (".csv", ".tsv"):
                    writer = csv.writer(opened, delimiter="\t" if kind == ".tsv" else ",")
                    writer.writerow(columns)
                    writer.writerows(zip(*columns.values(), strict=True))
                else:
                    for row in zip(*columns.values(), strict=True):
                        opened.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")
        half.replace(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        half.unlink(missing_ok=True)
