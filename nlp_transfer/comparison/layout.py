"""The rows of a comparison: read and cut once, laid out as files that every run of it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nlp_transfer.data.checks import PLACE
from nlp_transfer.data.choices import parts
from nlp_transfer.data.files import Table
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.sources import tables
from nlp_transfer.data.splits import Data, load
from nlp_transfer.recipe import Recipe
from nlp_transfer.tasks import column

FOLDER = "data"
"""Where the rows lie in a comparison's folder."""


@dataclass(frozen=True)
class Layout:
    """What the rows are, and where they lie."""

    fingerprint: str
    rows: dict[str, int]
    columns: dict[str, str]
    notes: list[str]
    """How they were read."""
    warnings: list[dict[str, Any]] = field(default_factory=list)
    """What looked doubtful when they were read, and where: the copies have lost it, or stand elsewhere."""

    def recipe(self, base: Recipe, folder: Path, train_rows: int, seed: int, test: bool) -> Recipe:
        """A recipe that reads these rows, and of the training rows so many, drawn by the seed.

        Args:
            base: all but the rows.
            folder: of the comparison.
            train_rows: how many are trained on.
            seed: of the run.
            test: whether it may read the test rows; else it has no test split at all.
        """
        files = {split: str(folder / FOLDER / f"{split}.jsonl") for split in self.rows}
        limit = train_rows if train_rows < self.rows["train"] else None
        kept = replace(base.data, subset=None, revision=None, skip_bad_rows=False, limit=limit)
        data = replace(
            kept, source=files["train"], validation=files["validation"], test=files["test"] if test else None
        )
        if not test:
            data = replace(data, test_fraction=0.0)
        return replace(base, data=data, columns=self.columns, seed=seed)


def read(recipe: Recipe) -> tuple[Layout, Data]:
    """The rows that a recipe names, checked and cut.

    Raises:
        RequestError: for anything that is wrong with them.
    """
    data = load(recipe.data, recipe.columns, recipe.task, recipe.seed)
    rows = {name: len(split) for name, split in data.splits.items()}
    warnings = [finding.to_json() for finding in data.warnings]
    return Layout(data.fingerprint, rows, data.columns, data.notes, warnings), data


def lay_out(settings: DataSettings, data: Data, folder: Path) -> None:
    """Write the cells of every split as their files have them: `folder`/data/train.jsonl and so on.

    A column that only other splits have is empty.
    """
    found = tables(settings)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, split in data.splits.items():
        table = found.get(name, found["train"])  # of which it was cut
        at = {place: i for i, place in enumerate(table.places)}
        wanted = [at[place] for place in column(split.rows, PLACE)]
        # a large table reads a column whenever it is asked for it
        whole = {each: table.columns.get(each, [None] * len(table)) for each in _names(table, data.columns)}
        cells = {each: [column_cells[i] for i in wanted] for each, column_cells in whole.items()}
        lines = (
            json.dumps(dict(zip(cells, row, strict=True)), ensure_ascii=False, default=str)
            for row in zip(*cells.values(), strict=True)
        )
        half = folder / FOLDER / f".{name}.part"
        half.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        half.replace(folder / FOLDER / f"{name}.jsonl")


def _names(table: Table, columns: Mapping[str, str]) -> list[str]:
    """The columns of a table that were chosen, each of those over which one is spread by itself."""
    found: dict[str, Any] = {}
    for name in columns.values():
        found |= dict.fromkeys([name] if name in table.columns else parts(name))
    return list(found)
