"""Grouping: numbers of rows sorted by what the rows are, without an array of all in memory."""

from __future__ import annotations

import numpy as np

from nlp_transfer.rows import SPAN, touched
from nlp_transfer.scratch import numbers


def grouped(codes: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices of all codes that are 0, then of those that are 1, and so on, ascending, and where each group begins.

    Args:
        codes: of 0 to `groups` - 1 (rows,).
        groups: how many there are.

    Returns:
        Indices (rows,), and the first of each group among them, with an end (groups + 1,).
    """
    spans = range(0, len(codes), SPAN)
    sizes = sum((np.bincount(codes[i : i + SPAN], minlength=groups) for i in spans), np.zeros(groups, np.int64))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    members, free = numbers(len(codes), np.int64), starts[:-1].copy()
    for i in spans:
        span = codes[i : i + SPAN]
        order = np.argsort(span, kind="stable")
        here = np.bincount(span, minlength=groups)
        # of each of these rows: where its group goes on, and the how many-th of the group it is here
        places = np.repeat(free - (np.cumsum(here) - here), here) + np.arange(len(span))
        members[places] = i + order
        free += here
        touched(len(span))
    return members, starts
