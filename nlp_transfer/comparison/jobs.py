"""Jobs: one trial, run or baselines of a comparison, as values that another process understands, and how each is done."""

from __future__ import annotations

import hashlib
import json
import shutil
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nlp_transfer.comparison import baselines, forgetting, measuring
from nlp_transfer.configurations import Pin
from nlp_transfer.environment import describe
from nlp_transfer.errors import Diverged, Interrupted, RequestError, Stopped, TrainingError
from nlp_transfer.experiment import fine_tune
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Run

Kind = Literal["trial", "run", "baseline"]

Line = dict[str, Any]
"""One line of results.jsonl."""

LONGEST = 150
"""Bytes of a candidate's label in the name of a folder, which may have 255; of a longer one the end, where the method is."""


@dataclass(frozen=True)
class Job:
    """One trial, run or baseline. The recipe says all of it but where it is done."""

    kind: Kind
    candidate: str
    method: str
    train_rows: int
    recipe: dict[str, Any]
    fingerprint: str
    """Of the comparison's rows."""
    weights: str | None = None
    """SHA-256 of the backbone's, where they are local."""
    forgetting: bool = False
    """Whether it is measured what the backbone forgot."""
    root: str = field(default="", compare=False)
    """The comparison's folder."""
    trust_remote_code: str | None = field(default=None, compare=False)
    """The model whose code may be run: said by whoever compares, and written into no file."""

    @property
    def key(self) -> str:
        """A hash of all that defines what comes out; where files lie is no part of that."""
        values = asdict(self)
        del values["root"], values["candidate"], values["trust_remote_code"]
        values["recipe"] = {**self.recipe, "data": {**self.recipe["data"]}}
        for name in ("source", "validation", "test"):
            values["recipe"]["data"][name] = self.recipe["data"][name] is not None
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Its run folder, inside the comparison's."""
        rate = f" {self.recipe['train']['learning_rate']:g}" if self.kind == "trial" else ""
        candidate = self.candidate.encode()[-LONGEST:].decode(errors="ignore")
        name = f"{candidate}{rate} {self.train_rows} rows seed {self.recipe['seed']} {self.key[:6]}"
        kept = "".join(letter if letter.isalnum() or letter in ".=" else "-" for letter in name).lstrip(".-")
        return Path(f"{self.kind}s") / kept

    def line(self, outcome: Line) -> Line:
        """Its line of results.jsonl, once it is known what came out."""
        learned = None if self.kind == "baseline" else self.recipe["train"]["learning_rate"]
        return {
            "kind": self.kind,
            "candidate": self.candidate,
            "method": self.method,
            "model": self.recipe["model"]["name"],
            "from_scratch": self.recipe["model"]["from_scratch"],
            "train_rows": self.train_rows,
            "seed": self.recipe["seed"],
            "learning_rate": learned,
            "status": "finished",
            "message": "",
            "scores": {},
            "judged": None,
            "costs": {},
            "environment": {},
            **outcome,
            "folder": str(self.folder),
            "key": self.key,
        }

    def to_json(self) -> str:
        """One line, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Job:
        """A job as `to_json` gave it."""
        return cls(**json.loads(line))


def do(job: Job) -> Line:
    """Do a job, and say what came out; what goes wrong in it is an outcome, too.

    Raises:
        Stopped, Interrupted: when a signal asked for a stop.
    """
    try:
        return DONE_BY[job.kind](job)
    except (Stopped, Interrupted):
        raise
    except Diverged as error:
        return {"status": "diverged", "message": str(error)}
    except (RequestError, TrainingError) as error:
        return {"status": "failed", "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"status": "failed", "message": f"{type(error).__name__}: {error}"}


def _trial(job: Job) -> Line:
    run, spent = _trained(job)
    # what a trial learned is looked at no more
    shutil.rmtree(run.folder / "model")
    costs = {**measuring.training(run.report), **spent}
    return {"scores": dict(run.scores), "costs": costs, "environment": run.report["environment"]}


def _run(job: Job) -> Line:
    run, spent = _trained(job)
    outcome = {
        "scores": dict(run.scores),
        "judged": str(job.folder / "predictions" / "test.safetensors"),
        "costs": {**measuring.training(run.report), **measuring.stored(run), **measuring.predicting(run), **spent},
        "environment": run.report["environment"],
    }
    if job.forgetting:
        outcome["forgetting"] = forgetting.measured(run, Path(job.root) / "forgetting")
    return outcome


def _trained(job: Job) -> tuple[Run, dict[str, float]]:
    """The finished run of a job's recipe, and the energy it took."""
    recipe = Recipe.make(**job.recipe)
    with measuring.energy() as spent:
        # what was cut off begins anew: its times would be those of two halves
        folder, trusted = Path(job.root) / job.folder, job.trust_remote_code
        run = fine_tune(recipe, output=folder, overwrite=True, silent=True, trust_remote_code=trusted)
    return run, spent


def _baseline(job: Job) -> Line:
    folder = Path(job.root) / job.folder
    shutil.rmtree(folder, ignore_errors=True)
    outcome = baselines.judged(job.method, Recipe.make(**job.recipe), folder, Pin.read(job.trust_remote_code))
    return {**outcome, "judged": str(job.folder / "predictions" / "test.safetensors"), "environment": describe()}


DONE_BY: dict[str, Callable[[Job], Line]] = {"trial": _trial, "run": _run, "baseline": _baseline}
