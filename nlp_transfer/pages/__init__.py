"""Pages: a report as one HTML file that opens offline, in light and dark, on paper and on a phone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nlp_transfer import figures
from nlp_transfer.figures import Scale

TEMPLATES = Path(__file__).with_name("templates")

MARKS = "●■▲◆▼★✚◄"
"""Shapes of the series beside their colours: nobody needs to tell colours apart. As `plots.MARKERS` draws them; none of
them is an emoji on any phone."""

COLOURS = 8
"""Colours of series in style.css, which can be told apart by colour-blind people."""


def write(file: Path, template: str, scale: Scale, **values: Any) -> None:
    """Write a page; replaced in one move.

    Args:
        file: the page.
        template: its name among ours.
        scale: how scores are written.
        values: what the template shows. Texts are escaped; every figure that goes through a filter is a <data> element, whose
            attribute has the number in full.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: number(written) for name, written in _written(scale).items()}
    environment.filters |= {"interval": _interval(scale), "within": scale.within, "mark": mark, "softened": softened}
    environment.filters["name"] = name
    half = file.with_name(f".{file.name}.part")
    text = environment.get_template(template).render(scale=scale, **values)
    # half of a surrogate pair, which JSON may hold and a file may not
    half.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
    half.replace(file)


def mark(series: int) -> Markup:
    """The mark of a series, as plots have it, beside its name."""
    return Markup('<span class="mark s{}" aria-hidden="true">{}</span>').format(series % COLOURS, MARKS[shape(series)])


def name(called: str) -> Markup:
    """A candidate's name, which may be broken between its settings: "adapter:placement=houlsby"."""
    return Markup("<wbr>").join(re.split(r"(?<=[:,=])(?=.)", called))


def shape(series: int) -> int:
    """Which of the shapes a series has: where colours begin again, each has the next shape."""
    return (series + series // COLOURS) % len(MARKS)


def softened(sentence: str) -> Markup:
    """A sentence whose brackets stand back, and whose numbers keep to their signs and units."""
    sentence = re.sub(r"(?<!\w)-(?=\d)", "−", sentence)
    sentence = re.sub(r"(?<=\d) (?=(points|GB|MB|kB|bytes|h|min|s|%)\b)", "\u00a0", sentence)
    parts = re.split(r"(\([^()]*\))", sentence)
    evidence = Markup('<span class="soft">{}</span>')
    return Markup("").join(evidence.format(part) if i % 2 else part for i, part in enumerate(parts))


def rate(value: float | None) -> str:
    """A learning rate: "3.3e-5"."""
    if value is None:
        return figures.NONE
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def share(value: float | None) -> str:
    """A share in percent, which is how sure a model was."""
    return figures.NONE if value is None else f"{100 * value:.0f} %"


def _written(scale: Scale) -> Mapping[str, Callable[[Any], str]]:
    return {
        "score": scale.score,
        "signed": scale.signed,
        "count": figures.count,
        "size": figures.size,
        "duration": figures.duration,
        "figure": figures.figure,
        "probability": figures.probability,
        "rate": rate,
        "share": share,
        "plain": lambda value: f"{value:.4g}",
        "change": lambda value: f"{value:+.3g}" if abs(value) >= 5e-7 else "0",
        "number": str,
    }


def number(written: Callable[[Any], str]) -> Callable[[Any], Markup]:
    """A filter that shows a number as it is written, with the number itself for whoever looks closer."""

    def shown(value: float | None) -> Markup:
        if value is None or not math.isfinite(value):
            return Markup('<span class="none">–</span>')
        # a minus is no hyphen; and it keeps to its number at the end of a line
        return Markup('<data value="{}">{}</data>').format(repr(value), written(value).replace("-", "−"))

    return shown


def _interval(scale: Scale) -> Callable[[Any], Markup]:
    score = number(scale.score)

    def shown(interval: tuple[float, float] | None) -> Markup:
        if interval is None:
            return score(None)
        return Markup('<span class="interval">{} to {}</span>').format(*map(score, interval))

    return shown
