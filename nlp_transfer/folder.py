"""The folder of a run while it is being made."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import save_file
from transformers import PreTrainedTokenizerBase

from nlp_transfer import artefacts
from nlp_transfer.errors import RequestError, Stopped, TrainingError, discreet
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import SCHEMA, write_json
from nlp_transfer.standing import refuse_another, refuse_removing, status_of
from nlp_transfer.trust import refuse_links


class RunFolder:
    """Writes a run's files, on the main process only; the others hold the same object and write nothing.

    Used as `with RunFolder.open(...) as folder`: one process at a time works in it, and how the run ended is recorded.
    """

    def __init__(self, path: Path, recipe: Recipe, writes: bool, resumes: bool) -> None:
        self.path = path
        self.writes = writes
        self.made = [folder for folder in (path, *path.parents) if not folder.exists()]
        self.resumes = resumes
        self.recipe = recipe.to_yaml()
        self.revision = recipe.model.revision
        self.lock = FileLock(path / LOCK, timeout=0)

    @classmethod
    def open(cls, path: Path, recipe: Recipe, resume: bool, overwrite: bool, writes: bool) -> RunFolder:
        """Look whether a folder may be used; nothing is written before `with`.

        Raises:
            RequestError: where another run or other files stand already.
        """
        try:
            if path.exists() and not path.is_dir():
                raise RequestError(f"{path} is a file: name a folder with --output.")
        except (OSError, ValueError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"{path} cannot be a folder: {getattr(error, 'strerror', None) or error}.") from error
        status = status_of(path)
        if status and resume:
            refuse_links(path)  # a folder of others may have them, and what is written would go where they lead
            refuse_another(path, recipe)
        elif status and not overwrite:
            on = "" if status == "finished" else "go on with it by --resume, "
            raise RequestError(f"{path} holds a {status} run: {on}name another folder, or replace it with --overwrite.")
        elif status:
            refuse_removing(path, recipe.data, [recipe.model.name])
        elif path.exists() and any(child.name != LOCK for child in path.iterdir()):
            raise RequestError(f"{path} holds other files than a run's: name another folder with --output.")
        return cls(path, recipe, writes, resumes=bool(status and resume))

    def __enter__(self) -> RunFolder:
        """Take the folder, and write the resolved recipe into it before any data is read.

        Raises:
            RequestError: where nothing can be written, or another process works in it.
        """
        if not self.writes:
            return self
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
            if self.resumes:
                (self.path / "report.json").unlink(missing_ok=True)
            else:
                # what is replaced goes only when the new request has proved right
                if (self.path / REPLACED).exists() and not (self.path / "log.jsonl").exists():
                    _clear(self.path)  # of a request that was killed before it had
                else:
                    shutil.rmtree(self.path / REPLACED, ignore_errors=True)
                    _move(self.path, self.path / REPLACED)
            (self.path / "recipe.yaml").write_text(self.recipe, encoding="utf-8")
        except Timeout as error:
            raise RequestError(
                f"another process works in {self.path}: wait for it, or name another --output."
            ) from error
        except OSError as error:
            raise RequestError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.writes:
            return
        wrong = isinstance(error, RequestError)
        if wrong and not self.resumes and not (self.path / "log.jsonl").exists():
            # a request that was wrong leaves things as they were
            _clear(self.path)
            _move(self.path / REPLACED, self.path)
        elif error is not None and kind is not None:
            status = "stopped" if isinstance(error, Stopped) or wrong else "failed"
            with contextlib.suppress(OSError):  # a full disk is why we are here
                write_json(
                    self.path / "report.json",
                    {"schema": SCHEMA, "status": status, "message": _said(kind, error)},
                )
        shutil.rmtree(self.path / REPLACED, ignore_errors=True)
        self.lock.release()
        (self.path / LOCK).unlink(missing_ok=True)
        if wrong:
            for folder in self.made:
                with contextlib.suppress(OSError):  # not empty: others have written there
                    folder.rmdir()

    def settle(self, recipe: Recipe) -> None:
        """Write the recipe anew, in which something is settled that only the work itself could tell."""
        self.recipe = recipe.to_yaml()
        if self.writes:
            half = self.path / ".recipe.yaml.part"
            with _written(self.path / "recipe.yaml"):
                half.write_text(self.recipe, encoding="utf-8")
                half.replace(self.path / "recipe.yaml")

    def log(self, line: Mapping[str, Any]) -> None:
        """Add one line to log.jsonl."""
        if self.writes:
            file = self.path / "log.jsonl"
            with _written(file), file.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the lines of the log after a step: a resumed run writes them again."""
        file = self.path / "log.jsonl"
        if self.writes and file.exists():
            lines = file.read_text(encoding="utf-8").splitlines()
            kept = []
            for line in lines:
                with contextlib.suppress(ValueError):  # the last line may be cut off by what ended the run
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
            with _written(file):
                file.write_text("".join(kept), encoding="utf-8")

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Write one JSON file."""
        if self.writes:
            with _written(self.path / name):
                write_json(self.path / name, values)

    def write_lines(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write one JSON-lines file."""
        if self.writes:
            file = self.path / name
            with _written(file):
                file.parent.mkdir(exist_ok=True)
                with file.open("w", encoding="utf-8", errors="backslashreplace") as written:
                    written.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one safetensors file."""
        if self.writes:
            file = self.path / name
            with _written(file):
                file.parent.mkdir(exist_ok=True)
                save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, file)

    def save(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> Path:
        """Save a model and its tokenizer as plain transformers or peft loads them; gives their folder."""
        artefact = self.path / "model"
        if self.writes:
            with _written(artefact):
                artefacts.save(model, tokenizer, artefact, self.revision)
                for file in artefact.iterdir():
                    # safetensors writes for the owner alone; a model has the permissions of the files beside it
                    file.chmod((self.path / "recipe.yaml").stat().st_mode)
        return artefact

    def finish(self, report: Mapping[str, Any], card: str) -> None:
        """Write the report and the model card: the run is finished."""
        if self.writes:
            with _written(self.path / "README.md"):
                (self.path / "README.md").write_text(card, encoding="utf-8", errors="backslashreplace")
            self.write("report.json", {"schema": SCHEMA, "status": "finished", **report})


@contextlib.contextmanager
def _written(place: Path) -> Iterator[None]:
    """Say what could not be written.

    Raises:
        TrainingError: for any error of the file system inside, as Python or safetensors tells it.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TrainingError(
            f"{place} cannot be written: {reason}. Make room or permission, then go on with --resume."
        ) from error


def _said(kind: type[BaseException], error: BaseException) -> str:
    """How a run ended, without the name of whose machine it was."""
    return discreet(f"{kind.__name__}: {error}").replace(os.path.expanduser("~") + os.sep, f"~{os.sep}")


LOCK = ".lock"
"""Held by the process that works in a folder; the system frees it when that process ends, however it ends."""

REPLACED = ".replaced"
"""Where a run waits that is about to be replaced."""

PARTS = (
    "recipe.yaml",
    "task.json",
    "report.json",
    "report.html",
    "README.md",
    "log.jsonl",
    "model",
    "predictions",
    "checkpoints",
    "trackers",
)
"""Everything that a run writes into its folder."""


def _move(source: Path, target: Path) -> None:
    """Move what a run wrote into another folder, over what may lie there."""
    for name in PARTS:
        if (source / name).exists():
            target.mkdir(exist_ok=True)
            _remove(target / name)
            (source / name).rename(target / name)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove what a run wrote, and nothing else."""
    for name in PARTS:
        _remove(path / name)
