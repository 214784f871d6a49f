"""Writes the tables of docs/methods.md from the file that `benchmarks/method_scores.py` wrote."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common import Figures, stop
from method_scores import CASES, FILE, MEASURED, definition, trial_rates

from nlp_transfer.comparison.wording import table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "methods.md"
MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

NAMES = {
    "adapter-houlsby": "`adapter`, `houlsby`",
    "adapter-pfeiffer": "`adapter`, `pfeiffer`",
    "freeze": "`freeze`, 4 of 6",
    "head-own": "`head` with `--head.pooling own`",
    "peft": "`peft`, with its default `LORA`",
}
"""What is shown under another name than its own; whatever else has a dash in its name is a trial, and not shown."""

Runs = Mapping[tuple[str, str, float, int], Figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where the page says otherwise")
    arguments = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    written = filled(text, finished(FILE))
    if arguments.check and written != text:
        stop(f"{PAGE} and {FILE} disagree: run python benchmarks/method_table.py.", 1)
    PAGE.write_text(written, encoding="utf-8")


def finished(file: Path) -> Runs:
    """The figures of every run whose case and method still mean what they did, by case, method, rate and seed."""
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines()) if file.exists() else []
    return {
        (run["case"], run["method"], run["learning_rate"], run["seed"]): run["figures"]
        for run in lines
        if run["case"] in CASES
        and run["method"] in MEASURED
        and run["definition"] == definition(run["case"], run["method"])
    }


def filled(text: str, runs: Runs) -> str:
    """The page with the tables that belong to these runs."""
    return MARK.sub(lambda found: found[1] + of_case(found[2], runs) + found[4], text)


def of_case(case: str, runs: Runs) -> str:
    """A line for each method all of whose trials and seeds there are, the best first."""
    lines: list[tuple[float, list[str]]] = []
    for method in MEASURED:
        name = NAMES.get(method, "" if "-" in method else f"`{method}`")
        rates = trial_rates(case, method)
        trials = [runs.get((case, method, rate, 0)) for rate in rates]
        if not name or None in trials:
            continue
        # chosen as the benchmark chooses: by validation, the first of equals
        rate = max(zip(trials, rates, strict=True), key=lambda trial: (trial[0] or {})["validation"])[1]
        seeds: list[Any] = [runs.get((case, method, rate, seed)) for seed in range(CASES[case].seeds)]
        if None in seeds:
            continue
        first, scores = seeds[0], [100 * run["test"] for run in seeds]
        part = first["trainable"] / first["total"]
        learn = f"{first['trainable']:,}" + ("" if part == 1 else f" ({100 * part:.2g} %)")
        costs = [f"{mean(run['cpu_seconds'] for run in seeds):.0f}", f"{first['stored_bytes']:,}"]
        cells = [name, f"{rate:.1e}".replace("e-0", "e-").replace(".0e", "e")]
        lines.append((mean(scores), [*cells, f"{mean(scores):.1f} ± {stdev(scores):.1f}", learn, *costs]))
    if not lines:
        return "Not measured yet.\n"
    lines.sort(key=lambda line: -line[0])
    return (
        table(["", "rate", "test accuracy", "weights that learn", "CPU s", "bytes"], [cells for _, cells in lines])
        + "\n"
    )


if __name__ == "__main__":
    main()
