"""The rows on which an export is held against its run, and how far the two are apart."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from nlp_transfer.runs import Run


def sample(run: Run) -> Dataset:
    """The sample of the run's task without its answers; a second text that it lacks is the first one of its row."""
    names = run.task.asked_columns
    return Dataset.from_list([{name: row.get(name, row[names[0]]) for name in names} for row in run.task.sample])


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference between two arrays of logits; over the largest of those expected, where that is above 1.

    Equal weights give sums in fp32 that differ in their last digits, by more the larger they are.
    """
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
