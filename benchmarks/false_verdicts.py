"""How often a comparison calls methods different that are not, and finds the differences it says it would find: simulated."""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats
from statsmodels.stats.multitest import multipletests

from nlp_transfer.comparison.drawing import DRAWS, Scores
from nlp_transfer.comparison.statistics import ALPHA, differences

FILE = Path(__file__).resolve().parent / "results" / "false-verdicts.json"
REFERENCE, CANDIDATES = "reference", ("a", "b", "c", "d")
FACTOR = 1.5
"""The true difference is the printed smallest detectable one times this."""


@dataclass(frozen=True)
class Setting:
    """A world in which methods are compared: what moves whether a row is answered rightly.

    A row is right where `ease + row + seed + method on row + rest` is above zero; all but `ease` are normal with mean zero.
    """

    seeds: int
    rows: int
    seed: float
    """Deviation between seeds of one method."""
    method_on_row: float
    """Deviation between methods on a row, the same for all seeds."""
    rest: float
    """Deviation between seeds on a row."""
    ease: float = 1.3
    row: float = 1.0
    """Deviation between rows, the same for all methods."""

    @property
    def deviation(self) -> float:
        """Of everything together."""
        return float(np.sqrt(self.row**2 + self.seed**2 + self.method_on_row**2 + self.rest**2))

    @property
    def accuracy(self) -> float:
        """The true accuracy of every method, over all rows and seeds there could be."""
        return float(stats.norm.cdf(self.ease / self.deviation))


WORLDS = {
    "rows differ": {"seed": 0.05, "method_on_row": 0.3, "rest": 0.3},
    "seeds differ": {"seed": 0.2, "method_on_row": 0.1, "rest": 0.3},
    "both differ": {"seed": 0.1, "method_on_row": 0.3, "rest": 0.5},
    "hardly anything differs": {"seed": 0.02, "method_on_row": 0.05, "rest": 0.1},
}
SIZES = ((5, 100), (5, 500), (5, 2000), (10, 500))
"""Seeds and rows."""


def main() -> None:
    arguments = parse()
    console, found = Console(stderr=True, highlight=False), {}
    for seeds, rows in SIZES:
        for world, deviations in WORLDS.items():
            name = f"{seeds} seeds, {rows} rows, {world}"
            started = time.perf_counter()
            found[name] = measured(Setting(seeds, rows, **deviations), arguments.comparisons, arguments.seed)
            console.print(f"{name}: {said(found[name])}, {time.perf_counter() - started:.0f} s")
    from common import describe_environment  # which turns reuse off, and tests import this module

    written = {"comparisons": arguments.comparisons, "draws": DRAWS, "factor": FACTOR, "settings": found}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({**written, "environment": describe_environment()}, indent=2) + "\n", encoding="utf-8")
    show(found)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--comparisons", type=int, default=2000, help="of every setting")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measured(setting: Setting, comparisons: int, seed: int = 0) -> dict[str, Any]:
    """Shares of comparisons with a false verdict, by rule, and of true differences that were found.

    Every true difference is one that an earlier comparison of the same kind printed, times FACTOR: whoever reads the figure
    has but one comparison to read it from.
    """
    # multipletests collects garbage at every call, which takes longer than all else here
    gc.collect()
    gc.freeze()
    generator, weights = np.random.default_rng(seed), row_weights(setting.rows)
    false: dict[str, int] = {}
    missed, printed = 0, []
    for _ in range(comparisons):
        scores = simulated(setting, generator, weights)
        verdicts = differences(scores, REFERENCE)
        rules = {"two-level t": [each.finding != "no detectable difference" for each in verdicts], **others(scores)}
        for rule, called in rules.items():
            false[rule] = false.get(rule, 0) + any(called)
        least = verdicts[0].detectable or 0.0
        printed.append(least)
        verdicts = differences(simulated(setting, generator, weights, FACTOR * least), REFERENCE)
        missed += verdicts[0].finding != "worse"
    gc.unfreeze()
    return {
        "setting": asdict(setting),
        "false_verdicts": {rule: count / comparisons for rule, count in false.items()},
        "found": 1 - missed / comparisons,
        "detectable": float(np.median(printed)),
    }


