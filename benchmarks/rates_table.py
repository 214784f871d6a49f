"""The table of docs/benchmarks.md on rates from fewer rows, from what `methods.py` beside it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common import Figures

from nlp_transfer.comparison.wording import table

FEWER, ALL = "trec-trials", "trec"
"""The cases whose trials have fewer rows, and all of them."""


def rates_table(kept: Mapping[str, Figures]) -> str:
    """A line for each method: the rate that its trials on fewer rows found, what validation says of a run on all rows at this
    rate, and the same of the trials with all rows."""
    if FEWER not in kept or ALL not in kept:
        return "Not measured yet.\n"
    fewer, every = chosen(kept[FEWER]["lines"]), chosen(kept[ALL]["lines"])
    scores = on_validation(kept[ALL]["lines"])
    order = kept[FEWER]["case"]["methods"].split(",")
    lines = [
        [
            f"`{name}`",
            f"{rate:g}",
            points(scores.get((name, rate))),
            f"{every[name]:g}",
            points(scores[name, every[name]]),
        ]
        for name, rate in ((name, fewer[name]) for name in order if name in fewer and name in every)
    ]
    rows = f"{kept[FEWER]['protocol']['trial_rows']:,}"
    return table(["", f"rate by {rows} rows", "validation", "rate by all rows", "validation"], lines) + "\n"


def chosen(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The rate that each candidate ran with."""
    return {line["candidate"]: line["learning_rate"] for line in lines if line["kind"] == "run"}


def on_validation(lines: list[dict[str, Any]]) -> dict[tuple[str, float], float | None]:
    """The accuracy of every trial on validation; None for one that has none."""
    return {
        (line["candidate"], line["learning_rate"]): (line["scores"] or {}).get("validation", {}).get("accuracy")
        for line in lines
        if line["kind"] == "trial"
    }


def points(value: float | None) -> str:
    """A share in points."""
    return "-" if value is None else f"{100 * value:.1f}"
