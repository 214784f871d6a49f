"""The protocol of a comparison: what holds for all its runs, kept beside their results and printed before they begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nlp_transfer.backbone import ModelSettings
from nlp_transfer.comparison.grid import Candidate, Grid
from nlp_transfer.comparison.layout import Layout
from nlp_transfer.comparison.search import STEP, WIDENINGS
from nlp_transfer.configurations import read_json
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import write_json

NAME = "protocol.json"

SCHEMA = 1
"""Version of protocol.json and results.jsonl."""

WHERE = ("source", "validation", "test", "subset", "revision")
"""Settings that say where the rows lie: the fingerprint says what they are."""


@dataclass(frozen=True)
class Protocol:
    """What is run, on which rows, and how it is judged."""

    grid: Grid
    layout: Layout
    baselines: Mapping[str, str]
    """What each baseline is called; none where none are wanted or the task has none."""
    forgetting: bool
    notes: tuple[str, ...] = field(default=())
    """What a reader must know from the beginning: why there are no baselines, say."""
    flags: tuple[str, ...] = field(default=())
    """What a reader must know of what happened: grids that were widened, say."""

    def to_json(self) -> dict[str, Any]:
        """What stands in protocol.json."""
        base, rows = self.grid.base, self.layout.rows
        values = base.to_dict()
        metric, higher = base.task.primary
        return {
            "schema": SCHEMA,
            "task": values["task"],
            "metric": metric,
            "higher_is_better": higher,
            "data": asdict(self.layout),
            "reference": self.grid.reference,
            "candidates": [
                {
                    "label": each.label,
                    "method": replace(base, method=each.method).to_dict()["method"],
                    "model": asdict(each.model),
                }
                for each in self.grid.candidates
            ],
            "train_sizes": self.grid.sizes(rows["train"]),
            "seeds": list(self.grid.seeds),
            "trials": self.grid.trials,
            "trial_rows": self.grid.trial_rows,
            "baselines": dict(self.baselines),
            "forgetting": self.forgetting,
            "recipe": {name: values[name] for name in ("data", "columns", "head", "train", "seed")},
            "notes": list(self.notes),
            "flags": list(self.flags),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Protocol:
        """A protocol as `to_json` gave it."""
        base = Recipe.make(task=values["task"], **values["recipe"])
        layout = Layout(**values["data"])
        candidates = tuple(
            Candidate(
                each["label"],
                Recipe.make(task=values["task"], data="rows", method=each["method"]).method,
                ModelSettings(**each["model"]),
            )
            for each in values["candidates"]
        )
        sizes = tuple(values["train_sizes"]) if values["train_sizes"] != [layout.rows["train"]] else ()
        grid = Grid(base, candidates, tuple(values["seeds"]), sizes, values["trials"], values.get("trial_rows"))
        return cls(
            grid, layout, values["baselines"], values["forgetting"], tuple(values["notes"]), tuple(values["flags"])
        )

    def with_more(self, other: Protocol, folder: Path) -> Protocol:
        """This protocol, with the candidates, seeds, sizes and baselines of another that it lacks.

        Raises:
            RequestError: where the other differs in what cannot be added.
        """
        here, there = _fixed(other), _fixed(self)
        differing = [
            f"{name} is {there[name]!r} there and {here[name]!r} here" for name in here if here[name] != there[name]
        ]
        if differing:
            raise RequestError(
                f"{folder} holds another comparison: {'; '.join(differing)}. Methods, models, seeds and training sizes can be "
                "added to it; for all else name another folder, or replace it with --overwrite."
            )
        grid, more = self.grid, other.grid
        rows = self.layout.rows["train"]
        sizes = tuple(dict.fromkeys([*grid.sizes(rows), *more.sizes(rows)]))
        both = replace(
            grid,
            candidates=grid.candidates + _new(grid.candidates, more.candidates),
            seeds=tuple(dict.fromkeys([*grid.seeds, *more.seeds])),
            train_sizes=() if sizes == (rows,) else sizes,
        )
        notes = tuple(dict.fromkeys([*self.notes, *other.notes]))
        return replace(self, grid=both, baselines=self.baselines or other.baselines, notes=notes)

    def sentences(self) -> list[str]:
        """The protocol for a person, before anything runs."""
        grid, rows = self.grid, self.layout.rows
        sizes = grid.sizes(rows["train"])
        metric, higher = grid.base.task.primary
        train = grid.base.train
        length = f"{train.max_steps} steps" if train.max_steps else f"{train.epochs:g} epochs"
        fewer = f"on {grid.trial_rows:,} rows at most, " if grid.trial_rows else ""
        search = (
            f"learning rate: {grid.trials} trials for each, {fewer}a factor of {STEP:g} apart around the method's default, "
            f"judged on validation alone with seed {grid.seeds[0]}; up to {WIDENINGS} more where the best stands at the edge."
            if grid.trials > 1
            else "learning rate: no search, the method's default or what is given."
        )
        return [
            f"candidates: {listing([each.label for each in grid.candidates], 40)}; held against: {grid.reference}.",
            f"rows: {listing(sizes)} to train, {rows['validation']} to choose by, {rows['test']} to judge by, the same for all; "
            "cut once.",
            search,
            f"runs: {len(grid.candidates) * len(sizes) * len(grid.seeds)}, seeds {listing(grid.seeds)}, {length} each; the same "
            "rows in the same order for the same seed.",
            f"chosen by {metric} ({'higher' if higher else 'lower'} is better) on validation; the test rows are read once per "
            "run, at its end.",
            f"baselines: {listing(self.baselines.values())}." if self.baselines else "baselines: none.",
            *self.notes,
        ]

    def write(self, folder: Path) -> None:
        """Write protocol.json."""
        write_json(folder / NAME, self.to_json())


def read(folder: Path) -> Protocol | None:
    """The protocol of the comparison that a folder holds; None where there is none.

    Raises:
        RequestError: for one that is damaged, or of another version.
    """
    try:
        values = read_json(folder / NAME)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{folder / NAME} cannot be read: {error}. Replace the comparison with --overwrite."
        ) from error
    if values.get("schema") != SCHEMA:
        raise RequestError(
            f"{folder / NAME} is of version {values.get('schema')}, expected {SCHEMA}: name another folder."
        )
    try:
        return Protocol.from_json(values)
    except RequestError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(
            f"{folder / NAME} is no protocol that compare wrote ({type(error).__name__}: {error}): name another folder."
        ) from error


def _new(known: Sequence[Candidate], more: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that are not known, whatever they are called; with the name of its model where another has that label."""
    taken, found = {each.label for each in known}, []
    for each in more:
        if (each.method, each.model) in [(one.method, one.model) for one in known]:
            continue
        whole = f"{each.model.name} {each.label.removeprefix(f'{each.model.name} ')}"
        label = next(one for one in (each.label, whole, f"{whole} at {each.model.revision}") if one not in taken)
        taken.add(label)
        found.append(replace(each, label=label))
    return tuple(found)


def _fixed(protocol: Protocol) -> dict[str, Any]:
    """What all runs of a comparison have in common, by dotted names."""
    values = protocol.to_json()
    found = {f"task.{name}": value for name, value in values["task"].items()}
    found |= {"trials": values["trials"], "trial_rows": values["trial_rows"]}
    found |= {"forgetting": values["forgetting"], "seed": values["recipe"]["seed"]}
    found["the data's fingerprint"] = values["data"]["fingerprint"]
    for section in ("head", "train", "data"):
        found |= {f"{section}.{name}": value for name, value in values["recipe"][section].items() if name not in WHERE}
    return found
