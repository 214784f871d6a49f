"""The demo: the main job on the shipped samples, from training to answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nlp_transfer import samples
from nlp_transfer.errors import RequestError, did_you_mean
from nlp_transfer.experiment import fine_tune
from nlp_transfer.recipe import Recipe

RECIPES: dict[str, dict[str, Any]] = {
    "sentiment": {"train": {"epochs": 8}},
    "classification": {"train": {"epochs": 8}},
}
"""Settings that suit the few hundred rows of each sample; everything else is as by default."""

TEXTS = {
    "sentiment": (
        "I expected little and was won over within ten minutes.",
        "The zip broke on the second day and nobody answers my mails.",
        "Not bad at all, I must say.",
    ),
    "classification": (
        "You took the fee twice this month.",
        "The parcel says delivered but my doorstep is empty.",
        "The app closes itself as soon as I open it.",
    ),
}


def demo(task: str) -> None:
    """Train on a sample, print the scores, and answer three texts that are in no split.

    Raises:
        RequestError: for a task without a demo.
    """
    if task not in RECIPES:
        raise RequestError(f'there is no demo for "{task}". {did_you_mean(task, RECIPES)}')
    recipe = Recipe.make(task=task, data=str(samples.path(task)), **RECIPES[task])
    run = fine_tune(recipe, output=Path("runs") / f"demo-{task}", overwrite=True)
    low, high = run.report["intervals"]["test"]["accuracy"]
    rows = run.report["data"]["rows"]
    print(f"\nTrained on {rows['train']} rows in {run.report['time']['train_seconds']:.0f} s.")
    print(f"Test accuracy {run.scores['test']['accuracy']:.3f} (95 % {low:.3f} to {high:.3f}, {rows['test']} rows).\n")
    for text, answer in zip(TEXTS[task], run.predict(list(TEXTS[task])), strict=True):
        print(f"{answer.label:<10} {answer.probability:.2f}  {text}")
    print(f"\nThe run: {run.folder}/ (report.json, README.md, model/). Ask it more:")
    print(f'  nlp-transfer predict {run.folder} "your own text"')