def simulated(
    setting: Setting, generator: np.random.Generator, weights: np.ndarray, difference: float = 0.0
) -> dict[str, Scores]:
    """One comparison of five methods that are equally good, but for the first candidate where there is a difference.

    The rows that it cannot answer are then drawn at random, so that its accuracy is lower by this difference.
    """
    methods = 1 + len(CANDIDATES)
    parts = (
        setting.row * generator.normal(size=(1, 1, setting.rows)),
        setting.seed * generator.normal(size=(methods, setting.seeds, 1)),
        setting.method_on_row * generator.normal(size=(methods, 1, setting.rows)),
        setting.rest * generator.normal(size=(methods, setting.seeds, setting.rows)),
    )
    latent: np.ndarray = sum(parts, start=np.array(setting.ease))
    right = (latent > 0).astype(np.float32)
    right[1] *= generator.random(setting.rows) >= difference / setting.accuracy
    drawn = (right.reshape(-1, setting.rows) @ weights).reshape(methods, setting.seeds, -1)
    seeds = tuple(range(setting.seeds))
    return {
        name: Scores(seeds, right[i].mean(1, dtype=float), drawn[i].T.astype(float), setting.rows)
        for i, name in enumerate((REFERENCE, *CANDIDATES))
    }


def row_weights(rows: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How much each row weighs in the mean of each bootstrap sample (rows, draws): the rows that `statistics.draw` draws."""
    generator = np.random.default_rng(seed)
    counts = [np.bincount(generator.integers(rows, size=rows), minlength=rows) for _ in range(draws)]
    return (np.array(counts, dtype=np.float32) / rows).T


def others(scores: dict[str, Scores]) -> dict[str, list[bool]]:
    """What other rules call different, after Holm too: how far they are from what they promise."""
    p: dict[str, list[float]] = {"bootstrap over rows": [], "bootstrap over seeds and rows": [], "t over seeds": []}
    for name in CANDIDATES:
        pair = scores[name].less(scores[REFERENCE])
        draws, seeds = pair.drawn.shape
        picked = np.random.default_rng(0).integers(seeds, size=(draws, seeds))
        p["bootstrap over rows"].append(share_beyond(pair.drawn.mean(1)))
        p["bootstrap over seeds and rows"].append(share_beyond(np.take_along_axis(pair.drawn, picked, 1).mean(1)))
        deviation = pair.scores.std(ddof=1)
        t = pair.scores.mean() / (deviation / seeds**0.5) if deviation else 0.0
        p["t over seeds"].append(float(2 * stats.t.sf(abs(t), seeds - 1)))
    return {rule: list(multipletests(values, ALPHA, method="holm")[0]) for rule, values in p.items()}


def share_beyond(means: np.ndarray) -> float:
    """Two-sided p value of percentiles: twice the smaller share of the draws on either side of zero."""
    return min(1.0, 2 * float(np.mean(means <= 0)), 2 * float(np.mean(means >= 0)))


def said(figures: dict[str, Any]) -> str:
    false = ", ".join(f"{rule} {100 * share:.1f} %" for rule, share in figures["false_verdicts"].items())
    return f"false verdicts: {false}; found {100 * figures['found']:.1f} % of {100 * FACTOR * figures['detectable']:.1f} points"


def show(found: dict[str, Any]) -> None:
    rules: Sequence[str] = list(next(iter(found.values()))["false_verdicts"])
    table = Table(title="Comparisons of five equal methods with a false verdict, and true differences found (%)")
    table.add_column("setting")
    for column in (*rules, "found", "printed, points"):
        table.add_column(column, justify="right")
    for name, each in found.items():
        shares = [f"{100 * each['false_verdicts'][rule]:.1f}" for rule in rules]
        table.add_row(name, *shares, f"{100 * each['found']:.1f}", f"{100 * each['detectable']:.1f}")
    Console(width=150, highlight=False).print(table)


if __name__ == "__main__":
    main()
