"""The lines of a comparison: one for every trial, run and baseline that is done, each on disk before the next one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from nlp_transfer.comparison.jobs import Line

NAME = "results.jsonl"


class Results:
    """The lines of results.jsonl, by their keys; one process writes."""

    def __init__(self, folder: Path) -> None:
        """What a comparison's folder holds; a last line that was cut off by what ended the writer is left out."""
        self.file = folder / NAME
        self.lines: dict[str, Line] = {}
        texts = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        for text in texts:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("key"), str):
                self.lines[line["key"]] = line
        if len(self.lines) < len(texts) or (texts and not self.file.read_bytes().endswith(b"\n")):
            self._rewrite()

    def add(self, line: Line) -> None:
        """One more line, on disk when this returns."""
        self.lines[line["key"]] = line
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_text(line))
            file.flush()
            os.fsync(file.fileno())

    def drop(self, unwanted: Callable[[Line], bool]) -> None:
        """Leave lines out."""
        kept = {key: line for key, line in self.lines.items() if not unwanted(line)}
        if len(kept) < len(self.lines):
            self.lines = kept
            self._rewrite()

    def _rewrite(self) -> None:
        half = self.file.with_name(f".{NAME}.part")
        with half.open("w", encoding="utf-8") as file:
            file.writelines(map(_text, self.lines.values()))
            file.flush()
            os.fsync(file.fileno())
        half.replace(self.file)


def _text(line: Line) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
