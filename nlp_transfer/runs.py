"""Runs: the folder of a finished run, loaded to predict and to judge, saved, and shared."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from nlp_transfer import artefacts, tasks
from nlp_transfer.configurations import Pin, read_json
from nlp_transfer.data.checks import Split
from nlp_transfer.data.features import Features
from nlp_transfer.data.findings import plural
from nlp_transfer.data.splits import load_one
from nlp_transfer.data.unread import Unread
from nlp_transfer.environment import processes
from nlp_transfer.errors import RequestError, first_line, listing
from nlp_transfer.evaluation.answers import decoded, judged_from, mistakes_in, places_of
from nlp_transfer.evaluation.errors import analysis
from nlp_transfer.evaluation.intervals import bootstrap
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import without_texts, write_json
from nlp_transfer.tasks import Mistake, Task
from nlp_transfer.training.precision import answering
from nlp_transfer.trust import refuse_links

BATCH = 64
"""Rows of the longest texts read at once when nobody asks for another number."""


@dataclass(frozen=True)
class Judgement:
    """Answers to the rows of one split, and what they are worth.

    Answers, mistakes and places are lists; of more than 65,536 rows, sequences that make each item when it is asked for.
    """

    answers: Sequence[Any]
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    details: dict[str, Any]
    mistakes: Sequence[Mistake]
    places: Sequence[Any] | np.ndarray
    """Where in its file the row of each answer stands."""
    judged: Mapping[str, np.ndarray] = field(default_factory=dict)
    """As `Task.judged` gave it: what the scores were made of."""
    warnings: list[str] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    """Features, tokens, and how many of these are not read; empty where a task reads all but what it says itself."""


@dataclass(frozen=True)
class Run:
    """A finished run. `model` and `tokenizer` are plain objects of transformers or peft, loaded when first used."""

    folder: Path
    task: Task
    report: Mapping[str, Any]
    pin: Pin | None = None

    @property
    def scores(self) -> Mapping[str, Mapping[str, float]]:
        """Scores by split and metric: `run.scores["test"]["accuracy"]`."""
        return self.report["scores"]

    @property
    def artefact(self) -> Path:
        """The folder that plain transformers loads."""
        return self.folder / "model" if (self.folder / "model").is_dir() else self.folder

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, with the length limit of training."""
        return artefacts.tokenizer(self.artefact, self.pin)

    @cached_property
    def model(self) -> Any:
        """The model in fp32, on the device at hand, ready to predict."""
        return self._loaded().to(processes().device).eval()

    def _loaded(self) -> Any:
        sha256 = self.report.get("backbone", {}).get("sha256")
        return artefacts.load(self.artefact, self.task, self.folder / "recipe.yaml", sha256, self.pin)

    @cached_property
    def _answering(self) -> Any:
        """The model that answers: without its tuner where a plain model gives the same, which is faster."""
        if not (self.artefact / artefacts.TUNER).is_file():
            return self.model
        model = self._loaded()
        try:
            plain = Recipe.read(self.folder / "recipe.yaml").method.merge(model)
        except RequestError:
            self.__dict__.setdefault("model", model.to(processes().device).eval())
            return self.model
        return plain.to(processes().device).eval()

    def predict(
        self,
        texts: Any,
        batch_size: int = BATCH,
        columns: Mapping[str, str] | None = None,
        precision: str = "fp32",
        warnings: list[str] | None = None,
    ) -> list[Any]:
        """Answers to texts, in their order.

        Args:
            texts: one text, several, dicts with the task's columns, or anything else that training takes as data. Where the
                task reads two texts, a tuple of both stands for each.
            batch_size: rows of the longest texts read at once; of shorter ones more.
            columns: names of the columns, where they are neither those of training nor usual ones.
            precision: fp32, bf16, or auto, which is bf16 where the hardware multiplies it.
            warnings: sentences for the reader, on tokens that are not read, are added to it.

        Raises:
            RequestError: for a text that is empty or no text, naming it.
        """
        several = len(self.task.asked_columns) > 1
        one = isinstance(texts, str) or (several and isinstance(texts, tuple) and isinstance(next(iter(texts), 0), str))
        source: Any = [texts] if one else texts
        if isinstance(source, list | tuple):
            if not source:
                return []
            source = [self._named(i, row) for i, row in enumerate(source)]
        split = self._rows(source, columns, answers=False, warnings=[])
        outputs, features = self.outputs(split, batch_size, precision=precision)
        if warnings is not None:
            warnings += self.unread(split, features).warnings()
        return self.task.decode(outputs, features, split.rows)

    def _named(self, i: int, row: Any) -> Mapping[str, Any]:
        """A row with the task's columns, of one that is only their cells."""
        if isinstance(row, Mapping):
            return row
        names = self.task.asked_columns
        cells = row if isinstance(row, list | tuple) and len(names) > 1 else [row]
        if len(cells) != len(names):
            raise RequestError(
                f"data, row {i + 1}: {plural(len(cells), 'text')} where this run reads {len(names)}: expected a tuple or "
                f"dict of {listing(names)}."
            )
        return dict(zip(names, cells, strict=True))

    def evaluate(
        self,
        source: Any,
        batch_size: int = BATCH,
        columns: Mapping[str, str] | None = None,
        precision: str = "fp32",
    ) -> Judgement:
        """Scores on rows with answers: a file, or anything else that training takes as data; the rest as in `predict`.

        Raises:
            RequestError: for rows that cannot be judged, naming file, row and column.
        """
        return self.judge_read(*self.read(source, columns), batch_size, precision)

    def judge_read(self, split: Split, warnings: Sequence[str], batch_size: int, precision: str) -> Judgement:
        """Scores on rows as `read` gave them, with its warnings and one about tokens that are not read."""
        outputs, features = self.outputs(split, batch_size, precision=precision)
        judgement, unread = self.judge(split, outputs, features), self.unread(split, features)
        return replace(judgement, warnings=[*warnings, *unread.warnings()], tokens=unread.tokens)

    def unread(self, split: Split, features: Dataset, before: Unread | None = None) -> Unread:
        """What is not read of rows, whose features `outputs` gave, and of the rows before them."""
        return (before or Unread(split.origin)).add(split, Features(self.task, self.tokenizer, features))

    def read(self, source: Any, columns: Mapping[str, str] | None = None) -> tuple[Split, list[str]]:
        """Rows with answers, checked, as the task judges them, and warnings about them; arguments as in `evaluate`."""
        warnings: list[str] = []
        return self._rows(source, columns, answers=True, warnings=warnings), warnings

    def judge(self, split: Split, outputs: np.ndarray, features: Dataset) -> Judgement:
        """Scores on rows that have been checked, from their `outputs`."""
        task, rows = self.task, split.rows
        answers = decoded(task, outputs, features, rows)
        judged, mistakes = judged_from(task, answers, rows), mistakes_in(task, answers, rows)
        details = {**task.details(answers, rows, judged), "errors": analysis(task, judged, mistakes, split)}
        scores, intervals = task.metrics(judged), bootstrap(task, judged)
        return Judgement(answers, scores, intervals, details, mistakes, places_of(rows), judged)

    def outputs(
        self,
        split: Split,
        batch_size: int = BATCH,
        each_batch: Callable[[], None] = lambda: None,
        precision: str = "fp32",
        again: bool = True,
    ) -> tuple[np.ndarray, Dataset]:
        """What the task keeps of the model's outputs for rows that have been checked, and the features they belong to.

        `again` says whether these rows may be answered again, as in `Features.of`.
        """
        features = Features.of(split.rows, self.task, self.tokenizer, again=again)
        within = answering(precision, processes().device)
        return outputs_of(self._answering, features, batch_size, within, each_batch), features.columns

    def _rows(self, source: Any, columns: Mapping[str, str] | None, answers: bool, warnings: list[str]) -> Split:
        remembered = self.report["data"]["columns"]
        return load_one(source, self.task, answers, warnings, columns or {}, remembered)

    def write_page(self) -> Path:
        """Write report.html into the folder: the report as people read it; gives its path.

        It holds texts of the data, the surest wrong answers; `push_to_hub` leaves it here.
        """
        from nlp_transfer.pages import run as page  # drawing takes a moment to load, and few runs are looked at

        return page.write(self.folder, self.report, self.task.primary.metric, self.task.asked_columns)

    def push_to_hub(self, repo_id: str, private: bool = True, token: str | None = None) -> str:
        """Upload model, task, recipe, report and card to the Hub, and give back the address.

        Predictions, logs and the texts among the report's errors stay here: they hold what was in the data. The model's
        files stand at the top of the repository, where transformers looks for them; `load_run` reads a downloaded copy of it.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        # a tuner or weights of an earlier run would be taken for this one's
        old = ["*.safetensors", "*.safetensors.index.json", "adapter_config.json", "config.json"]
        api.upload_folder(repo_id=repo_id, folder_path=self.artefact, commit_message="Model", delete_patterns=old)
        with TemporaryDirectory() as shared:
            for name in ("task.json", "recipe.yaml", "README.md"):
                shutil.copy(self.folder / name, shared)
            write_json(Path(shared) / "report.json", without_texts(self.report))
            api.upload_folder(repo_id=repo_id, folder_path=shared, commit_message="Run")
        return str(address)


def load_run(path: str | Path, trust_remote_code: str | Pin | None = None) -> Run:
    """A finished run from its folder, or from the Hub by its id (owner/name).

    `trust_remote_code` is for a run of a model with code of its own, as in `fine_tune`.

    Raises:
        RequestError: for a folder that holds no run, or one that did not finish.
    """
    pin = Pin.read(trust_remote_code)
    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = _downloaded(str(path))
    try:
        refuse_links(folder)
        report, task = read_json(folder / "report.json"), read_json(folder / "task.json")
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise RequestError(
            f"{folder} holds no finished run: {missing} is missing. Was the run stopped or failed?"
        ) from error
    except RequestError as error:
        raise RequestError(f"{folder} holds a damaged run: {error}") from error
    if report.get("status") != "finished":
        raise RequestError(f"{folder} holds a run that is {report.get('status')}, not finished.")
    if wrong := _lacking(report):
        raise RequestError(f"{folder} holds a damaged run: report.json has no {wrong}.")
    try:
        return Run(folder, tasks.from_json(task), report, pin)
    except RequestError as error:
        raise RequestError(f"{folder} holds a damaged run: task.json: {error}") from error


def _lacking(report: Mapping[str, Any]) -> str | None:
    """What a report lacks that a run is loaded by."""
    if not isinstance(columns := (report.get("data") or {}), dict) or not isinstance(columns.get("columns"), dict):
        return "data.columns, the names of the columns of training"
    if not all(isinstance(name, str) for name in columns["columns"].values()):
        return "names of columns that are words"
    scores = report.get("scores")
    if not isinstance(scores, dict) or not all(isinstance(each, dict) for each in scores.values()):
        return "scores by split"
    backbone = report.get("backbone", {})
    known = isinstance(backbone, dict) and isinstance(backbone.get("sha256"), str | None)
    return None if known else "backbone with its hash"


def _downloaded(name: str) -> Path:
    """The folder of a run that `push_to_hub` shared."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise RequestError(f"{name} is no folder: expected the --output of a finished run, or a Hub id (owner/name).")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.yaml", "README.md"]))
    except Exception as error:  # the Hub's client raises many kinds
        raise RequestError(f"{name} is no folder here, and the Hub does not give it: {first_line(error)}") from error
