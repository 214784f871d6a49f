"""What the speed benchmark measures: cases, contenders, and the work that each of them cannot avoid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FULL: Mapping[str, Any] = {"name": "full"}


@dataclass(frozen=True)
class Case:
    """What all contenders train: data set, rows, model and settings."""

    data: str = "sst2"
    task: str = "classification"
    method: Mapping[str, Any] = field(default_factory=lambda: dict(FULL))
    model: str = "minilm"
    limit: int = 3200
    """Training rows: with whole epochs all contenders read exactly the same."""
    judged: int | None = 500
    """Rows of validation, read after every epoch, and of test, read at the end; None: all."""
    everywhere: bool = False
    """Whether these rows are from everywhere, as the file is sorted by labels, instead of the first ones."""
    epochs: float = 2.0
    batch_size: int = 32
    learning_rate: float = 5e-5
    max_length: int = 128
    rounds: int = 1
    example_steps: int = 15
    """Steps of the Trainer as in the examples: padded, every step costs the same, so that the median of few suffices."""


LEARNS: Mapping[str, Any] = {"limit": 6400, "judged": 1000, "epochs": 3.0, "rounds": 3}
"""Long enough for a score that tells something, on all test rows of SST-2, over three seeds."""

LONG: Mapping[str, Any] = {
    "data": "amazon_books",
    "limit": 384,
    "judged": 100,
    "everywhere": True,
    "epochs": 1.0,
    "max_length": 256,
    "example_steps": 8,
}

CASES = {
    "full-sst2": Case(**LEARNS),
    "head-sst2": Case(method={"name": "head"}, **{**LEARNS, "limit": 60_614}, learning_rate=1e-3, example_steps=40),
    "freeze-sst2": Case(method={"name": "freeze", "lowest": 4}, **LEARNS, learning_rate=2e-4),
    "lora-sst2": Case(method={"name": "lora"}, **LEARNS, learning_rate=1e-3),
    "adapter-sst2": Case(method={"name": "adapter"}, learning_rate=1e-3),
    "full-long": Case(**LONG),
    "lora-long": Case(method={"name": "lora"}, **LONG, learning_rate=1e-3),
    "full-qa": Case(
        data="squad_wiki",
        task="qa",
        limit=384,
        judged=100,
        epochs=1.0,
        max_length=256,
        learning_rate=2e-4,
        example_steps=8,
    ),
    "lora-qa": Case(
        data="squad_wiki",
        task="qa",
        method={"name": "lora"},
        limit=384,
        judged=100,
        epochs=1.0,
        max_length=256,
        learning_rate=1e-3,
        example_steps=8,
    ),
}

PREDICTIONS = {"predict": "fp32", "predict-bf16": "bf16"}
"""Cases of prediction by precision; bf16 is measured unasked where the machine multiplies it."""

PREDICTED, BY_PIPELINE = 50_000, 2_000
"""Rows that are predicted, and of these how many, spread evenly, by the pipeline, which answers them one by one."""


@dataclass(frozen=True)
class Contender:
    """A script, and the settings that make it this contender; they win over the case's."""

    script: str
    settings: Mapping[str, Any]


TRAINERS = {
    "trainer-examples": Contender("peer.py", {"padding": "max_length", "sampling": "random", "precision": "fp32"}),
    "trainer-best": Contender("peer.py", {"padding": "longest", "sampling": "group_by_length"}),
    "ours": Contender("ours.py", {"as_trainer": True}),
}
PREDICTORS = {
    "pipeline": Contender("predict_peer.py", {"way": "pipeline"}),
    "batched": Contender("predict_peer.py", {"way": "batched"}),
    "ours": Contender("predict_ours.py", {}),
}


def operations(method: Mapping[str, Any], contender: str, epochs: float) -> float:
    """Floating-point operations of the matrix products that a contender cannot avoid, per weight that multiplies and token.

    A product takes two of them forward, two for the gradient of what it reads, two for that of its weights. What tuners add
    and the products inside attention are not counted.

    Args:
        method: of the case.
        contender: ours runs what never changes once, the others in every epoch.
        epochs: of the case.
    """
    often = 1 / epochs if contender == "ours" and epochs > 1 else 1.0
    learning = {"head": 0.0, "freeze": 1 / 3}.get(method["name"], 1.0)
    forward = (1 - learning) * often + learning
    weights = 0.0 if method["name"] in ("lora", "adapter") else learning
    return 2 * (forward + learning + weights)


def examples_rate(batch_size: int, figures: Mapping[str, Any]) -> float:
    """Rows per second of the Trainer as in the examples, by its median step.

    It takes a few steps once; their mean would charge it for what only the first ones of a process cost.
    """
    return batch_size / figures["median_step_seconds"]
