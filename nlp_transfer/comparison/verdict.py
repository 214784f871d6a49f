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
    ("peak_bytes", "needs least memory", wording.size),
)
"""By what candidates that no test tells apart are chosen among."""

LESS = 0.95
"""A cost below so much of another is less: times and memory are never twice the same."""

BESIDE = {"better": "beats it", "no detectable difference": "is not shown to beat it", "worse": "is worse"}
"""What a candidate is beside the best baseline."""

TRANSFER = {
    "better": "transfer brought something",
    "no detectable difference": "no detectable transfer",
    "worse": "negative transfer",
}
"""What a candidate shows that is held against training from scratch."""

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
        *_transfer(size, scale),
        *(_in_short(each, scale) for each in analysis.sizes[1:] if each.differences),
        *_unfinished(analysis),
        *analysis.flags,
    ]


def headline(analysis: Analysis) -> str:
    """The verdict at the largest training size in one line, without figures."""
    size = analysis.sizes[0]
    if not size.recommended:
        return "No verdict: nothing to hold against each other." if not size.differences else "No verdict yet."
    names = _joined(size.recommended)
    if len(size.recommended) == 1:
        said = [f"Choose {names}."]
    elif analysis.reference in size.recommended:
        said = [f"Choose by cost among {names}: none is shown to be worse."]
    else:
        said = [f"{names} are better than {analysis.reference}: choose by cost."]
    if worse := [each for each in size.over_baseline if each.finding == "worse"]:
        said.append(
            f"But the baseline {worse[0].reference} is better than {_joined([each.candidate for each in worse])}."
        )
    if size.without_verdict:
        said.append(f"No verdict on {_joined(size.without_verdict)}.")
    return " ".join(said)


def finding(difference: Difference, scale: Scale, judged: str) -> str:
    """What one difference shows, with its evidence, without a full stop; `judged` says on how many rows."""
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
        alone = f"; {ALONE}" if difference.interval_alone else ""
        evidence = f"difference {scale.signed(spread.mean)}{scale.unit}, {interval}{shown}{alone}"
        return f"no detectable difference: {judged}, {name} is not distinguishable from {reference} ({evidence})"
    return f"{judged}, {name} is {difference.finding} than {reference} {_by(difference, scale)}"


def _by(difference: Difference, scale: Scale) -> str:
    """How much a candidate is better or worse, with the evidence."""
    mean, p = difference.spread.mean or 0.0, wording.probability(difference.adjusted_p)
    evidence = f"difference {scale.signed(mean)}, 95 % {scale.interval(difference.spread.interval)}, p {p} after Holm"
    return f"by {scale.score(abs(mean))}{scale.unit} ({evidence})"


def winner(analysis: Analysis, size: Size) -> Entry | None:
    """The candidate that validation likes best in the mean, of those to choose from; without a verdict, of all."""
    sign = 1 if analysis.higher_is_better else -1
    among = [entry for entry in size.entries if not entry.baseline and entry.validation is not None]
    among = [entry for entry in among if entry.candidate in (size.recommended or (entry.candidate,))]
    return max(among, key=lambda entry: sign * (entry.validation or 0.0), default=None)


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
    judged, said = f"trained on {size.train_rows:,} rows, judged on {analysis.rows['test']:,}", []
    for each in order:
        costs = _beside(size.entry(each.candidate), size.entry(each.reference))
        sentence = finding(each, scale, judged)
        said.append(
            f"{sentence[0].upper() + sentence[1:] if sentence.startswith(('no ', 'trained ')) else sentence}{costs}."
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
    """What to choose when: from costs, among those that are not shown to be worse than the best of them."""
    among = [size.entry(name) for name in size.recommended]
    if not among:
        return []
    dropped = [each for each in size.against_best if each.finding == "worse"]
    level = analysis.reference in size.recommended
    beside = f"not told from {analysis.reference}, but" if level else f"better than {analysis.reference}, too, but"
    said = [f"{each.candidate} is {beside} worse than {each.reference} {_by(each, scale)}." for each in dropped]
    names = ", ".join(size.recommended)
    if len(among) == 1:
        without = f", or without a verdict ({_joined(size.without_verdict)})" if size.without_verdict else ""
        alone = "it is the best of those that are better" if dropped else "it alone is better"
        why = f"all others are worse{without}" if names == analysis.reference else alone
        said.append(f"Choose {names}: {why}.")
    else:
        chosen: dict[str, list[str]] = {}
        for cost, verb, write in COSTS:
            if least := _least(among, cost):
                chosen.setdefault(least.candidate, []).append(f"{verb} ({write(least.costs[cost])})")
        by_cost = "; ".join(f"{name} {_joined(verbs)}" for name, verbs in chosen.items())
        shown = f"Among {names}, none of which is shown to be worse than the best of them, choose by cost: {by_cost}."
        said += [shown] if chosen else []
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
    if quick.candidate == reference:  # all that are chosen among are better
        prices = [each for each in size.differences if each.candidate in size.recommended]
    else:
        prices = [each for each in size.differences if each.candidate == quick.candidate and each.finding == "worse"]
    if not prices:
        return []
    seconds = wording.duration(quick.costs["train_seconds"])
    lost = f"{scale.score(max(abs(each.spread.mean or 0.0) for each in prices))}{scale.unit}"
    return [f"{quick.candidate} trains fastest of all ({seconds}), at the price of {lost}."]


def _baseline(size: Size, scale: Scale) -> list[str]:
    """Whether a model is worth having at all."""
    if not size.over_baseline:
        return []
    best = size.over_baseline[0].reference
    held = []
    for each in size.over_baseline:
        found = BESIDE.get(each.finding, f"stands beside it with {each.finding} for a verdict")
        held.append(f"{each.candidate} {found} ({_between(each, scale)})")
    return [f"The best baseline, {best}, reaches {scale.score(size.entry(best).spread.mean)}: {'; '.join(held)}."]


def _transfer(size: Size, scale: Scale) -> list[str]:
    """What pre-training brought, or cost."""
    said = []
    for each in size.transfer:
        found = TRANSFER.get(each.finding, f"{each.finding} to say what transfer brought")
        said.append(f"{each.candidate}: {found} ({_between(each, scale, f' over {each.reference}')}).")
    return said


def _between(difference: Difference, scale: Scale, over: str = "") -> str:
    """A difference, its interval, and what that alone would say."""
    interval = difference.spread.interval
    shown = f", 95 % {scale.interval(interval)}" if interval else ""
    alone = f"; {ALONE}" if difference.interval_alone else ""
    return f"{scale.signed(difference.spread.mean)}{scale.unit}{over}{shown}{alone}"


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
