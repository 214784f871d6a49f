"""Sources: a file, a folder, the Hub or memory, each given as tables by split."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow

from nlp_transfer.data import columns, files, parts
from nlp_transfer.data.columns import LargeColumns
from nlp_transfer.data.files import Table
from nlp_transfer.data.settings import IN_MEMORY, DataSettings
from nlp_transfer.environment import homely
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.rows import windows

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing", "eval"),
}
"""What files and splits are called, by the split they are."""


def tables(settings: DataSettings) -> dict[str, Table]:
    """The tables that a recipe's data settings name, by split: always `train`, the others where they exist.

    Raises:
        RequestError: for sources that do not exist, cannot be read, or name no training rows.
    """
    if settings.source is None or (isinstance(settings.source, str) and not settings.source.strip()):
        raise RequestError("no data: name a file, a folder or a Hub data set with --data.")
    found = open_source(settings.source, settings.subset, settings.revision)
    for split in ("validation", "test"):
        if (apart := getattr(settings, split)) is not None:
            found[split] = single(apart, f"data.{split}")
            if not isinstance(apart, str | Path | Table):
                found[split] = replace(found[split], origin=f"data ({split})")
    if "train" not in found:
        raise RequestError(f"{described(settings.source)} has no training rows: there is only {listing(found)}.")
    return found


def single(source: Any, flag: str = "data") -> Table:
    """The one table of a source that must be a single split: to judge, or to predict. A table that was read is one, too.

    Raises:
        RequestError: for a source with several splits.
    """
    if isinstance(source, Table):
        return source
    found = open_source(source)
    if len(found) != 1:
        one = (
            "name one file" if isinstance(source, str | Path) else f'pass one of them, rows["{next(iter(found))}"] say'
        )
        raise RequestError(f"{flag}: {described(source)} holds the splits {listing(found)}, expected one: {one}.")
    return next(iter(found.values()))


def described(source: Any) -> str:
    """What a source is called in messages and recipes."""
    return homely(source) if isinstance(source, str | Path) else IN_MEMORY


def open_source(source: Any, subset: str | None = None, revision: str | None = None) -> dict[str, Table]:
    """All tables of one source, by split; a source without splits is `train`."""
    if not isinstance(source, str | Path):
        return _memory(source)
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            return _folder(path)
    except RuntimeError as error:
        raise RequestError(f"{source} cannot be read: there is no such home folder.") from error
    except OSError as error:
        raise RequestError(f"{source} cannot be read: {error.strerror or error}.") from error
    looks_like_a_file = "/" not in str(source) and path.suffix
    if path.exists() or files.form(path) or looks_like_a_file or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(source)):
        return {"train": files.read(path)}
    return _hub(str(source), subset, revision)


def _folder(folder: Path) -> dict[str, Table]:
    entries = sorted(path for path in folder.iterdir() if path.is_file() and files.form(path))
    found = {split: [path for path in entries if parts.name(path) in names] for split, names in SPLIT_NAMES.items()}
    if not any(found.values()):
        held = f"there is {listing(path.name for path in entries)}" if entries else "there is no file of rows"
        raise RequestError(
            f"{folder} holds no file that is named train, validation or test ({listing(files.SUFFIXES)}): {held}. "
            f"{files.CONLL_ENDING}"
        )
    return {split: parts.read(paths) for split, paths in found.items() if paths}


def _hub(name: str, subset: str | None, revision: str | None) -> dict[str, Table]:
    try:
        loaded = datasets.load_dataset(name, subset, revision=revision)
    except Exception as error:  # load_dataset raises many kinds, from the network's to the file format's
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RequestError(
            f"{name} is no file or folder here, and as a data set of the Hub it cannot be loaded: {reason}"
        ) from error
    return {split: _from_dataset(rows, f"{name} ({split})") for split, rows in _by_split(loaded).items()}


def _by_split(named: Mapping[str, Any]) -> dict[str, Any]:
    """Splits under their usual names; others are left aside."""
    found = {}
    for split, names in SPLIT_NAMES.items():
        matches = [name for name in named if name.lower() in names]
        if matches:
            found[split] = named[matches[0]]
    if not found:
        raise RequestError(
            f"the splits are called {listing(named)}: expected train, validation and test. Rows given as columns are "
            "datasets.Dataset.from_dict(...)."
        )
    return found


def _memory(source: Any) -> dict[str, Table]:
    if isinstance(source, Mapping):
        known = {setting.name for setting in fields(DataSettings)} - set(SPLIT_NAMES)
        if beside := [name for name in source if name in known]:
            right = f'data={{"source": {{"train": ...}}, "{beside[0]}": ...}}'
            raise RequestError(f"{listing(beside)} stand beside splits in memory: expected {right}.")
        return {split: _one_in_memory(rows, f"data ({split})") for split, rows in _by_split(source).items()}
    return {"train": _one_in_memory(source, "data")}


def _one_in_memory(rows: Any, origin: str) -> Table:
    if isinstance(rows, datasets.Dataset):
        return _from_dataset(rows, origin)
    if isinstance(rows, Mapping):
        raise RequestError(
            f"{origin} is a {type(rows).__name__} of splits: expected the rows of one split, rows['train'] say."
        )
    if isinstance(rows, list | tuple) and rows:
        return _of_dicts(rows, origin)
    if isinstance(rows, list | tuple):
        found: dict[str, Any] = {}
    elif type(rows).__module__.partition(".")[0] == "pandas" and type(rows).__name__ == "DataFrame":
        # by duck: pandas is no dependency of ours, its frames are welcome
        if not rows.columns.is_unique:
            raise RequestError(f"{origin} has several columns of one name: {listing(rows.columns)}.")
        cells = rows.astype(object).where(rows.notna(), None)
        found = {str(name): [_plain(cell) for cell in cells[name]] for name in rows.columns}
    elif isinstance(rows, str | Path):
        raise RequestError(f'{origin} is the path {rows}: name files as data={{"source": "{rows}", "test": ...}}.')
    else:
        known = "a list of dicts, a pandas frame or a datasets.Dataset"
        others = "" if "(" in origin else "a path, "  # of a split no path can be given
        raise RequestError(f"{origin} is a {type(rows).__name__}: expected {others}{known}.")
    if not len(rows):
        raise RequestError(f"{origin} holds no rows.")
    return Table(origin, "row", found, list(range(1, len(rows) + 1)))


def _of_dicts(rows: Sequence[Any], origin: str) -> Table:
    """Rows one by one; those whose cells have no names of their own are bad ones."""
    if wrong := [i for i, row in enumerate(rows) if not isinstance(row, Mapping)]:
        kind = type(rows[wrong[0]]).__name__
        raise RequestError(
            f'{origin}, row {wrong[0] + 1}: a {kind}, expected a dict such as {{"text": ..., "label": ...}}.'
        )
    reasons = [_misnamed(row) for row in rows]
    places = [i for i, reason in enumerate(reasons, 1) if reason is None]
    if not places:
        raise RequestError(f"{origin}, row 1: {reasons[0]}, and no other row can be read either.")
    good = [rows[i - 1] for i in places]
    names = list(dict.fromkeys(name for row in good for name in row))
    cells = {name: [_plain(row.get(name)) for row in good] for name in names}
    return Table(origin, "row", cells, places, [(i, reason) for i, reason in enumerate(reasons, 1) if reason])


def _misnamed(row: Mapping[Any, Any]) -> str | None:
    """What is wrong with the names of a row's cells."""
    if None in row:  # what csv.DictReader calls the cells that the header has no name for
        return "more cells than the header has names"
    return next((f"the column {name!r} has no text for its name" for name in row if not isinstance(name, str)), None)


