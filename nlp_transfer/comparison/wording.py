"""Wording: numbers of a comparison as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nlp_transfer import figures
from nlp_transfer.comparison.analysis import Analysis
from nlp_transfer.figures import NONE, count, duration, figure, probability, size

__all__ = ["NONE", "Scale", "count", "duration", "escaped", "figure", "probability", "size", "table"]


class Scale(figures.Scale):
    """How the scores of a comparison are written."""

    @classmethod
    def of(cls, analysis: Analysis) -> Scale:
        """Points where higher is better and no score is beyond 1: errors in a unit of their own are none."""
        scores = [score for size in analysis.sizes for entry in size.entries for score in entry.spread.scores]
        low, high = analysis.bounds or (0.0, 0.0)
        bounds = analysis.bounds if all(low <= score <= high for score in scores) else None
        return cls(analysis.higher_is_better and all(abs(score) <= 1 for score in scores), bounds)


def escaped(text: object) -> str:
    """A text that stands in Markdown as it is, on one line: a label or a message may hold anything."""
    return re.sub(r"([\\`*_\[\]<>|#~&!])", r"\\\1", " ".join(str(text).split()))


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; names to the left, figures to the right."""
    names = list(header)
    lines = [names, ["---", *("---:" for _ in names[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
