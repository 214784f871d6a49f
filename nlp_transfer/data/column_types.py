"""Types of Parquet columns that their first cells decide, and whether later cells have a place in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow


def column(cells: Sequence[Any], kind: pyarrow.DataType, known: bool) -> pyarrow.Array:
    """Cells as a column of a type.

    pyarrow would cut off fractions, and leave out what a struct has no field for, without a word.

    Args:
        cells: of some rows.
        kind: what the column's first cells were, or what its file says.
        known: whether a file says it, which then also says what all cells are.

    Raises:
        ValueError: for a cell that the type cannot hold; TypeError and OverflowError from pyarrow, likewise.
    """
    if pyarrow.types.is_integer(kind):
        fraction = next((cell for cell in cells if isinstance(cell, float) and not cell.is_integer()), None)
        if fraction is not None:
            raise ValueError(f"{fraction} is no whole number")
    elif pyarrow.types.is_nested(kind) and not known and not _holds(kind, found := pyarrow.array(cells).type):
        raise ValueError(str(found))
    return pyarrow.array(cells, type=kind)


def inferred(cells: Sequence[Any]) -> pyarrow.DataType:
    """The type of some cells; text where they, their lists or objects are empty, or agree on none."""
    try:
        found = pyarrow.array(cells).type
    except (ValueError, TypeError, OverflowError):
        return pyarrow.string()
    return pyarrow.string() if _empty(found) else found


def _empty(kind: pyarrow.DataType) -> bool:
    """Whether nothing is known of what stands inside, for which Parquet has no form."""
    if pyarrow.types.is_struct(kind):
        inside = [field.type for field in kind if pyarrow.types.is_nested(field.type)]
        return not kind.num_fields or any(map(_empty, inside))
    return _empty(kind.value_type) if pyarrow.types.is_list(kind) else pyarrow.types.is_null(kind)


def _holds(held: pyarrow.DataType, found: pyarrow.DataType) -> bool:
    """Whether a column of one type takes cells of another as they are."""
    if pyarrow.types.is_struct(held) and pyarrow.types.is_struct(found):
        at = {field.name: field.type for field in held}
        return all(field.name in at and _holds(at[field.name], field.type) for field in found)
    if pyarrow.types.is_list(held) and pyarrow.types.is_list(found):
        return _holds(held.value_type, found.value_type)
    wider = pyarrow.types.is_floating(held) and pyarrow.types.is_integer(found)
    return wider or held == found or pyarrow.types.is_null(found)
