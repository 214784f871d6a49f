"""The folder of a run while it is being made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nlp_transfer.errors import RequestError
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import write_json


class RunFolder:
    """Writes a run's files, on the main process only; the others hold the same object and write nothing."""

    def __init__(self, path: Path, writes: bool, made: bool) -> None:
        self.path = path
        self.writes = writes
        self.made = made

    @classmethod
    def open(cls, path: Path, recipe: Recipe, overwrite: bool, writes: bool) -> RunFolder:
        """Make the folder and write the resolved recipe into it, before any data is read.

        Raises:
            RequestError: where a run or other files stand already, or nothing can be written.
        """
        made = not path.exists()
        if path.exists() and not path.is_dir():
            raise RequestError(f"{path} is a file: name a folder with --output.")
        if status := status_of(path):
            if not overwrite:
                raise RequestError(f"{path} holds a {status} run: name another folder, or replace it with --overwrite.")
        elif not made and any(path.iterdir()):
            raise RequestError(f"{path} holds other files than a run's: name another folder with --output.")
        folder = cls(path, writes, made)
        if writes:
            try:
                if status:
                    _clear(path)
                path.mkdir(parents=True, exist_ok=True)
                (path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
            except OSError as error:
                raise RequestError(f"{path} cannot be written: {error.strerror or error}.") from error
        return folder

    def log(self, line: Mapping[str, Any]) -> None:
        """Add one line to log.jsonl."""
        if self.writes:
            with (self.path / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Write one JSON file."""
        if self.writes:
            write_json(self.path / name, values)

    def write_lines(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write one JSON-lines file."""
        if self.writes:
            file = self.path / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")

    def fail(self, error: BaseException) -> None:
        """Record that the run ended by an error; a request that was wrong leaves nothing behind."""
        if not self.writes:
            return
        if isinstance(error, RequestError) and not (self.path / "log.jsonl").exists():
            _clear(self.path)
            if self.made:
                self.path.rmdir()
            return
        status = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        self.write("report.json", {"status": status, "error": f"{type(error).__name__}: {error}"})


PARTS = ("recipe.yaml", "task.json", "report.json", "README.md", "log.jsonl", "model", "predictions", "checkpoints")
"""Everything that a run writes into its folder."""


def status_of(path: Path) -> str | None:
    """The status of the run that a folder holds; "unfinished" where it has only begun, None where there is none."""
    try:
        return str(json.loads((path / "report.json").read_text(encoding="utf-8")).get("status", "damaged"))
    except (OSError, ValueError):
        return "unfinished" if (path / "recipe.yaml").is_file() else None


def next_free(stem: str) -> Path:
    """A folder under `runs/` that does not exist yet: the stem, or the stem and a number."""
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def _clear(path: Path) -> None:
    """Remove what a run wrote, and nothing else."""
    for name in PARTS:
        part = path / name
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
