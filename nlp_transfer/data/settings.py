"""The settings of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nlp_transfer.errors import RequestError

IN_MEMORY = "(in memory)"
"""What recipes call rows that no file holds."""


@dataclass(frozen=True)
class DataSettings:
    """Where the rows come from, how they are split, and how much of a text is read."""

    source: str | Any = None
    """Rows: a file (csv, tsv, json, jsonl, parquet; plain or .gz), a folder with train/validation/test files, a Hub data
    set; in Python also a list of dicts, a pandas frame, a datasets.Dataset, or a dict of these by split."""
    validation: str | Any = None
    """Rows to choose by, where they stand apart from `source`."""
    test: str | Any = None
    """Rows to judge by at the end, where they stand apart from `source`."""
    subset: str | None = None
    """Configuration of a Hub data set that has several."""
    revision: str | None = None
    """Commit, tag or branch of a Hub data set."""
    max_length: int | None = None
    """Tokens that the model reads at once, of a text or of a window of one; unset: what the backbone can read, at most 512."""
    limit: int | None = None
    """Training rows to use, drawn by the seed with the labels' shares kept; unset: all."""
    validation_fraction: float = 0.1
    """Share of the training rows cut off for validation where there is no such split."""
    test_fraction: float = 0.1
    """Share of the training rows cut off for the test where there is no such split; 0: none, and validation is the last word."""
    skip_bad_rows: bool = False
    """Leave out rows that cannot be used (empty text, missing label, broken line) instead of stopping; they are counted."""

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise RequestError(
                f"data.validation_fraction is {self.validation_fraction}: expected a share between 0 and 1."
            )
        if not 0 <= self.test_fraction < 1:
            raise RequestError(f"data.test_fraction is {self.test_fraction}: expected a share, 0 or more and below 1.")
        if self.validation_fraction + self.test_fraction >= 1:
            raise RequestError(
                f"data.validation_fraction {self.validation_fraction} and data.test_fraction {self.test_fraction} leave "
                "no rows to train on: together they must be below 1."
            )
        for name, least in (("max_length", 4), ("limit", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise RequestError(f"data.{name} is {value}: expected {least} or more.")
