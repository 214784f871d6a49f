"""Writes the tables and plots of docs/benchmarks.md from what `methods.py`, `task_scores.py` and `qa.py` beside it wrote."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common import stop
from methods import CASES, FOLDER
from qa_table import answers_table
from task_table import tasks_table

from nlp_transfer.comparison import curves, plots
from nlp_transfer.comparison.analysis import Analysis, Entry, Size
from nlp_transfer.comparison.wording import Scale, count, duration, escaped, size, table
from nlp_transfer.pages.plots import standalone

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
MARK = re.compile(r"(<!-- figures: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CLAIMED = 0.004
"""Houlsby 2019: adapters are within 0.4 points of full fine-tuning, with 3.6 % of its weights."""
TUNERS = ("lora", "adapter", "adapter:placement=houlsby")
OF_FULL = 0.036


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where the page says otherwise")
    arguments = parser.parse_args()
    kept = results(FOLDER)
    for file, text in files(PAGE.read_text(encoding="utf-8"), kept).items():
        if not arguments.check:
            (DOCS / file).parent.mkdir(exist_ok=True)
            (DOCS / file).write_text(text, encoding="utf-8")
        elif not (DOCS / file).is_file() or (DOCS / file).read_text(encoding="utf-8") != text:
            stop(f"{DOCS / file} and {FOLDER} disagree: run python benchmarks/methods_page.py.", 1)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What was measured, by case, in the order of the cases."""
    known = {name: folder / f"{name}.json" for name in CASES}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in known.items() if file.is_file()}


