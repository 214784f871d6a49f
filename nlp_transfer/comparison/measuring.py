"""What a run costs: weights, time, memory, bytes, energy, and what its answers cost."""

from __future__ import annotations

import copy
import importlib.util
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors import safe_open

from nlp_transfer.data.batches import by_length
from nlp_transfer.data.features import Features
from nlp_transfer.environment import processes
from nlp_transfer.errors import RequestError
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Run

ALONE = 30
"""Features answered one by one, for the latency."""

TOGETHER = 32
"""Rows of a batch, for the throughput."""

BATCHES = 8
"""Batches answered for the throughput, at most."""

WARM_UP = 3
"""Answers before the clock runs: the first ones find their memory."""

Costs = dict[str, Any]
"""Figures by name; None where one cannot be had."""

OF_PROCESS = ("peak_rss_bytes", "peak_device_bytes")
"""Costs that are of a process from its start: of a run only where the process does nothing else."""


def training(report: Mapping[str, Any]) -> Costs:
    """What training cost, from a run's report.

    `trainable` and `added` count weights outside the head, `head` those of the head, which always learns. `total_seconds` is
    the run from end to end: reading, training, evaluations, saving, judging. What another run had done already counts as if
    this one had done it, so that no method looks cheaper for coming later; `saved_seconds` says how much that was. Memory is
    the most that the process held.
    """
    parameters, times, memory = report["parameters"], report["time"], report["memory"]
    saved = times.get("saved_seconds", {})
    return {
        "parameters": parameters["total"],
        "trainable": parameters["trainable"] - parameters["head"],
        "added": parameters["added"],
        "head": parameters["head"],
        "stored_bytes": parameters["stored_bytes"],
        "steps": report["training"]["steps"],
        "train_seconds": times["train_seconds"] + saved.get("activations", 0.0),
        "seconds_per_step": times["median_step_seconds"],
        "total_seconds": times["total_seconds"] + sum(saved.values()),
        "saved_seconds": sum(saved.values()),
        "peak_rss_bytes": memory["peak_rss_bytes"],
        "peak_device_bytes": memory["peak_device_bytes"],
    }


def stored(run: Run) -> Costs:
    """What a run keeps on disk: weights outside the head in its artefact, and bytes of all files a person would carry away."""
    files = [file for file in run.artefact.rglob("*") if file.is_file()]
    weights = 0
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="np") as opened:
                weights += sum(int(np.prod(opened.get_slice(name).get_shape())) for name in opened.keys())  # noqa: SIM118
    return {
        "stored": weights - run.report["parameters"]["head"],
        "disk_bytes": sum(file.stat().st_size for file in files),
    }


def predicting(run: Run) -> Costs:
    """What answers cost, from token ids to what the task keeps of the outputs, on validation rows.

    `latency_ms` is the median over single features, `throughput` features per second in batches of 32; each also with the
    tuner merged into the backbone, None where that is not possible.

    Args:
        run: finished, and its recipe names a file of validation rows.
    """
    recipe = Recipe.read(run.folder / "recipe.yaml")
    split, _ = run.read(recipe.data.validation, recipe.columns)
    rows = split.rows.select(range(min(len(split), TOGETHER * BATCHES)))
    features = Features.of(rows, run.task, run.tokenizer)
    costs = _pace(run.model, features)
    merged: Mapping[str, float | None] = costs
    if isinstance(run.model, PeftModel):
        try:
            merged = _pace(recipe.method.merge(copy.deepcopy(run.model)), features)
        except RequestError:
            merged = dict.fromkeys(costs)
    return {**costs, **{f"merged_{name}": value for name, value in merged.items()}}


def _pace(model: Any, features: Features) -> dict[str, float]:
    """Latency and throughput of a model."""
    model.eval()
    spread = np.linspace(0, len(features) - 1, num=min(ALONE, len(features))).astype(int)
    batches = by_length(features.lengths, TOGETHER)[:BATCHES]
    with torch.inference_mode():
        for index in spread[:WARM_UP]:
            _answer(model, features, np.array([index]))
        alone = [_answer(model, features, np.array([index])) for index in spread]
        _answer(model, features, batches[-1])
        together = sum(_answer(model, features, batch) for batch in batches)
    return {"latency_ms": 1000 * float(np.median(alone)), "throughput": sum(map(len, batches)) / together}


def _answer(model: Any, features: Features, indices: np.ndarray) -> float:
    """The seconds that a batch takes."""
    started = time.perf_counter()
    batch = features.fetch(indices).to(processes().device)
    # the copy to the processor waits for the device
    features.task.keep(model(**batch.inputs), batch).cpu()
    return time.perf_counter() - started


@contextmanager
def energy() -> Iterator[Costs]:
    """The energy of what happens inside, in kWh, where codecarbon is installed: `energy_kwh_estimate`.

    An estimate: read from the processor's counters where the system lets anybody, else made from its nominal power. Of the
    whole machine, so that others at work on it are counted, too.
    """
    spent: Costs = {}
    if importlib.util.find_spec("codecarbon") is None:
        yield spent
        return
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    # the country only turns energy into carbon dioxide, which is not reported
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", output_methods=[], log_level=logging.ERROR, allow_multiple_runs=True
    )
    tracker.start()
    try:
        yield spent
    finally:
        tracker.stop()
        spent["energy_kwh_estimate"] = tracker.final_emissions_data.energy_consumed
