"""Parts: a split in several Parquet files, named as `datasets` and the Hub name them (`train-00000-of-00003.parquet`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nlp_transfer.data import files, parquet
from nlp_transfer.data.columns import LargeColumns
from nlp_transfer.data.files import Table
from nlp_transfer.environment import homely
from nlp_transfer.errors import RequestError, listing

NAMED = re.compile(r"(.+)-(\d{5})-of-(\d{5})")


def name(path: Path) -> str:
    """What a file is called, without its endings and without its number where it is a part."""
    stem = path.name.split(".")[0]
    part = NAMED.fullmatch(stem)
    return (part[1] if part else stem).lower()


def read(paths: Sequence[Path]) -> Table:
    """The rows of a file, or of all parts of a split, counted through.

    Args:
        paths: of one folder, all of one name, in order.

    Raises:
        RequestError: as `files.read`; where a part is missing, is of another form, or has other columns than the first.
    """
    numbered = [NAMED.fullmatch(path.name.split(".")[0]) for path in paths]
    if len(paths) == 1 and (numbered[0] is None or int(numbered[0][3]) == 1):
        return files.read(paths[0])
    folder, first = paths[0].parent, numbered[0]
    if first is None or any(part is None or part[3] != first[3] for part in numbered):
        raise RequestError(
            f"{folder} holds {listing(path.name for path in paths)}: which is the {name(paths[0])} split?"
        )
    if other := next((path for path in paths if files.form(path) != ".parquet"), None):
        raise RequestError(
            f"{other} is no Parquet file: parts of other forms are not put together. Make one file of them."
        )
    expected = [f"{first[1]}-{i:05}-of-{first[3]}.parquet" for i in range(int(first[3]))]
    if missing := [each for each in expected if each not in {path.name for path in paths}]:
        raise RequestError(
            f"{folder} holds {len(paths)} of the {len(expected)} parts of {first[1]}: {missing[0]} is missing."
        )
    origin = homely(folder / f"{first[1]}-*-of-{first[3]}.parquet")
    with ExitStack() as opened:
        held = [parquet.opened(homely(path), opened.enter_context(path.open("rb"))) for path in paths]
        several = [parquet.Columns(homely(path), path, file) for path, file in zip(paths, held, strict=True)]
        large = parquet.are_large(held)
    for each in several[1:]:
        if each.types != several[0].types:
            raise RequestError(
                f"{each.origin} has other columns than {several[0].origin}: {_typed(each)}, not {_typed(several[0])}."
            )
    rows = range(1, sum(each.rows for each in several) + 1)
    if not rows:
        raise RequestError(f"{origin} holds no rows.")
    if large:
        return Table(origin, files.unit(".parquet"), Parts(several), rows, types=several[0].types)
    columns = {column: [cell for each in several for cell in each[column]] for column in several[0].types}
    return Table(origin, files.unit(".parquet"), columns, list(rows), types=several[0].types)


def _typed(columns: parquet.Columns) -> str:
    return listing(f"{column} ({kind})" for column, kind in columns.types.items())


class Parts(LargeColumns):
    """The columns of several files of which each has the same."""

    def __init__(self, several: Sequence[parquet.Columns]) -> None:
        self.several = several
        self.types = several[0].types

    def windows(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """As it is promised."""
        before = 0
        for each in self.several:
            for first, window in each.windows(names):
                yield before + first, window
            before += each.rows
