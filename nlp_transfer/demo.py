"""The demo: the main jobs on the shipped samples, a comparison of methods, or one training of any task, up to answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from nlp_transfer import samples
from nlp_transfer.comparison import compare, layout, protocol
from nlp_transfer.comparison.display import Display, live
from nlp_transfer.configurations import read_json
from nlp_transfer.environment import homely
from nlp_transfer.errors import RequestError, did_you_mean
from nlp_transfer.experiment import fine_tune
from nlp_transfer.figures import Scale, duration, size
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Run, load_run

RECIPES: dict[str, dict[str, Any]] = {
    "sentiment": {"task": "sentiment", "train": {"epochs": 8}},
    "classification": {"task": "classification", "train": {"epochs": 8}},
    "sentence_pairs": {"task": "classification", "train": {"epochs": 10, "learning_rate": 1e-4}},
    "multi_label": {"task": "multi_label", "train": {"epochs": 15, "learning_rate": 2e-4}},
    "regression": {"task": "regression", "train": {"epochs": 12, "learning_rate": 1e-4}},
    "entities": {"task": "entities", "train": {"epochs": 12, "batch_size": 16, "learning_rate": 3e-4}},
    "qa": {"task": "qa", "train": {"epochs": 12, "batch_size": 16, "learning_rate": 2e-4}},
}
"""Task and settings that suit the few hundred rows of each sample; everything else is as by default."""

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
    "sentence_pairs": (
        ("The shop shuts at six.", "You cannot buy anything there after six o'clock."),
        ("The shop shuts at six.", "The bus to the coast takes two hours."),
        ("She learned Polish from her neighbour.", "Her neighbour taught her to speak Polish."),
    ),
    "multi_label": (
        "Tiny room, but the breakfast was superb.",
        "Two steps from the beach and worth every cent.",
        "We came by train, in heavy rain.",
    ),
    "regression": (
        "Water is pouring through the kitchen ceiling right now!",
        "The lamp in the cellar flickers a little.",
        "Could the hallway be painted some day?",
    ),
    "entities": (
        "Ada Novak moved from Lisbon to Ljubljana in 1998.",
        "Heron Airways will open an office in Oslo on 3 May.",
        "The kettle has begun to sing.",
    ),
    "qa": (
        {"question": "Who crossed the bay?", "context": CONTEXT},
        {"question": "Where was the boat found?", "context": CONTEXT},
        {"question": "When may children sit in it?", "context": CONTEXT},
    ),
}


METHODS = ("full", "head", "lora", "adapter")
"""Compared by the demo."""

SEEDS = (0,)
"""One for each."""

COMPARED = {"epochs": 5, "batch_size": 16}
"""How each of them is trained: all in less than three minutes, on two cores."""


def demo_of_methods(folder: Path) -> None:
    """Compare four methods on a sample, with one seed; print what came out, and answer three texts with the one that
    validation likes best."""
    name = "classification"
    recipe = Recipe.make(task=name, data=str(samples.path(name)), train=COMPARED)
    _refuse_other_comparison(folder, recipe)
    console = Console(stderr=True)
    with live(Display(folder, METHODS, "accuracy", COMPARED["epochs"]), console):
        compare(
            recipe,
            methods=METHODS,
            seeds=SEEDS,
            trials=1,
            forgetting=False,
            engine="here",
            output=folder,
            overwrite=True,
            silent=console.is_terminal,
        )
    found = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    _print_entries(found)
    best = found["inside"]["best"]
    run = load_run(folder / best["folder"])
    print(f"\n{best['candidate']}, which validation likes best, answers:")
    _print_answers(name, run)
    print(f"\nThe report, with plots and errors: {folder / 'report.html'}")
    print("One seed shows no difference between methods; five do, on your own rows:")
    print("  nlp-transfer compare --task classification --data YOUR.csv --output runs/compare")


def _print_entries(found: dict[str, Any]) -> None:
    """A line for every candidate and baseline, the best first."""
    scale, entries = Scale(points=True), found["sizes"][0]["entries"]
    print(f"\n{found['rows']['train']} rows to train, {found['rows']['test']} to judge by; accuracy in points.\n")
    longest = max(len(entry["candidate"]) for entry in entries)
    print(f"{'':<{longest}}{'accuracy':>9}  {'95 %, over rows':>16}  {'training':>9}  {'stored':>8}")
    for entry in sorted(entries, key=lambda entry: -(entry["spread"]["mean"] or 0.0)):
        spread, costs = entry["spread"], entry["costs"]
        figures = (f"{scale.score(spread['mean']):>9}", f"{scale.interval(spread['bootstrap']):>16}")
        spent = (f"{duration(costs.get('train_seconds')):>9}", f"{size(costs.get('stored_bytes')):>8}")
        print(f"{entry['candidate']:<{longest}}{'  '.join((*figures, *spent))}")


def _print_answers(name: str, run: Run) -> None:
    """What a run says to the texts of its demo."""
    if name == "qa":
        print(f"{CONTEXT}\n")
    for asked, answer in zip(TEXTS[name], run.predict(list(TEXTS[name])), strict=True):
        if isinstance(asked, dict):
            print(asked["question"], *answer.lines(), sep="\n  ")
        else:
            first, *more = answer.words(digits=2)
            print("  ".join([f"{first:<10} {' '.join(more)}", *([asked] if isinstance(asked, str) else asked)]))


def _refuse_other_comparison(folder: Path, recipe: Recipe) -> None:
    """A demo replaces the one before it, and nothing that a person compared.

    Raises:
        RequestError: where the folder holds a comparison of other rows, methods or seeds.
    """
    if not (folder / protocol.NAME).is_file():
        return
    try:
        there = read_json(folder / protocol.NAME)
        labels = tuple(each["label"] for each in there["candidates"])
        found = there["data"]["fingerprint"], labels, tuple(there["seeds"])
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != (layout.read(recipe)[0].fingerprint, METHODS, SEEDS):
        raise RequestError(f"{folder} holds a comparison that is no demo: name another folder with --output.")


def _refuse_other_run(folder: Path, recipe: Recipe) -> None:
    """A demo replaces the one before it, and no other training.

    Raises:
        RequestError: where the folder holds a run on other data.
    """
    if not (folder / "recipe.yaml").is_file():
        return
    try:
        source = Recipe.read(folder / "recipe.yaml").data.source
    except RequestError:
        source = None
    if source != homely(recipe.data.source):
        raise RequestError(f"{folder} holds a run that is no demo: name another folder with --output.")


def demo(name: str | None = None, output: str | Path | None = None) -> None:
    """Train on a sample, print the scores, and answer three texts that are in no split.

    Args:
        name: a task, or `sentence_pairs`: classification of two texts; None: four methods are compared.
        output: the folder of what comes out; unset: `runs/demo`, or `runs/demo-` and the task.

    Raises:
        RequestError: for a task without a demo, or a folder that holds anything but an earlier demo.
    """
    if name is None:
        demo_of_methods(Path(output or "runs/demo"))
        return
    if name not in RECIPES:
        raise RequestError(f'there is no demo for "{name}". {did_you_mean(name, RECIPES)}')
    recipe = Recipe.make(data=str(samples.path(name)), **RECIPES[name])
    folder = Path(output or f"runs/demo-{name}")
    _refuse_other_run(folder, recipe)
    run = fine_tune(recipe, output=folder, overwrite=True)
    run.write_page()
    metric = run.task.primary.metric
    low, high = run.report["intervals"]["test"][metric]
    rows = run.report["data"]["rows"]
    print(f"\nTrained on {rows['train']} rows in {run.report['time']['train_seconds']:.0f} s.")
    title = f"Test {metric.replace('_', ' ')}"
    print(f"{title} {run.scores['test'][metric]:.3f} (95 % {low:.3f} to {high:.3f}, {rows['test']} rows).\n")
    _print_answers(name, run)
    print(f"\nThe run: {run.folder}/ (report.html, README.md, model/). Ask it more:")
    again = {1: '"your own text"', 2: '"your own text" "another"'}[len(run.task.asked_columns)]
    if name == "qa":
        again = '--question "Your own question?" --context-file article.txt'
    print(f"  nlp-transfer predict {run.folder} {again}")
