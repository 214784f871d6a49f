"""What the benchmark of question answering trains: data sets, contenders and settings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from common import RESULTS, Figures
from scores import GPT

FILE = RESULTS / "qa.jsonl"


@dataclass(frozen=True)
class Case:
    """One kind of run: who trains, on what, how."""

    data: str
    contender: str = "ours"
    method: dict[str, Any] = field(default_factory=lambda: {"name": "full"})
    model: str = "minilm"
    learning_rate: float = 2e-4
    epochs: float = 3
    batch_size: int = 32
    max_length: int = 256
    stride: int = 64
    warmup: float = 0.0
    weight_decay: float = 0.0
    judged_on: str | None = None
    """Data whose test rows are answered too."""


CASES = {
    "wiki": Case("squad_wiki", judged_on="squad_amazon"),
    "wiki-trainer": Case("squad_wiki", "trainer"),
    "v2": Case("squad_v2"),
    "v2-trainer": Case("squad_v2", "trainer"),
    # small tuners want a larger rate than all weights together
    "wiki-lora": Case("squad_wiki", method={"name": "lora"}, learning_rate=1e-3),
    "wiki-adapter": Case("squad_wiki", method={"name": "adapter"}, learning_rate=1e-3),
    "wiki-gpt": Case("squad_wiki", model=GPT, learning_rate=5e-4),
}


def finished() -> dict[tuple[str, int], Figures]:
    """The figures of every run whose case still means what it did, by case and seed."""
    lines = map(json.loads, FILE.read_text(encoding="utf-8").splitlines()) if FILE.exists() else []
    return {
        (run["case"], run["seed"]): run["figures"]
        for run in lines
        if run["case"] in CASES and run["definition"] == asdict(CASES[run["case"]])
    }
