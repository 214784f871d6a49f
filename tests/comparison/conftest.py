"""The folder of a comparison: a real run for the fitted task, and answers that are drawn, so that the truth is known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from nlp_transfer import fine_tune, samples

LABELS = 3
"""Of the answers that are drawn; the task's metrics take any number."""


@pytest.fixture(scope="session")
def fitted(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of classification."""
    folder = tmp_path_factory.mktemp("fitted") / "run"
    source = str(samples.path("classification"))
    train = {"max_steps": 1}
    run = fine_tune(model=str(tiny_bert), task="classification", data=source, train=train, output=folder, silent=True)
    shutil.rmtree(folder / "model")
    assert run.task.primary.metric == "accuracy"
    return folder


def answers(right: float, seed: int, rows: int = 400, noise: float = 0.3) -> dict[str, np.ndarray]:
    """Judged arrays of a classifier that answers so many rows right: rows have difficulties, the same for all."""
    difficulty = np.random.default_rng(99).normal(size=rows)
    generator = np.random.default_rng(1000 * seed + round(1e6 * right))
    harder = difficulty + noise * generator.normal(size=rows)
    correct = harder <= np.quantile(harder, right)
    references = np.random.default_rng(5).integers(LABELS, size=rows)
    given = np.where(correct, references, (references + 1) % LABELS)
    return {"probabilities": np.eye(LABELS)[given] * 0.7 + 0.1, "references": references}


MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(fitted: Path, tmp_path: Path) -> MakeFolder:
    """Makes a comparison's folder, as `maker` says."""
    return maker(fitted, tmp_path / "compare")


def maker(fitted: Path, folder: Path) -> MakeFolder:
    """Makes a comparison's folder: `make_folder({"full": [0.9, ...], "lora": [...]})`, shares answered right by seed.

    None stands for a run that diverged.
    """

    def make(
        runs: Mapping[str, Sequence[float | None]] | Mapping[int, Mapping[str, Sequence[float | None]]],
        baselines: Mapping[str, float] | None = None,
        rows: int = 400,
        **protocol: Any,
    ) -> Path:
        by_size = runs if all(isinstance(key, int) for key in runs) else {5000: runs}
        lines = []
        for size, candidates in by_size.items():
            for name, shares in candidates.items():  # type: ignore[union-attr]
                lines.append(trial(name, size))
                lines += [run(folder, name, size, seed, share, rows) for seed, share in enumerate(shares)]
            for name, share in (baselines or {}).items():
                lines.append({**run(folder, name, size, 0, share, rows), "kind": "baseline", "learning_rate": None})
        first = next(line for line in lines if line["kind"] == "run" and line["status"] == "finished")
        shutil.copytree(fitted, folder / first["folder"], dirs_exist_ok=True)
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        written = {
            "schema": 1,
            "task": {"name": "classification"},
            "metric": "accuracy",
            "higher_is_better": True,
            "data": {"fingerprint": "abc", "rows": {"train": 5000, "validation": 500, "test": rows}},
            "reference": "full",
            "seeds": [0, 1, 2, 3, 4],
            "trials": 1,
            "flags": [],
            **protocol,
        }
        (folder / "protocol.json").write_text(json.dumps(written), encoding="utf-8")
        return folder

    return make


COSTS = {
    "full": {"stored_bytes": 87_000_000, "train_seconds": 150.0, "peak_rss_bytes": 900_000_000},
    "lora": {"stored_bytes": 1_300_000, "train_seconds": 120.0, "peak_rss_bytes": 700_000_000},
    "head": {"stored_bytes": 12_000, "train_seconds": 3.0, "peak_rss_bytes": 400_000_000},
}


def trial(name: str, size: int) -> dict[str, Any]:
    common = {"candidate": name, "method": name, "model": "minilm", "train_rows": size, "seed": 0, "message": ""}
    common["folder"] = f"trials/{''.join(filter(str.isalnum, name))}-{size}"
    scores = {"validation": {"accuracy": 0.8}}
    return {"kind": "trial", **common, "learning_rate": 1e-4, "status": "finished", "scores": scores, "judged": None}


def run(folder: Path, name: str, size: int, seed: int, share: float | None, rows: int) -> dict[str, Any]:
    """The line of a run; what was judged lies in its folder."""
    where = Path("runs") / f"{''.join(filter(str.isalnum, name))}-{size}-{seed}"
    line = {
        **trial(name, size),
        "kind": "run",
        "seed": seed,
        "from_scratch": "scratch" in name,
        "folder": str(where),
        "costs": COSTS.get(name, {"stored_bytes": 5_000_000, "train_seconds": 100.0}),
        "environment": {"torch": "2"},
    }
    if share is None:
        return {**line, "status": "diverged", "message": "the loss is nan | after step 3", "scores": {}, "costs": {}}
    arrays = answers(share, seed, rows)
    (folder / where).mkdir(parents=True)
    save_file(arrays, folder / where / "judged.safetensors")
    accuracy = float((arrays["probabilities"].argmax(1) == arrays["references"]).mean())
    scores = {"validation": {"accuracy": accuracy - 0.01 * seed}, "test": {"accuracy": accuracy}}
    return {**line, "scores": scores, "judged": str(where / "judged.safetensors")}
