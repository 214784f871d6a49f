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
    "qa": {"train": {"epochs": 12, "batch_size": 16, "learning_rate": 2e-4}},
}
"""Settings that suit the few hundred rows of each sample; everything else is as by default."""

CONTEXT = (
    "The harbour museum keeps a rowing boat in which three sisters crossed the bay in 1911. It was found in a barn in Alder "
    "Lane, under forty years of hay. Children may sit in it on Fridays."
)

TEXTS: dict[str, tuple[Any, ...]] = {
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
    "qa": (
        {"question": "Who crossed the bay?", "context": CONTEXT},
        {"question": "Where was the boat found?", "context": CONTEXT},
        {"question": "When may children sit in it?", "context": CONTEXT},
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
    metric = run.task.primary.metric
    low, high = run.report["intervals"]["test"][metric]
    rows = run.report["data"]["rows"]
    print(f"\nTrained on {rows['train']} rows in {run.report['time']['train_seconds']:.0f} s.")
    name = metric.replace("_", " ")
    print(f"Test {name} {run.scores['test'][metric]:.3f} (95 % {low:.3f} to {high:.3f}, {rows['test']} rows).\n")
    if task == "qa":
        print(f"{CONTEXT}\n")
    for text, answer in zip(TEXTS[task], run.predict(list(TEXTS[task])), strict=True):
        if task == "qa":
            print(text["question"], *answer.lines(), sep="\n  ")
        else:
            print(f"{answer.label:<10} {answer.probability:.2f}  {text}")
    print(f"\nThe run: {run.folder}/ (report.json, README.md, model/). Ask it more:")
    own = '--question "Your own question?" --context-file article.txt' if task == "qa" else '"your own text"'
    print(f"  nlp-transfer predict {run.folder} {own}")
