"""Columns of large tables, which memory should not hold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow

LARGE = 2**25
"""Bytes above which a table is large."""

MANY = 2**16
"""Rows above which it is, whatever they hold."""

WINDOW = 2**10
"""Rows that are read at once."""


class LargeColumns(Mapping[str, list[Any]]):
    """One column is read whole when it is asked for, several window by window."""

    types: Mapping[str, pyarrow.DataType]

    @abstractmethod
    def windows(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """Some columns of some rows after the other, and the number of the first, counted from 1."""

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.types:
            raise KeyError(name)
        return [cell for _, window in self.windows([name]) for cell in window[name]]

    def __contains__(self, name: object) -> bool:
        return name in self.types

    def __iter__(self) -> Iterator[str]:
        return iter(self.types)

    def __len__(self) -> int:
        return len(self.types)


def plain(kind: pyarrow.DataType) -> pyarrow.DataType | None:
    """The type of a column whose cells, in Python, are those of another: texts, numbers, yes or no, and lists of these.

    None for others: what Python makes of them must be seen whole before it can be put into a table again.
    """
    types = pyarrow.types
    if types.is_dictionary(kind):
        return plain(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        inner = plain(kind.value_type)
        return None if inner is None else pyarrow.list_(inner)
    if types.is_string(kind) or types.is_large_string(kind):
        return pyarrow.string()
    if types.is_integer(kind):
        return None if types.is_uint64(kind) else pyarrow.int64()
    if types.is_floating(kind):
        return pyarrow.float64()
    return kind if types.is_boolean(kind) else None
