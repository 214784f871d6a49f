"""The verdict of a comparison in plain words, every sentence with the figures it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nlp_transfer.comparison import wording
from nlp_transfer.comparison.analysis import Analysis, Entry, Size
from nlp_transfer.comparison.statistics import LEAST_ROWS, LEAST_SEEDS, Difference
from nlp_transfer.comparison.wording import Scale

COSTS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("stored_bytes", "stores least", wording.size),
    ("train_seconds", "trains fastest", wording.duration),
    ("peak_rss_bytes", "needs least memory", wording.size),
)
"""By what candidates that no test tells apart are chosen among."""

LESS = 0.95
"""A cost below so much of another is less: times and memory are never twice the same."""

ALONE = "the interval alone excludes zero, but of so many methods one does by chance"


def sentences(analysis: Analysis) -> list[str]:
    """The verdict at the largest training size, then what to choose when, what transfer brought, and what did not finish."""
    if not analysis.sizes:
        return []
    scale, size = Scale.of(analysis), analysis.sizes[0]
    return [
        *_differences(analysis, size, scale),
        *_choices(analysis, size, scale),
        *_baseline(size, scale),
        *_transfer(size, scale, analysis.higher_is_better),
        *(_in_short(each, scale) for each in analysis.sizes[1:] if each.differences),
        *_unfinished(analysis),
        *analysis.flags,
    ]


def headline(analysis: Analysis) -> str:
    """The verdict at the largest training size in one line, without figures."""
    size = analysis.sizes[0]
    among = keepers(size, analysis.reference)
    names = _joined([entry.candidate for entry in among])
    if not among:
        return "No verdict: nothing to hold against each other." if not size.differences else "No verdict yet."
    if len(among) == 1:
        return f"Choose {names}."
    if any(each.finding == "better" for each in size.differences):
        return f"{names} are better than {analysis.reference}: choose by cost."
    return f"{names} are not told apart: choose by cost."


def finding(difference: Difference, scale: Scale, rows: int) -> str:
    """What one difference shows, with its evidence, without a full stop."""
    name, reference, spread = difference.candidate, difference.reference, difference.spread
    if difference.finding == "too few seeds":
        had = f"{len(spread.seeds)} of the {LEAST_SEEDS} seeds that it takes finished for both"
        seen = f"; the difference so far is {scale.signed(spread.mean)}{scale.unit}" if spread.seeds else ""
        return f"{name} against {reference}: too few seeds for a verdict ({had}{seen})"
    interval = f"95 % {scale.interval(spread.interval)}"
    if difference.finding == "too few rows":
        seen = f"difference {scale.signed(spread.mean)}{scale.unit}, {interval}"
        return f"{name} against {reference}: too few test rows for a verdict, {LEAST_ROWS} are needed ({seen})"
    if difference.finding == "no detectable difference":
        shown = (
            f"; a difference of {scale.score(difference.detectable)} would have shown" if difference.detectable else ""
        )
        alone = f"; {ALONE}" if _alone(difference) else ""
        evidence = f"difference {scale.signed(spread.mean)}{scale.unit}, {interval}{shown}{alone}"
        return f"no detectable difference: on these {rows:,} rows {name} is not distinguishable from {reference} ({evidence})"
    amount = f"{scale.score(abs(spread.mean or 0.0))}{scale.unit}"
    evidence = (
        f"difference {scale.signed(spread.mean)}, {interval}, p {wording.probability(difference.adjusted_p)} after Holm"
    )
    return f"on these {rows:,} rows {name} is {difference.finding} than {reference} by {amount} ({evidence})"


def _alone(difference: Difference) -> bool:
    """Whether an interval excludes zero where the test over all methods finds nothing."""
    return bool(_side(difference)) and difference.finding == "no detectable difference"


def _side(difference: Difference) -> int:
    """On which side of zero a whole interval lies; 0 where it holds zero, or there is none."""
    low, high = difference.spread.interval or (0.0, 0.0)
    return 1 if low > 0 else -1 if high < 0 else 0


def keepers(size: Size, reference: str) -> list[Entry]:
    """Among what to choose: the candidates that are better than the reference; where none is, the reference and all that no
    test tells from it. None without a verdict on anything."""
    tested = [each for each in size.differences if each.finding not in ("too few seeds", "too few rows")]
    if not tested:
        return []
    better = [each.candidate for each in tested if each.finding == "better"]
    level = [reference, *(each.candidate for each in tested if each.finding == "no detectable difference")]
    return [size.entry(name) for name in better or level]


def winner(analysis: Analysis, size: Size) -> Entry | None:
    """The candidate of the best mean, among those to choose from; without a verdict, of all."""
    sign = 1 if analysis.higher_is_better else -1
    among = keepers(size, analysis.reference) or [entry for entry in size.entries if not entry.baseline]
    among = [entry for entry in among if entry.spread.mean is not None]
    return max(among, key=lambda entry: sign * (entry.spread.mean or 0.0), default=None)


def _differences(analysis: Analysis, size: Size, scale: Scale) -> list[str]:
    """A sentence for every candidate, with what it costs beside the reference."""
    if not size.differences:
        return _without_reference(analysis, size, scale)
    if all(each.finding == "too few seeds" for each in size.differences):
        most = max(len(each.spread.seeds) for each in size.differences)
        means = "; ".join(_mean(entry, scale) for entry in size.entries if not entry.baseline)
        return [
            f"Too few seeds: {most} of the {LEAST_SEEDS} that a verdict takes, so there is none on any method. Means: {means}."
        ]
    order = sorted(size.differences, key=lambda each: each.spread.mean or 0.0, reverse=analysis.higher_is_better)
    said = []
    for each in order:
        costs = _beside(size.entry(each.candidate), size.entry(each.reference))
        sentence = finding(each, scale, size.train_rows)
        said.append(
            f"{sentence[0].upper() + sentence[1:] if sentence.startswith(('no ', 'on ')) else sentence}{costs}."
        )
    return said


def _without_reference(analysis: Analysis, size: Size, scale: Scale) -> list[str]:
    alone = [entry for entry in size.entries if not entry.baseline]
    means = "; ".join(_mean(entry, scale) for entry in alone)
    if any(entry.candidate == analysis.reference and entry.spread.seeds for entry in alone):
        return [f"Nothing to hold {analysis.reference} against: {means}."]
    return [f"No verdict: {analysis.reference}, which all are held against, has no finished run. Means: {means}."]


def _mean(entry: Entry, scale: Scale) -> str:
    return f"{entry.candidate} {scale.score(entry.spread.mean)}"


def _beside(entry: Entry, other: Entry) -> str:
    """What a candidate costs, beside what the reference does."""
    told = []
    for name, verb, write in (
        ("stored_bytes", "stores", wording.size),
        ("train_seconds", "trains in", wording.duration),
    ):
        ours, theirs = entry.costs.get(name), other.costs.get(name)
        if ours is not None and theirs is not None and write(ours) != write(theirs):
            told.append(f"{verb} {write(ours)} instead of {write(theirs)}")
    return f"; it {' and '.join(told)}" if told else ""


def _choices(analysis: Analysis, size: Size, scale: Scale) -> list[str]:
    """What to choose when: from costs, among those that no test tells apart."""
    among = keepers(size, analysis.reference)
    if not among:
        return []
    names = ", ".join(entry.candidate for entry in among)
    if len(among) == 1:
        why = (
            "all others are worse or without a verdict"
            if among[0].candidate == analysis.reference
            else "it alone is better"
        )
        said = [f"Choose {names}: {why}."]
    else:
        chosen: dict[str, list[str]] = {}
        for cost, verb, write in COSTS:
            if least := _least(among, cost):
                chosen.setdefault(least.candidate, []).append(f"{verb} ({write(least.costs[cost])})")
        said = [f"Among {names}, which are not told apart by a score, choose by cost:"] if chosen else []
        said = [f"{said[0]} {'; '.join(f'{name} {_joined(verbs)}' for name, verbs in chosen.items())}."] if said else []
    return said + _quickest(size, among, analysis.reference, scale)


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _least(entries: Sequence[Entry], cost: str) -> Entry | None:
    """The entry of the least cost; None where none is clearly less than another, or one is not known."""
    if any(cost not in entry.costs for entry in entries):
        return None
    first, second, *_ = sorted(entries, key=lambda entry: entry.costs[cost])
    return first if first.costs[cost] < LESS * second.costs[cost] else None


def _quickest(size: Size, among: Sequence[Entry], reference: str, scale: Scale) -> list[str]:
    """The quickest of all where it is worse, and what it is worse by: for those who need an answer now."""
    every = [size.entry(name) for name in {each.candidate for each in size.differences} | {reference}]
    quick = _least(every, "train_seconds") if len(every) > 1 else None
    if quick is None or quick in among:
        return []
    price = next(each for each in size.differences if each.candidate == quick.candidate)
    if price.finding != "worse":
        return []
    seconds = wording.duration(quick.costs["train_seconds"])
    lost = f"{scale.score(abs(price.spread.mean or 0.0))}{scale.unit}"
    return [f"{quick.candidate} trains fastest of all ({seconds}), at the price of {lost}."]


def _baseline(size: Size, scale: Scale) -> list[str]:
    """Whether a model is worth having at all."""
    held = size.baseline
    if held is None:
        return []
    mean = scale.score(size.entry(held.reference).spread.mean)
    between = f"{scale.signed(held.spread.mean)}{scale.unit}"
    if held.spread.interval is not None:
        between += f", 95 % {scale.interval(held.spread.interval)}"
    beaten = "" if held.finding == "better" else f" {held.candidate} is not shown to beat it."
    return [f"The best baseline, {held.reference}, reaches {mean} ({held.candidate} beside it: {between}).{beaten}"]


def _transfer(size: Size, scale: Scale, higher_is_better: bool) -> list[str]:
    """What pre-training brought, or cost."""
    said = []
    for each in size.transfer:
        mean = f"{scale.signed(each.spread.mean)}{scale.unit}"
        evidence = f"{mean} over {each.reference}, 95 % {scale.interval(each.spread.interval)}"
        if each.finding in ("too few seeds", "too few rows"):
            said.append(f"{each.candidate}: {each.finding} to say what transfer brought ({mean}).")
        elif not (side := _side(each)):
            said.append(f"{each.candidate}: no detectable transfer ({evidence}).")
        elif (side > 0) == higher_is_better:
            said.append(f"{each.candidate}: transfer brought something ({evidence}).")
        else:
            said.append(f"{each.candidate}: negative transfer ({evidence}).")
    return said


def _in_short(size: Size, scale: Scale) -> str:
    """The findings at a smaller training size."""
    found = "; ".join(
        f"{each.candidate} less {each.reference} {scale.signed(each.spread.mean)}{scale.unit}, {each.finding}"
        for each in size.differences
    )
    return f"With {size.train_rows:,} rows: {found}."


def _unfinished(analysis: Analysis) -> list[str]:
    """Candidates of which runs are missing: the mean of the others is too good."""
    said = []
    for size in analysis.sizes:
        for entry in size.entries:
            if entry.unfinished:
                statuses = _joined([f"seed {each.seed} {each.status}" for each in entry.unfinished])
                kept = (
                    f"its figures are of the other {len(entry.spread.seeds)}"
                    if entry.spread.seeds
                    else "it has no figures"
                )
                said.append(f"{entry.candidate}, {size.train_rows:,} rows: {statuses}; {kept}.")
    return said
