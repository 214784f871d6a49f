"""The table of docs/benchmarks.md on tasks, from the file that `benchmarks/task_scores.py` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import mean
from typing import Any

from common import Figures
from task_scores import CASES, FILE, MAIN, finished_lines

from nlp_transfer.comparison.wording import table

TITLES = {
    "stsb": "STS-B: how alike two sentences are",
    "mrpc": "MRPC: whether two sentences say the same",
    "rte": "RTE: whether one follows from the other",
    "emotions": "GoEmotions: which of 7 emotions, several at once",
    "banking77": "banking77: which of 77 requests",
}
SHOWN = {"stsb": "pearson_correlation", "emotions": "micro_f1_at_half"}
"""The score that is shown, where it is not accuracy: one that both contenders have."""

OTHERS = {"`lora`": "-lora", "`adapter`": "-adapter", "`adapter` at 3e-3": "-adapter-fast", "`gpt-mini`": "-gpt"}


def tasks_table() -> str:
    """A line for each data set: this project and the Trainer over seeds, and the small tuners and the decoder once."""
    runs: dict[tuple[str, str], dict[int, Figures]] = {}
    for line in finished_lines(FILE):
        if line["case"] in CASES and line["settings"] == {**asdict(CASES[line["case"]]), "precision": "auto"}:
            runs.setdefault((line["case"], line["contender"]), {})[line["seed"]] = line["figures"]
    lines = []
    for name in MAIN:
        if (name, "ours") not in runs:
            continue
        score = SHOWN.get(name, "accuracy")
        ours, peer = runs[name, "ours"], runs.get((name, "trainer"), {})
        others = [runs.get((name + end, "ours"), {}) for end in OTHERS.values()]
        lines.append([TITLES[name], score.replace("_", " "), *(told(each, score) for each in (ours, peer, *others))])
    if not lines:
        return "Not measured yet.\n"
    return table(["", "score", "`full`", "the Trainer", *OTHERS], lines) + "\n"


def told(seeds: Mapping[int, dict[str, Any]], score: str) -> str:
    """A mean with its lowest and highest seed and their number, or the one score there is."""
    values = [figures["scores"][score] for figures in seeds.values()]
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f}, {len(values)} seeds)"
