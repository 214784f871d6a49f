"""The report of a single run as a page: its score and how sure it is, how it learned, where it is wrong, how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_transfer import figures, pages
from nlp_transfer.environment import homely
from nlp_transfer.figures import Scale
from nlp_transfer.pages import drawings, kept
from nlp_transfer.pages.plots import Plot
from nlp_transfer.report import last_split, repeats, titled

NAME = "report.html"

MOST_LABELS = 30
"""Of a confusion matrix on a page; of more the most frequent confusions stand there."""


class Decimals(Scale):
    """Scores of all kinds below each other, as the model card has them."""

    def score(self, value: float | None) -> str:
        """Four decimals."""
        return figures.NONE if value is None else f"{value:.4f}"


def write(folder: Path, report: Mapping[str, Any], metric: str, asked: Sequence[str]) -> Path:
    """Write report.html, of a finished run.

    Args:
        folder: of the run, as a reader reaches it.
        report: as report.json has it.
        metric: the score that the best weights were chosen by.
        asked: columns of a row without its answer.
    """
    split = last_split(report)
    details = report["details"][split]
    answers = next((name for name in kept.CLASSES if details.get(name)), None)
    confusion = details.get("confusion_matrix")
    path, code = json.dumps(homely(folder), ensure_ascii=False), report["backbone"].get("code")
    trusted = f", trust_remote_code={json.dumps(code)}" if code else ""
    pages.write(
        folder / NAME,
        "run.html.jinja",
        Decimals(points=False),
        report=report,
        task=titled(report["recipe"]["task"]["name"]),
        metric=metric,
        split=split,
        details=details,
        answer=kept.CLASSES.get(str(answers), ""),
        answers=details.get(answers, {}),
        counted=kept.counted,
        groups=_groups(details, metric),
        confusion=confusion if confusion and len(confusion["labels"]) <= MOST_LABELS else None,
        confusions=_confusions(details),
        plots=_plots(folder, metric),
        asked=asked,
        where=_where(report, split),
        code=f"from nlp_transfer import load_run\nrun = load_run({path}{trusted})\nprint(run.predict([...]))",
        repeats=repeats(report).replace("`", ""),
        sections=[(name.lower(), name) for name in ("Score", "Learning", "Errors", "Data", "Cost", "Load")],
    )
    return folder / NAME


def _where(report: Mapping[str, Any], split: str) -> str:
    """Where the rows of a split stand, before the place of one."""
    origin = report["data"].get("origins", {}).get(split, f"{split} rows")
    return f"{origin}, {report['details'][split].get('errors', {}).get('unit', 'place')}"


def _plots(folder: Path, metric: str) -> list[Plot]:
    """Loss and validation score by step."""
    lines = kept.log(folder)
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    judged = {line["step"]: line["validation"][metric] for line in lines if metric in line.get("validation", {})}
    found = []
    if losses:
        said = "Loss on training rows by step."
        line = drawings.Line("loss", 0, *kept.thinned(list(losses), list(losses.values())))
        found.append(Plot("Loss", said, drawings.curves([line], "loss", said, "step", "loss on training rows")))
    if judged:
        equal = len(judged) > 1 and len(set(judged.values())) == 1
        kept_weights = "all are equal, and the last weights were kept" if equal else "the best weights were kept"
        said, words = f"Score on validation rows by step; {kept_weights}.", metric.replace("_", " ")
        line = drawings.Line(metric, 0, list(judged), list(judged.values()))
        found.append(Plot("Validation", said, drawings.curves([line], "judged", said, "step", f"validation {words}")))
    return found


def _groups(details: Mapping[str, Any], metric: str) -> dict[str, list[tuple[str, int, float]]]:
    """The primary score of parts of the rows, by what they are sorted by."""
    found: dict[str, list[tuple[str, int, float]]] = {}
    for (by, measure), name, rows, score in kept.parts(details, metric):
        if measure == metric and by not in kept.CLASSES.values():
            found.setdefault(by, []).append((name, rows, score))
    return found


def _confusions(details: Mapping[str, Any]) -> list[Any]:
    """Frequent confusions, where answers are words and any was given twice."""
    found = details.get("errors", {}).get("confusions", [])
    return list(found) if any(each["count"] > 1 for each in found) else []