def _plain(cell: Any) -> Any:
    """A cell without arrays of numpy, which pandas makes of the lists in a Parquet file, and without numpy's numbers."""
    if isinstance(cell, np.ndarray):
        return [_plain(each) for each in cell.tolist()]
    if isinstance(cell, np.number | np.bool_):
        return cell.item()
    if isinstance(cell, Mapping):
        return {name: _plain(each) for name, each in cell.items()}
    if isinstance(cell, set | frozenset):
        return sorted(map(_plain, cell), key=str)
    return [_plain(each) for each in cell] if isinstance(cell, list | tuple) else cell


def _from_dataset(rows: datasets.Dataset, origin: str) -> Table:
    if not len(rows):
        raise RequestError(f"{origin} holds no rows.")
    if rows.format["type"] not in (None, "custom"):
        rows = rows.with_format(None)  # of tensors, arrays or frames; a transform of the user's own stays
    places = range(1, len(rows) + 1)
    many = len(rows) > columns.MANY or rows.data.nbytes * len(rows) > columns.LARGE * rows.data.num_rows
    if many and rows.format["type"] is None:
        large = _OfDataset(rows)
        return Table(origin, "row", large, places, types=large.types)
    cells = {name: _named(rows[name][:], feature) for name, feature in rows.features.items()}
    return Table(origin, "row", cells, list(places))


class _OfDataset(LargeColumns):
    """The columns of many rows, in memory or mapped from a file."""

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows
        texts = {name: isinstance(_inside(feature), datasets.ClassLabel) for name, feature in rows.features.items()}
        kinds = {field.name: field.type for field in rows.features.arrow_schema}
        self.types = {
            name: (pyarrow.string() if pyarrow.types.is_integer(kind) else pyarrow.list_(pyarrow.string()))
            if texts[name]
            else kind
            for name, kind in kinds.items()
        }

    def windows(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """As it is promised."""
        for start, window in windows(self.rows, names, columns.WINDOW):
            yield (
                start + 1,
                {name: _named(window.column(name).to_pylist(), self.rows.features[name]) for name in names},
            )


def _inside(feature: Any) -> Any:
    """What a feature holds, once or in a list."""
    return feature.feature if isinstance(feature, datasets.List | datasets.LargeList) else feature


def _named(cells: list[Any], feature: Any) -> list[Any]:
    """Cells in which the numbers of labels are their names."""
    label = _inside(feature)
    if not isinstance(label, datasets.ClassLabel):
        return cells
    if label is not feature:
        return [cell and [_name(number, label) for number in cell] for cell in cells]
    return [_name(cell, label) for cell in cells]


def _name(number: int | None, label: datasets.ClassLabel) -> Any:
    """The name of a label, which data sets of the Hub number; -1 is how they write "not told"."""
    return None if number is None or number < 0 else label.int2str(number)
