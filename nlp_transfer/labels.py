"""Labels of rows: how cells hold them, their order, what each weighs in a loss, which are rare and which look alike."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from nlp_transfer.errors import RequestError, did_you_mean, listing
from nlp_transfer.written import listed

LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "topic",
    "intent",
    "target",
    "sentiment",
    "stars",
    "rating",
    "type",
)
"""What a column with one label per row is usually called."""

SEPARATORS = ("|", ";", ",")
"""What may stand between labels in one cell."""

YES = {"1", "true", "yes", "y", "t", "x"}
NO = {"0", "false", "no", "n", "f", ""}
"""Cells of a column that stands for one label, in any case."""

IMBALANCE = 10
"""A label is rare when the most frequent one has more than this many times its rows."""


def label_text(label: Any) -> str:
    """A label as text: whole numbers without a decimal point, whatever the file's form made of them (1, 1.0, "1.0")."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(label))


def flag(cell: Any) -> bool | None:
    """Whether a cell says that its row has a label; None where it says neither."""
    word = "" if cell is None else label_text(cell).strip().lower()
    return True if word in YES else (False if word in NO else None)


def separator_of(cells: Iterable[Any]) -> str:
    """What stands between the labels of cells: of `SEPARATORS` that texts hold the one that leaves the fewest different labels,
    of equal ones the first; empty where texts hold none."""
    labels: dict[str, set[str]] = {mark: set() for mark in SEPARATORS}
    held = set()
    for cell in cells:
        if isinstance(cell, str) and listed(cell) is None:
            held |= {mark for mark in SEPARATORS if mark in cell}
            for mark, names in labels.items():
                names.update(name.strip() for name in cell.split(mark))
    return min((mark for mark in SEPARATORS if mark in held), key=lambda mark: len(labels[mark] - {""}), default="")


def names_in(cell: Any, separator: str) -> list[str] | None:
    """The labels that a cell holds, any number of them; None where it is no cell of labels.

    Args:
        cell: a list, a text with separators or in the form of a list, one plain label, or flags by label.
        separator: of texts; empty where a text is one label.
    """
    if isinstance(cell, dict):
        flags = {name: flag(said) for name, said in cell.items()}
        return None if None in flags.values() else [name for name, yes in flags.items() if yes]
    if isinstance(cell, str):
        found = listed(cell)
        cell = found if found is not None else (cell.split(separator) if separator else [cell])
    names = cell if isinstance(cell, list) else [cell]
    if any(name is None or name != name or isinstance(name, list | dict | bytes) for name in names):
        return None
    return [text for name in names if (text := label_text(name).strip())]


def known_names_in(cell: Any, separator: str, classes: Sequence[str]) -> list[str] | None:
    """As `names_in`, where the labels are known: a text with one that is not may have another separator than training had.

    It is split by the first of `SEPARATORS` that leaves known labels only; by the first that leaves one at least where none
    does, so that the label is named that is wrong, and not the cell.
    """
    names = names_in(cell, separator)
    if names is None or not isinstance(cell, str) or all(name in classes for name in names):
        return names
    splits = [split for mark in SEPARATORS if (split := names_in(cell, mark))]
    for enough in (all, any):
        for split in splits:
            if enough(name in classes for name in split):
                return split
    return names


