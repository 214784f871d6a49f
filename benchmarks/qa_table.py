"""The table of docs/benchmarks.md on answers in texts, from the file that `benchmarks/qa.py` wrote."""

from __future__ import annotations

from statistics import mean

from common import Figures
from qa_cases import finished

from nlp_transfer.comparison.wording import table

TITLES = {
    "wiki": "new Wikipedia, `full`",
    "wiki-trainer": "new Wikipedia, the Trainer",
    "wiki-lora": "new Wikipedia, `lora`",
    "wiki-adapter": "new Wikipedia, `adapter`",
    "wiki-gpt": "new Wikipedia, `gpt-mini`",
    "v2": "some without an answer, `full`",
    "v2-trainer": "some without an answer, the Trainer",
}
MINE = ("exact_match", "f1", "answerable_f1", "unanswerable_accuracy")


def answers_table() -> str:
    """A line for each case: means over its seeds, in points, and F1 on other texts where it was asked for."""
    runs: dict[str, list[Figures]] = {}
    for (case, _), figures in sorted(finished().items()):
        runs.setdefault(case, []).append(figures)
    lines = [line(name, runs[name]) for name in TITLES if name in runs]
    if not lines:
        return "Not measured yet.\n"
    names = ("", "exact match", "F1", "F1 of each seed", "F1, answerable", "left unanswered, rightly")
    return table([*names, "F1 on Amazon reviews", "CPU s"], lines) + "\n"


def line(name: str, seeds: list[Figures]) -> list[str]:
    """The cells of one case."""
    tests = [figures["test"] for figures in seeds]
    means = [points([test[score] for test in tests]) if score in tests[0] else "" for score in MINE]
    each = ", ".join(points([test["f1"]]) for test in tests)
    other = [figures["transfer"]["f1"] for figures in seeds if "transfer" in figures]
    seconds = f"{mean(figures['cpu_seconds'] for figures in seeds):,.0f}"
    return [TITLES[name], *means[:2], each, *means[2:], points(other) if other else "", seconds]


def points(values: list[float]) -> str:
    """The mean of shares, in points."""
    return f"{100 * mean(values):.1f}"
