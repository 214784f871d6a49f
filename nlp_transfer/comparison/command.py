"""The words of `nlp-transfer compare`, as one call."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nlp_transfer import flags
from nlp_transfer.comparison.engine import ENGINES
from nlp_transfer.comparison.grid import METHODS, SEEDS
from nlp_transfer.errors import RequestError, did_you_mean, readable
from nlp_transfer.recipe import Recipe, help_text

OWN: dict[str, tuple[type, str]] = {
    "methods": (str, f"What is compared, with settings: full,head,lora:rank=4,alpha=8. Default: {','.join(METHODS)}."),
    "seeds": (str, f"One run of every method for each. Default: {','.join(map(str, SEEDS))}."),
    "train-sizes": (str, "Training rows, drawn by the seed: 100,1000. Default: all."),
    "models": (str, "Backbones. Default: --model."),
    "trials": (str, "Learning rates tried per method and size; 1: no search. Default: 3."),
    "trial-rows": (str, "Training rows of a trial, at most; fewer cost less. Default: as many as the runs."),
    "from-scratch": (bool, "Add the same architecture with random weights."),
    "no-baselines": (bool, "Leave the baselines out."),
    "no-forgetting": (bool, "Do not measure what the backbone forgot."),
    "workers": (str, "Processes at once. Default: 1."),
    "engine": (str, f"Where jobs run: {', '.join(ENGINES)}. Default: processes."),
    "output": (str, "The comparison's folder; unset: a new one under runs/."),
    "overwrite": (bool, "Replace the comparison that the folder holds."),
    "resume": (bool, "Go on with the comparison that --output holds, as it was asked for."),
    "quiet": (bool, "Show no progress."),
    "trust-remote-code": (str, "ORG/NAME@COMMIT: run the code of this model of the Hub; you should have read it."),
}
"""Flags that a recipe does not have: whether they have a value, and their help."""

COUNTS = {"trials": "trials", "trial-rows": "trial_rows", "workers": "workers"}
LISTS = {"seeds": "seeds", "train-sizes": "train_sizes"}
"""Flags that are whole numbers, and lists of them, with the arguments that they are."""

DECIDED = (
    "methods",
    "seeds",
    "train-sizes",
    "models",
    "trials",
    "trial-rows",
    "from-scratch",
    "no-baselines",
    "no-forgetting",
)
"""Flags that say what a comparison is; those that are left say how it is done."""


def options(arguments: Sequence[str], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `compare` takes, from the words of a command line.

    Args:
        arguments: flags, such as `--methods full,lora --train.epochs 2`.
        defaults: values of the recipe under the flags and the `--config` file.

    Raises:
        RequestError: for flags that are unknown or wrong.
    """
    if {"-h", "--help"} & set(arguments):
        print(_help([word for word in arguments if word not in ("-h", "--help")], defaults), end="")
        raise SystemExit(0)
    own, rest = flags.apart(arguments, {name: kind for name, (kind, _) in OWN.items()})
    given = set(own)
    own = {name.replace("trust-remote-code", "trust_remote_code"): value for name, value in own.items()}
    found: dict[str, Any] = {"silent": own.pop("quiet", False), "from_scratch": own.pop("from-scratch", False)}
    found |= {part: not own.pop(f"no-{part}", False) for part in ("baselines", "forgetting")}
    found |= {argument: _numbers(name, own.pop(name), one=True)[0] for name, argument in COUNTS.items() if name in own}
    found |= {argument: _numbers(name, own.pop(name)) for name, argument in LISTS.items() if name in own}
    if own.get("resume") and not rest and defaults is None:
        if more := [flag for flag in DECIDED if flag in given]:
            raise RequestError(
                f"--resume goes on with what was asked for, and does not read --{more[0]}: to add to a comparison, give its "
                "whole command with what is to be added."
            )
        return {"recipe": None, **found, **own}
    _refuse_unknown(rest)
    said: list[str] = []
    recipe = Recipe.from_flags(rest, defaults, said)
    for sentence in said:
        print(readable(sentence), file=sys.stderr)
    return {"recipe": recipe, **found, **own}


def _refuse_unknown(words: Sequence[str]) -> None:
    """Refuse flags that neither a comparison nor a recipe has, and those of a recipe that a comparison decides itself."""
    sections = [field.name for field in dataclasses.fields(Recipe)]
    for word in words:
        flag = word.removeprefix("--").partition("=")[0]
        section = flag.partition(".")[0]
        if section == "method":
            raise RequestError(
                f"--{flag}: compare takes several methods, with their settings: --methods full,lora:rank=4."
            )
        if section not in (*sections, "config"):
            raise RequestError(
                f"nlp-transfer compare has no --{flag}. {did_you_mean(flag, [*OWN, *sections, 'config'])}"
            )


def _numbers(name: str, value: str, one: bool = False) -> tuple[int, ...]:
    """Whole numbers with commas."""
    words = [word.strip() for word in value.split(",")]
    if not all(word.isdecimal() for word in words) or (one and len(words) > 1):
        raise RequestError(f"--{name} is {value}: expected {'a whole number' if one else 'whole numbers with commas'}.")
    return tuple(map(int, words))


def _help(words: Sequence[str], defaults: Mapping[str, Any] | None) -> str:
    """The flags of a comparison, and those of the recipe that all its runs have in common."""
    lines = [
        f"  --{name}{'' if kind is bool else ' ' + name.upper()}\n        {text}" for name, (kind, text) in OWN.items()
    ]
    _, rest = flags.apart(words, {name: kind for name, (kind, _) in OWN.items()})
    recipe = help_text(rest, defaults)
    return "\n".join(["usage: nlp-transfer compare [options] [settings of nlp-transfer train]\n", *lines, "", recipe])