def label_order(label: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then words by spelling."""
    try:
        number = float(label)
    except ValueError:
        return (1, 0.0, label)
    return (1, 0.0, label) if math.isnan(number) else (0, number, label)


def classes_of(
    counts: Mapping[str, int], named: Sequence[str] | None, rows: int, columns: Sequence[str]
) -> tuple[str, ...]:
    """The labels to learn: as they are named, else those of the training rows in order.

    Args:
        counts: training rows of each label.
        named: all labels, where the recipe says so.
        rows: how many there are, or how many labels they have together where that is more.
        columns: the task's columns, to be named where they look swapped.

    Raises:
        RequestError: where these labels can be no task.
    """
    if named and (unnamed := [name for name in counts if name not in named]):
        raise RequestError(f"training rows have the labels {listing(unnamed)}, which task.labels does not name.")
    classes = tuple(named or sorted(counts, key=label_order))
    if repeated := [name for name, times in Counter(classes).items() if times > 1]:
        raise RequestError(f"task.labels names {listing(repeated)} more than once.")
    if absent := [name for name in classes if not counts.get(name)]:
        raise RequestError(
            f"task.labels names {listing(absent)}, which no training row has. There is: {listing(counts)}."
        )
    if len(classes) < 2:
        found = (
            f"training rows have one label, {classes[0]}, and no other"
            if classes
            else "no training row has a label to learn"
        )
        raise RequestError(f"{found}: expected at least two classes.")
    if not named and len(classes) > max(2, rows / 2):
        flags = [f"--columns.{name}" for name in columns]
        raise RequestError(
            f"the label column has {len(classes)} different values in {rows} rows, as free text would. "
            f"Are the columns swapped? Name them with {', '.join(flags[:-1])} and {flags[-1]}."
        )
    return classes


def class_weights(
    setting: str | Mapping[str, float], classes: Sequence[str], counts: Mapping[str, int]
) -> tuple[float, ...] | None:
    """What a row of each class counts in a loss; None where all count the same.

    Args:
        setting: `none`, `balanced` (inversely to the counts, 1 on average over rows), or a number per label (others 1).
        classes: the labels.
        counts: training rows of each.

    Raises:
        RequestError: for a number of a label that there is not, or one that is not above 0.
    """
    if setting == "none":
        return None
    if isinstance(setting, str):
        numbers = np.repeat(np.arange(len(classes)), [counts[name] for name in classes])
        balanced = compute_class_weight("balanced", classes=np.arange(len(classes)), y=numbers)
        return tuple(float(weight) for weight in balanced)
    for name, weight in setting.items():
        if name not in classes:
            raise RequestError(f'task.class_weights names "{name}", which is no label. {did_you_mean(name, classes)}')
        if not 0 < weight < float("inf"):
            raise RequestError(f"task.class_weights.{name} is {weight}: expected a number above 0.")
    return tuple(float(setting.get(name, 1.0)) for name in classes)


def similar_labels(counts: Counter[str]) -> list[list[str]]:
    """Labels that differ only in case or white space, the most frequent of each group first."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for name, _ in counts.most_common():
        spellings["".join(name.casefold().split())].append(name)
    return [names for names in spellings.values() if len(names) > 1]


def rare_labels(classes: Sequence[str], counts: Counter[str]) -> list[str]:
    """Labels with few rows beside the most frequent one."""
    return [name for name in classes if counts[name] * IMBALANCE < max(counts.values())]


def rarity(classes: Sequence[str], counts: Counter[str]) -> str | None:
    """A sentence about rare labels, for a reader who looks at scores; None where there are none."""
    rare = rare_labels(classes, counts)
    if not rare:
        return None
    (most, times), fewest = counts.most_common(1)[0], min(rare, key=lambda name: counts[name])
    return (
        f'{len(rare)} of {len(classes)} labels are more than {IMBALANCE} times rarer than "{most}" ({times:,} '
        f'training rows), the rarest "{fewest}" ({counts[fewest]:,}).'
    )


def per_label(
    classes: Sequence[str], right: np.ndarray, given: np.ndarray, true: np.ndarray
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support by label, from how many rows rightly, at all, and truly have each (labels,)."""
    precision, recall = right / np.maximum(given, 1), right / np.maximum(true, 1)
    columns = zip(precision, recall, 2 * right / np.maximum(given + true, 1), true, strict=True)
    return {
        name: dict(zip(("precision", "recall", "f1", "support"), (value.item() for value in row), strict=True))
        for name, row in zip(classes, columns, strict=True)
    }