def files(page: str, kept: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The page with its tables, and the plots beside it, by their places below docs/."""
    found = {}
    for name, each in kept.items():
        analysis = built(Analysis, each["analysis"])
        several = len(analysis.sizes) > 1
        plot = (
            curves.by_size(analysis, Scale.of(analysis))
            if several
            else plots.scores(analysis, analysis.sizes[0], Scale.of(analysis))
        )
        found[f"benchmarks/{name}.svg"] = standalone(plot.wide) + "\n"
    said = {name: section(name, each) for name, each in kept.items()}
    said |= {"claims": claims(kept), "tasks": tasks_table(), "answers": answers_table()}
    text = MARK.sub(lambda mark: mark[1] + said.get(mark[2], "Not measured yet.\n") + mark[4], page)
    return {"benchmarks.md": text, **found}


def section(name: str, kept: Mapping[str, Any]) -> str:
    """Everything of one comparison."""
    analysis = built(Analysis, kept["analysis"])
    scale, train = Scale.of(analysis), kept["protocol"]["recipe"]["train"]
    rows, sizes = analysis.rows, len(analysis.sizes)
    fewer = f" on {tried:,} rows at most" if (tried := kept["protocol"]["trial_rows"]) else ""
    metric = analysis.metric.replace("_", " ")
    length = f"{train['max_steps']} steps" if train["max_steps"] else f"{train['epochs']:g} epochs"
    said = (
        f"{rows['train']:,} rows to train, {rows['validation']:,} to choose by, {rows['test']:,} to judge by; "
        f"{len(analysis.seeds)} seeds; {length}; rates from {analysis.trials} trials{fewer}; {metric}"
        f"{' in points' if scale.points else ''}."
    )
    drawn = f"![{escaped(CASES[name].title)}](benchmarks/{name}.svg)"
    figures = by_size(analysis, scale) if sizes > 1 else by_candidate(analysis, analysis.sizes[0], scale)
    machine = kept["environment"]
    where = f"{machine['device_name']}, {machine['cores']} cores; " + ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("torch", "transformers", "peft")
    )
    flags = [f"- {escaped(flag)}" for flag in analysis.flags]
    return "\n\n".join(part for part in [said, drawn, figures, "\n".join(flags), f"{where}."] if part) + "\n"


def by_candidate(analysis: Analysis, of: Size, scale: Scale) -> str:
    """A line for each candidate and baseline, the best first."""
    differences = {each.candidate: each for each in of.differences}
    names = ("", "rate", "mean", "95 %", "less full", "95 %", "weights that learn", "training", "memory", "disk")
    lines = []
    for entry in ordered(analysis, of):
        held, costs = differences.get(entry.candidate), entry.costs
        lines.append(
            [
                called(entry),
                f"{entry.learning_rate:g}" if entry.learning_rate else "",
                scale.score(entry.spread.mean),
                scale.interval(entry.spread.interval),
                scale.signed(held.spread.mean) if held else "",
                scale.interval(held.spread.interval) if held else "",
                weights(entry, of),
                duration(costs.get("train_seconds")),
                size(costs.get("peak_rss_bytes")),
                size(costs.get("disk_bytes")),
            ]
        )
    return table(names, lines)


def by_size(analysis: Analysis, scale: Scale) -> str:
    """A line for each candidate and baseline, a column for each number of training rows."""
    sizes = sorted(analysis.sizes, key=lambda each: each.train_rows)
    named = list(dict.fromkeys(called(entry) for each in analysis.sizes for entry in ordered(analysis, each)))
    scores = {(called(entry), each.train_rows): entry for each in sizes for entry in each.entries}
    lines = []
    for name in named:
        its = [scores.get((name, each.train_rows)) for each in sizes]
        lines.append([name, *(with_interval(entry, scale) if entry else "" for entry in its)])
    return table(["training rows", *(count(each.train_rows) for each in sizes)], lines)


def claims(kept: Mapping[str, dict[str, Any]]) -> str:
    """Of what Houlsby 2019 and LoRA claim, what these rows say: every tuner on every set, beside full fine-tuning."""
    lines, held = [], []
    for name in ("trec", "sst2", "rte", "conll2003", "squad_wiki"):
        if name not in kept:
            continue
        analysis = built(Analysis, kept[name]["analysis"])
        scale, of = Scale.of(analysis), analysis.sizes[0]
        for each in of.differences:
            if each.candidate not in TUNERS or each.spread.mean is None:
                continue
            entry = of.entry(each.candidate)
            within = each.spread.mean >= -CLAIMED
            few = share(entry, of) <= OF_FULL
            held.append(within and few)
            lines.append(
                [
                    CASES[name].title,
                    called(entry),
                    f"{share(entry, of):.1%}",
                    scale.signed(each.spread.mean),
                    scale.interval(each.spread.interval),
                    "yes" if within else "no",
                ]
            )
    if not lines:
        return "Not measured yet.\n"
    names = ("", "tuner", "of full's weights", "less full", "95 %", "within 0.4 points")
    counted = f"{sum(held)} of {len(held)} are within 0.4 points of full fine-tuning with 3.6 % of its weights or less."
    return f"{table(names, lines)}\n\n{counted}\n"


def ordered(analysis: Analysis, of: Size) -> list[Entry]:
    """The entries of a size, the best first."""
    known = [entry for entry in of.entries if entry.spread.mean is not None]
    return sorted(known, key=lambda entry: entry.spread.mean or 0.0, reverse=analysis.higher_is_better)


def called(entry: Entry) -> str:
    """The name of an entry in a table."""
    return f"{escaped(entry.candidate)} (baseline)" if entry.baseline else f"`{entry.candidate}`"


def with_interval(entry: Entry, scale: Scale) -> str:
    """A mean, with its interval where there is one."""
    between = f" ({scale.interval(entry.spread.interval)})" if entry.spread.interval else ""
    return f"{scale.score(entry.spread.mean)}{between}"


def weights(entry: Entry, of: Size) -> str:
    """How many weights outside the head learn, and their share of those that learn in full fine-tuning."""
    if "trainable" not in entry.costs:
        return ""
    return f"{entry.costs['trainable']:,.0f} ({share(entry, of):.2%})"


def share(entry: Entry, of: Size) -> float:
    """Weights that learn, the head aside, over those of full fine-tuning."""
    return entry.costs["trainable"] / of.entry("full").costs["trainable"]


def built(kind: Any, value: Any) -> Any:
    """A value of JSON as the type that a field says: dataclasses, tuples, mappings, and what JSON has itself."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else built(next(each for each in inside if each is not type(None)), value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: built(hint, value[name]) for name, hint in hints.items()})  # type: ignore[operator]
    if origin is tuple:
        return tuple(_members(inside, value))
    if isinstance(value, dict):
        return {name: built(inside[1], each) for name, each in value.items()} if inside else value
    return value


def _members(inside: tuple[Any, ...], values: list[Any]) -> Iterator[Any]:
    kinds = [inside[0]] * len(values) if inside[-1] is Ellipsis else inside
    return (built(kind, value) for kind, value in zip(kinds, values, strict=True))


if __name__ == "__main__":
    main()
