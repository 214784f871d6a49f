"""The rows on which an export is held against its run."""

from __future__ import annotations

from datasets import Dataset

from nlp_transfer.runs import Run


def sample(run: Run) -> Dataset:
    """The sample of the run's task without its answers; a second text that it lacks is the first one of its row."""
    names = run.task.asked_columns
    return Dataset.from_list([{name: row.get(name, row[names[0]]) for name in names} for row in run.task.sample])
