"""Writes the tables and plots of docs/benchmarks.md from what `methods.py`, `task_scores.py` and `qa.py` beside it wrote."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import types
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common import stop
from methods import CASES, FOLDER
from qa_table import answers_table
from rates_table import rates_table
from task_table import tasks_table

from nlp_transfer.comparison import curves, plots
from nlp_transfer.comparison.analysis import Analysis, Entry, Size
from nlp_transfer.comparison.search import WIDENINGS
from nlp_transfer.comparison.statistics import Difference
from nlp_transfer.comparison.wording import Scale, count, duration, escaped, size, table
from nlp_transfer.data.findings import plural
from nlp_transfer.pages.plots import standalone

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
MARK = re.compile(r"(<!-- figures: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CLAIMED = 0.004
"""Houlsby 2019: adapters are within 0.4 points of full fine-tuning, with 3.6 % of its weights."""
CLAIMED_ON = ("trec", "sst2", "rte", "conll2003", "squad_wiki")
TUNERS = ("lora", "adapter", "adapter:placement=houlsby")
OF_FULL = 0.036
OUTCOMES = ("shown", "refuted", "undecided", "no score")


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
    said |= {"claims": claims(kept), "tasks": tasks_table(), "answers": answers_table(), "rates": rates_table(kept)}
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
    more = f", or up to {analysis.trials + WIDENINGS} where the best stood at the edge" if analysis.trials > 1 else ""
    said = (
        f"{rows['train']:,} rows to train, {rows['validation']:,} to choose by, {rows['test']:,} to judge by; "
        f"{plural(len(analysis.seeds), 'seed')}{without_score(analysis)}; {length}; "
        f"rates from {analysis.trials} trials{fewer}{more}; {metric}{' in points' if scale.points else ''}."
    )
    drawn = f"![{escaped(CASES[name].title)}](benchmarks/{name}.svg)"
    figures = by_size(analysis, scale) if sizes > 1 else by_candidate(analysis, analysis.sizes[0], scale)
    machine = kept["environment"]
    at_once = " or ".join(map(str, kept["workers"]))
    where = f"{machine['device_name']}, {machine['cores']} cores, runs at once: {at_once}; " + ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("torch", "transformers", "peft")
    )
    flags = [f"- {escaped(flag)}" for flag in analysis.flags]
    return (
        "\n\n".join(part for part in [partial(kept), said, drawn, figures, "\n".join(flags), f"{where}."] if part)
        + "\n"
    )


def by_candidate(analysis: Analysis, of: Size, scale: Scale) -> str:
    """A line for each candidate and baseline, the best first."""
    differences = from_full(analysis, of)
    names = (
        "",
        "rate",
        "seeds",
        "mean",
        "95 %",
        "less full",
        "95 %",
        "weights that learn",
        "training",
        "memory",
        "disk",
    )
    lines = []
    for entry in ordered(analysis, of):
        held, costs = differences.get(entry.candidate), entry.costs
        lines.append(
            [
                called(entry),
                f"{entry.learning_rate:g}" if entry.learning_rate else "",
                "" if entry.baseline and not entry.unfinished else seeds(entry),
                scale.score(entry.spread.mean),
                scale.interval(scale.within(entry.spread.interval)),
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
    lines, outcomes, left_out, few = [], Counter[str](), [], 0
    for name in CLAIMED_ON:
        if name not in kept:
            continue
        if partial(kept[name]):
            left_out.append(CASES[name].title)
            continue
        analysis = built(Analysis, kept[name]["analysis"])
        scale, of = Scale.of(analysis), analysis.sizes[0]
        full, differences = entry_of("full", of), from_full(analysis, of)
        for entry in (entry_of(tuner, of) for tuner in TUNERS):
            if entry is None or full is None:
                continue
            held, of_full = differences.get(entry.candidate), share(entry, of)
            outcome = judged(held, every_seed=not entry.unfinished and not full.unfinished)
            outcomes[outcome] += 1
            few += outcome == "shown" and of_full is not None and of_full <= OF_FULL
            lines.append(
                [
                    CASES[name].title,
                    called(entry),
                    seeds(entry),
                    "" if of_full is None else f"{of_full:.1%}",
                    scale.signed(held.spread.mean) if held else "",
                    scale.interval(held.spread.interval) if held else "",
                    outcome,
                ]
            )
    later = f"Left out until all of it has been run: {'; '.join(left_out)}." if left_out else ""
    if not lines:
        return f"{later or 'Not measured yet.'}\n"
    names = ("", "tuner", "seeds", "of full's weights", "less full", "95 %", "within 0.4 points")
    counted = (
        f"Within 0.4 points of full fine-tuning, of {len(lines)}: {', '.join(f'{outcomes[each]} {each}' for each in OUTCOMES)}. "
        f"Of those shown, {few} with 3.6 % of its weights or less. Shown: the lower end of the interval is at -0.4 or above, and "
        "no seed was lost. Refuted: its upper end is below. No score: no seed finished on both sides."
    )
    return "\n\n".join(part for part in (table(names, lines), counted, later) if part) + "\n"


def judged(held: Difference | None, every_seed: bool) -> str:
    """Whether a difference from full fine-tuning is within what was claimed: one of the outcomes.

    Args:
        held: None where no seed finished on both sides.
        every_seed: whether all of both sides did; where some were lost, those that are left are the lucky ones.
    """
    if held is None or held.spread.mean is None:
        return "no score"
    if held.spread.interval is None:
        return "undecided"
    low, high = held.spread.interval
    if high < -CLAIMED:
        return "refuted"
    return "shown" if low >= -CLAIMED and every_seed else "undecided"


def partial(kept: Mapping[str, Any]) -> str:
    """What of a case has not been run yet, in a sentence; nothing where all has."""
    names = [f"`{name}`" for name in kept["missing"]["methods"]]
    names += [f"seed {seed}" for seed in kept["missing"]["seeds"]]
    return f"Partial; not run yet: {', '.join(names)}." if names else ""


def from_full(analysis: Analysis, of: Size) -> dict[str, Difference]:
    """The differences from full fine-tuning by candidate; none where others are held against another method."""
    return {each.candidate: each for each in of.differences} if analysis.reference == "full" else {}


def ordered(analysis: Analysis, of: Size) -> list[Entry]:
    """The entries of a size, the best first, those without a score last."""
    sign = -1 if analysis.higher_is_better else 1
    return sorted(of.entries, key=lambda entry: (entry.spread.mean is None, sign * (entry.spread.mean or 0.0)))


def entry_of(candidate: str, of: Size) -> Entry | None:
    """The entry of a candidate, if it was run."""
    return next((entry for entry in of.entries if entry.candidate == candidate), None)


def without_score(analysis: Analysis) -> str:
    """How many of all runs have no score, where some have none."""
    entries = [entry for each in analysis.sizes for entry in each.entries if not entry.baseline]
    lost = sum(len(entry.unfinished) for entry in entries)
    every = lost + sum(len(entry.spread.seeds) for entry in entries)
    return f", {lost} of {every} runs without a score" if lost else ""


def seeds(entry: Entry) -> str:
    """How many seeds a score is of, and what became of the others."""
    scored, lost = len(entry.spread.seeds), Counter(each.status for each in entry.unfinished)
    told = ", ".join(f"{number} {status}" for status, number in lost.items())
    return f"{scored} of {scored + lost.total()}; {told}" if lost else str(scored)


def called(entry: Entry) -> str:
    """The name of an entry in a table."""
    return f"{escaped(entry.candidate)} (baseline)" if entry.baseline else f"`{entry.candidate}`"


def with_interval(entry: Entry, scale: Scale) -> str:
    """A mean, with its interval where there is one, and with its seeds where some were lost."""
    cut = scale.within(entry.spread.interval)
    between = f" ({scale.interval(cut)})" if cut else ""
    return f"{scale.score(entry.spread.mean)}{between}{f'; {seeds(entry)}' if entry.unfinished else ''}"


def weights(entry: Entry, of: Size) -> str:
    """How many weights outside the head learn, and their share of those that learn in full fine-tuning."""
    if "trainable" not in entry.costs:
        return ""
    of_full = share(entry, of)
    return f"{entry.costs['trainable']:,.0f}{f' ({of_full:.2%})' if of_full is not None else ''}"


def share(entry: Entry, of: Size) -> float | None:
    """Weights that learn, the head aside, over those of full fine-tuning; None where one of both has no finished run."""
    full = entry_of("full", of)
    known = full is not None and "trainable" in full.costs and "trainable" in entry.costs
    return entry.costs["trainable"] / full.costs["trainable"] if full and known else None


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
