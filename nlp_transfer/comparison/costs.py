"""Costs of a candidate: means over its runs, and those that are made of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def costs_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means of every cost that all lines know; `learning` is all weights that learn, `peak_bytes` the memory that is short."""
    costs = means([line["costs"] for line in lines])
    whole = {"learning": costs["trainable"] + costs["head"]} if {"trainable", "head"} <= costs.keys() else {}
    peak = costs.get("peak_device_bytes", costs.get("peak_rss_bytes"))
    return {**costs, **whole, **({} if peak is None else {"peak_bytes": peak})}


def means(figures: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means of the figures that all have as numbers, by name."""
    if not figures:
        return {}
    known = [name for name in figures[0] if all(is_number(each.get(name)) for each in figures)]
    return {name: float(np.mean([each[name] for each in figures])) for name in known}


def is_number(value: Any) -> bool:
    """Whether something is a number, and a finite one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
