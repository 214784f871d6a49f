"""What a comparison runs: candidates, training sizes, seeds, and the protocol that holds for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from nlp_transfer import methods
from nlp_transfer.backbone import ModelSettings
from nlp_transfer.environment import homely
from nlp_transfer.errors import RequestError
from nlp_transfer.flags import Values
from nlp_transfer.methods import Method
from nlp_transfer.recipe import Recipe

METHODS = ("full", "head", "lora", "adapter")
"""Compared where nobody names others."""

SEEDS = (0, 1, 2, 3, 4)
"""Five, the fewest from which a verdict is drawn."""

FROM_SCRATCH = "full from scratch"
"""How the candidate is called that has the same architecture and knows nothing."""


@dataclass(frozen=True)
class Candidate:
    """One way of adapting one model: what a comparison chooses among."""

    label: str
    method: Method
    model: ModelSettings

    def recipe(self, base: Recipe) -> Recipe:
        """A recipe of this method and model, all else as in another."""
        return replace(base, method=self.method, model=self.model)


@dataclass(frozen=True)
class Cell:
    """A candidate at one training size: what a learning rate is searched for."""

    candidate: Candidate
    train_rows: int


@dataclass(frozen=True)
class Grid:
    """Everything that a comparison runs, and what all of it has in common."""

    base: Recipe
    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...] = SEEDS
    train_sizes: tuple[int, ...] = ()
    """Rows to train on; empty: all there are."""
    trials: int = 3
    """Learning rates tried per candidate and training size; 1: no search."""
    trial_rows: int | None = None
    """Rows that a trial trains on, where the training size has more; unset: as many as the runs."""

    def __post_init__(self) -> None:
        labels = [candidate.label for candidate in self.candidates]
        named = {"candidate": labels, "seed": self.seeds, "training size": self.train_sizes}
        for what, values in named.items():
            if twice := [value for value in values if list(values).count(value) > 1]:
                raise RequestError(f"the {what} {twice[0]} is named twice: expected each once.")
        if not labels or not self.seeds:
            raise RequestError(f"nothing to compare: name at least one {'seed' if labels else 'method'}.")
        if self.trials < 1:
            raise RequestError(f"trials is {self.trials}: expected 1 (no search) or more.")
        if self.trial_rows is not None and self.trial_rows < 1:
            raise RequestError(f"trial_rows is {self.trial_rows}: expected 1 or more.")
        train = self.base.train
        if train.learning_rate is not None and self.trials > 1:
            raise RequestError(
                "train.learning_rate would be one rate for all methods, and each needs its own: leave it out, or give "
                "--trials 1, which searches none."
            )
        for name in ("patience", "max_minutes"):
            if getattr(train, name) is not None:
                raise RequestError(
                    f"train.{name} ends some runs earlier than others, and all methods get equal steps: leave it out."
                )

    @property
    def reference(self) -> str:
        """The label that the others are held against: full fine-tuning, or the first where that is not compared."""
        plain = methods.find("full")()
        full = [each.label for each in self.candidates if each.method == plain and not each.model.from_scratch]
        return (full or [self.candidates[0].label])[0]

    def sizes(self, rows: int) -> list[int]:
        """The training sizes, where there are so many rows.

        Raises:
            RequestError: for one that is larger.
        """
        if self.train_sizes and max(self.train_sizes) > rows:
            raise RequestError(
                f"the training size {max(self.train_sizes)} is more than there is: {rows} training rows."
            )
        return list(self.train_sizes or [rows])

    def tried(self, train_rows: int) -> int:
        """The rows that the trials of a training size train on."""
        return min(train_rows, self.trial_rows or train_rows)

    def cells(self, rows: int) -> Iterator[Cell]:
        """Candidates by training sizes."""
        return (Cell(candidate, size) for size in self.sizes(rows) for candidate in self.candidates)


def candidates(
    base: Recipe, chosen: Sequence[Any] | str, models: Sequence[str] | str | None, from_scratch: bool
) -> tuple[Candidate, ...]:
    """Methods by models.

    Args:
        base: says the model where no others are named.
        chosen: methods, as spelled on the command line, as dicts of settings with a name, or as objects.
        models: names of backbones.
        from_scratch: add full fine-tuning of the same architectures with random weights.

    Raises:
        RequestError: for unknown names and settings.
    """
    made = [_method(each, base) for each in (spelled(chosen) if isinstance(chosen, str) else chosen)]
    names = [name.strip() for name in models.split(",")] if isinstance(models, str) else list(models or ())
    backbones = [ModelSettings(homely(name)) for name in names] or [replace(base.model, name=homely(base.model.name))]
    if any(model.from_scratch for model in backbones):
        raise RequestError("model.from_scratch would leave nothing to transfer: leave it out, and add --from-scratch.")
    found = []
    for model in backbones:
        before = f"{model.name} " if len(backbones) > 1 else ""
        found += [Candidate(before + label(method), method, model) for method in made]
        if from_scratch:
            found.append(Candidate(before + FROM_SCRATCH, methods.find("full")(), replace(model, from_scratch=True)))
    return tuple(found)


def spelled(words: str) -> list[str]:
    """The methods of a list such as `full,lora:rank=4,alpha=8,adapter:placement=houlsby`.

    What follows a comma and holds a "=" before any ":" goes on with the settings before it; a list in a setting stands in
    brackets, `lora:targets=[query,value]`.
    """
    if words.count("[") != words.count("]"):
        raise RequestError(
            f'"{words}" has a bracket without its other: expected a spelling such as lora:targets=[query,value].'
        )
    found: list[str] = []
    for word in re.split(r",(?![^\[]*\])", words):
        goes_on = re.match(r"\s*\w+\s*=", word)
        if goes_on and found:
            found[-1] += ("," if ":" in found[-1] else ":") + word.strip()
        elif word.strip():
            found.append(word.strip())
    return found


def _method(chosen: Any, base: Recipe) -> Method:
    """A method from a spelling, a dict or itself."""
    if isinstance(chosen, str):
        name, _, rest = chosen.partition(":")
        settings: Values = {"name": name.strip()}
        for word in re.split(r",(?![^\[]*\])", rest) if rest else ():
            setting, equals, value = word.partition("=")
            if not equals or not value:
                raise RequestError(
                    f'"{chosen}" is no method with settings: expected a spelling such as lora:rank=4,alpha=8.'
                )
            settings[setting.strip()] = value.strip()
        return _checked(settings, base)
    if isinstance(chosen, dict):
        return _checked(dict(chosen), base)
    if isinstance(chosen, Method):
        return chosen
    raise RequestError(f"{chosen!r} is no method: expected a name, a dict with a name, or a method.")


def _checked(settings: Values, base: Recipe) -> Method:
    """A method from its name and settings, answered as flags are where it is wrong."""
    task: Any = {"name": base.task.name, **base.task.settings()}
    return Recipe.make(task=task, data="rows", method=settings).method


def label(method: Method) -> str:
    """A method as the command line spells it: its name, and what differs from its defaults."""
    default = type(method)()
    differing = []
    for field in fields(method):
        if (value := getattr(method, field.name)) != getattr(default, field.name):
            differing.append(f"{field.name}={_written(value)}")
    return ":".join([method.name, *([",".join(differing)] if differing else [])])


def _written(value: Any) -> str:
    """The value of a setting as a flag has it."""
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
