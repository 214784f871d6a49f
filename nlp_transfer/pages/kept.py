"""What a run keeps of itself, as a page shows it: its log as a curve, its details as scores of parts of the rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

POINTS = 60
"""Of a curve, at most: neighbouring steps are put together."""

CLASSES = {"per_class": "class", "per_label": "label", "per_type": "type of entity"}
"""Scores by answer in a report's details, and what an answer is."""

ENTITIES = CLASSES["per_type"]
"""Of all that scores are sorted by, what is counted in entities, of which a row may have several or none."""


def read(file: Path) -> dict[str, Any]:
    """A file of JSON; nothing of one that is gone or damaged."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values


def log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; none where there is no log."""
    try:
        text = (folder / "log.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError):
        return []


def thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A curve of few points: each the mean of its neighbours, the values on the step that ends them."""
    parts = np.array_split(np.arange(len(steps)), min(POINTS, max(len(steps), 1)))
    parts = [part for part in parts if len(part)]
    return (
        tuple(float(steps[part[-1]]) for part in parts),
        tuple(float(np.mean([values[i] for i in part])) for part in parts),
    )


def counted(by: str) -> str:
    """What the numbers of `parts` count."""
    return "entities" if by == ENTITIES else "rows"


def parts(details: Mapping[str, Any], metric: str) -> Iterable[tuple[tuple[str, str], str, int, float]]:
    """From a report's details: what rows are sorted by and judged by, the group, its rows or entities, its score."""
    for key, what in CLASSES.items():
        for name, scores in details.get(key, {}).items():
            yield (what, "f1"), name, scores["support"], scores["f1"]
    for key, groups in details.get("errors", {}).items():
        if key.startswith("by_"):
            for group in groups:
                length = group.get("characters")
                name = f"{length[0]} to {length[1]} characters" if length else group["group"]
                by = "length of the text" if length else key.removeprefix("by_").replace("_", " ")
                if np.isfinite(group[metric]):
                    yield (by, metric), name, group["rows"], group[metric]
