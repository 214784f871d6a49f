"""What stands in a folder already, and whether a request may go on with it or replace it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nlp_transfer.data.settings import DataSettings
from nlp_transfer.environment import expanded
from nlp_transfer.errors import RequestError
from nlp_transfer.recipe import Recipe


def status_of(path: Path) -> str | None:
    """The status of the run that a folder holds; "unfinished" where it has only begun, None where there is none."""
    try:
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = None
    # a project may have a report.json of its own
    if isinstance(report, dict) and "schema" in report and report.get("status") in ("finished", "stopped", "failed"):
        return str(report["status"])
    there = {child.name for child in path.iterdir()} if path.is_dir() else set()
    # and a recipe.yaml: beside that of a run stands its log, or nothing of others
    early = all(name in ("recipe.yaml", "task.json", "checkpoints", "trackers") or name[0] == "." for name in there)
    return "unfinished" if "recipe.yaml" in there and ("log.jsonl" in there or early) else None


def settled_before(path: Path, recipe: Recipe) -> Recipe:
    """A recipe with the batch size that the run in a folder found, where it leaves that open and the steps are the same."""
    if recipe.train.batch_size != "auto" or not (path / "recipe.yaml").is_file():
        return recipe
    there = Recipe.read(path / "recipe.yaml").train
    if there.rows_per_step != recipe.train.rows_per_step:
        return recipe
    return replace(recipe, train=replace(recipe.train, batch_size=there.batch_size, accumulate=there.accumulate))


def refuse_another(path: Path, recipe: Recipe) -> None:
    """Refuse to go on with a run under another recipe than its own.

    Raises:
        RequestError: naming every setting that differs.
    """
    there = _flat(Recipe.read(path / "recipe.yaml").to_dict())
    here = _flat(recipe.to_dict())
    differing = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    if differing:
        told = [f"{name} is {there.get(name)!r} there and {here.get(name)!r} here" for name in differing]
        raise RequestError(
            f"{path} holds a run of another recipe: {'; '.join(told)}. Resume it by --output {path} --resume alone, or name "
            "another folder."
        )


def next_free(stem: str) -> Path:
    """A folder under `runs/` that does not exist yet: the stem, or the stem and a number."""
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def refuse_removing(folder: Path, data: DataSettings, models: Iterable[str]) -> None:
    """Refuse to replace what a folder holds by something that would be made of it.

    Raises:
        RequestError: where rows or a model that are to be read lie inside.
    """
    for place in (data.source, data.validation, data.test, *models):
        known = isinstance(place, str | Path) and os.path.exists(expanded(place))
        if known and expanded(place).resolve().is_relative_to(folder.resolve()):
            raise RequestError(
                f"--overwrite would remove {place}, which is to be read: name another folder with --output."
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
