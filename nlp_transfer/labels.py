"""Labels of training rows, counted: their order, what each weighs in a loss, which are rare and which look alike."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from nlp_transfer.errors import RequestError, did_you_mean

IMBALANCE = 10
"""A label is rare when the most frequent one has more than this many times its rows."""


def label_order(label: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then words by spelling."""
    try:
        number = float(label)
    except ValueError:
        return (1, 0.0, label)
    return (1, 0.0, label) if math.isnan(number) else (0, number, label)


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
