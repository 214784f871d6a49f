"""Evidence: what the folder of a comparison holds of its runs, read again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from nlp_transfer.configurations import read_json
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.runs import load_run
from nlp_transfer.tasks import Task
from nlp_transfer.trust import refuse_links

PROTOCOL, RESULTS = "protocol.json", "results.jsonl"

NEEDED = ("task", "metric", "higher_is_better", "data", "reference", "seeds", "trials", "flags")
"""What a protocol must say."""

KINDS = {
    "kind": str,
    "candidate": str,
    "status": str,
    "message": str,
    "scores": dict,
    "train_rows": int,
    "seed": int,
    "folder": str,
    "judged": str | None,
}
"""What a line of the results must say."""

Line = Mapping[str, Any]
"""One line of results.jsonl: a trial, a run or a baseline."""


@dataclass(frozen=True)
class Evidence:
    """The protocol of a comparison, and a line for every trial, run and baseline."""

    folder: Path
    protocol: Mapping[str, Any]
    lines: tuple[Line, ...]

    @classmethod
    def read(cls, folder: Path) -> Evidence:
        """What a folder holds.

        Raises:
            RequestError: where that is no comparison, or a file of it is damaged.
        """
        try:
            protocol = read_json(folder / PROTOCOL)
            texts = (folder / RESULTS).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise RequestError(f"{folder} holds no comparison: {missing} is missing.") from error
        except (OSError, ValueError) as error:
            raise RequestError(f"{folder} holds a damaged comparison: {error}") from error
        refuse_links(folder)
        if missing_keys := [name for name in NEEDED if name not in protocol]:
            raise RequestError(
                f"{folder / PROTOCOL} does not say {listing(missing_keys)}: expected the protocol that compare wrote."
            )
        return cls(folder, protocol, tuple(_lines(folder / RESULTS, texts)))

    @property
    def metric(self) -> str:
        """The score that is compared."""
        return self.protocol["metric"]

    @property
    def sizes(self) -> list[int]:
        """Training sizes, the largest first."""
        return sorted({line["train_rows"] for line in self.lines if line["kind"] != "trial"}, reverse=True)

    @cached_property
    def task(self) -> Task:
        """The fitted task, of the first run that finished.

        Raises:
            RequestError: where none did.
        """
        runs = [line for line in self.lines if line["kind"] == "run" and self.finished(line)]
        if not runs:
            failed = [line["message"] for line in self.lines if line["message"]]
            said = f" The first that failed said: {failed[0]}" if failed else ""
            raise RequestError(
                f"{self.folder}: no run of this comparison finished, so there is nothing to conclude.{said}"
            )
        return load_run(self.folder / runs[0]["folder"]).task

    def of(self, kind: str, train_rows: int | None = None) -> list[Line]:
        """Lines of a kind, of one training size or all."""
        return [line for line in self.lines if line["kind"] == kind and train_rows in (None, line["train_rows"])]

    def finished(self, line: Line) -> bool:
        """Whether a run ended well, with a score that is a number."""
        score = line["scores"].get("test", {}).get(self.metric, math.nan)
        return line["status"] == "finished" and score is not None and math.isfinite(score)

    def judged(self, line: Line) -> dict[str, np.ndarray]:
        """The arrays from which the scores of the test rows were computed.

        Raises:
            RequestError: where their file is missing or damaged.
        """
        file = self.folder / line["judged"]
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise RequestError(
                f"{file} is missing or damaged ({error}): remove its line ({line['candidate']}, seed {line['seed']}) from "
                f"{RESULTS}, and start the comparison again with --resume."
            ) from error


def _lines(file: Path, texts: list[str]) -> Iterator[Line]:
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            if number == len(texts):
                return  # cut off by what ended its writer
            raise RequestError(f"{file}, line {number}: no JSON ({error}).") from error
        if reason := _fault(line):
            raise RequestError(f"{file}, line {number}: {reason}: expected a line that compare wrote.")
        yield line


def _fault(line: Any) -> str | None:
    """What is wrong with a line, which may be a stranger's; its files stand inside the comparison's folder."""
    if not isinstance(line, dict):
        return f"a JSON {type(line).__name__}"
    for name, kind in KINDS.items():
        if not isinstance(line.get(name), kind) or (kind is int and isinstance(line[name], bool)):
            return f"{name} is {str(line.get(name))[:60]}"
    if not all(isinstance(scores, dict) for scores in line["scores"].values()):
        return "scores are not by split"
    for name in ("folder", "judged"):
        path = Path(line.get(name) or "")
        if path.is_absolute() or ".." in path.parts:
            return f"{name} leads out of the comparison ({path})"
    return None
