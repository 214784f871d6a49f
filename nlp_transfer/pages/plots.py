"""Plots: drawn by matplotlib, kept as SVG whose text is text and whose colours are those of the page around it."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nlp_transfer.pages import COLOURS, TEMPLATES, shape

SVG = "http://www.w3.org/2000/svg"

UNWANTED = {f"{{{SVG}}}{name}" for name in ("metadata", "style")}
"""Of a drawing: a page has one style."""

INK, SOFT, LINE, PAPER = "#000001", "#000002", "#000003", "#000004"
"""Stand for colours of the page, whichever these are: the text's, a fainter one, that of lines, the background."""

SERIES = [f"#0000{16 + i:02x}" for i in range(COLOURS)]
"""Stand for the colours of series."""

NAMES = {INK: "--ink", SOFT: "--soft", LINE: "--line", PAPER: "--paper"} | {
    colour: f"--s{i}" for i, colour in enumerate(SERIES)
}

MARKERS = "os^Dv*P<"
"""Shapes of series, in the order of `pages.MARKS`."""

TEXT = 12.0
"""Pixels."""

WIDE, NARROW, PANEL = 700, 340, 340
"""Pixels that a plot is wide: over the whole page, on a phone, and beside others."""

STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": TEXT,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "path.simplify": False,
    # a label may hold two dollars
    "text.parse_math": False,
}

styled = mpl.rc_context(STYLE)
"""Around whatever draws: artists look at the style when they are made."""

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of fonts that it looks for, which the page brings itself


@dataclass(frozen=True)
class Plot:
    """A plot for a page: what it shows in words, and the drawing, in one width or in two of which a page shows one."""

    title: str
    described: str
    wide: str
    narrow: str = ""
    key: tuple[tuple[str, int], ...] = ()
    """Names of the series and their numbers, where no name stands beside its mark."""

    @property
    def markup(self) -> Markup:
        """The drawings, which nothing needs to escape: their texts are escaped."""
        if not self.narrow:
            return Markup(self.wide)
        return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(
            Markup(self.wide), Markup(self.narrow)
        )


def colour(series: int) -> str:
    """What stands for the colour of a series."""
    return SERIES[series % COLOURS]


def marker(series: int) -> str:
    """The shape of a series."""
    return MARKERS[shape(series)]


def canvas(
    width: float, height: float, left: float = 46, right: float = 12, top: float = 10, bottom: float = 40
) -> Axes:
    """Axes in a figure of so many pixels, with margins of so many."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    axes.patch.set_visible(False)
    axes.tick_params(length=0, pad=5)
    return axes


def drawn(axes: Axes, name: str, said: str) -> str:
    """The drawing as an element that stands in a page.

    Args:
        axes: drawn on.
        name: keeps its ids apart from those of other drawings.
        said: what it shows, for those who do not see it.
    """
    written = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that its fonts lack, and those of the page may have
        figure: Any = axes.figure
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return _cleaned(written.getvalue(), said)


def standalone(drawing: str) -> str:
    """A drawing as a file of its own, for documents: with the colours and letters that a page would give it, light and dark."""
    colours = (TEMPLATES / "style.css").read_text(encoding="utf-8").partition("* {")[0]
    letters = (
        "text { font-family: sans-serif !important; paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }"
    )
    return drawing.replace(">", f"><style>{colours}svg {{ background: var(--paper); }} {letters}</style>", 1)


def value(text: Any, number: float) -> None:
    """Say which number a text in a plot shows."""
    text.set_gid(f"value {number!r}")


def _cleaned(text: str, said: str) -> str:
    """An SVG of matplotlib without what a page has no need of, with the page's colours in place of those that stand for them."""
    for prefix, space in (("", SVG), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, space)
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in [each for each in parent if each.tag in UNWANTED]:
            parent.remove(child)
    used = set(re.findall(r"(?:#|url\(#)([\w-]+)", text))
    for element in root.iter():
        _renamed(element, used)
        if style := element.get("style"):
            element.set("style", _coloured(style))
        for paint in ("fill", "stroke"):
            if element.get(paint) in NAMES:
                element.set(
                    "style", f"{paint}: {_coloured(str(element.attrib.pop(paint)))}; {element.get('style', '')}"
                )
    width = float(str(root.get("viewBox")).split()[2])
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("style", f"width: {width:g}px")
    root.set("role", "img")
    root.set("aria-label", said)
    found = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"\n\s*", "\n", found)


def _renamed(element: Any, used: set[str]) -> None:
    """Keep of an element's id what something refers to, or what it says of the element."""
    its = element.get("id")
    if its is None or its in used:
        return
    del element.attrib["id"]
    if its.startswith("value "):
        element.set("data-value", its.removeprefix("value "))
    elif its.startswith("matplotlib.axis"):
        element.set("class", "axis")


def _coloured(style: str) -> str:
    return re.sub(
        r"#0000[0-9a-f]{2}", lambda match: f"var({NAMES[match[0]]})" if match[0] in NAMES else match[0], style
    )


def shortened(name: str, most: int = 18) -> str:
    """A name for the inside of a plot, without its middle where it is long: names differ at both ends."""
    name = "".join(letter for letter in " ".join(name.split()) if letter.isprintable())
    if len(name) <= most:
        return name
    before = (most - 1) // 2
    return f"{name[:before]}…{name[before + 1 - most :]}"


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places of labels in one column, moved as little as it takes for each to have its gap, between two ends."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, i in zip([None, *order], order, strict=False):
        moved[i] = max(moved[i], low if before is None else moved[before] + gap)
    for after, i in zip([None, *order[::-1]], order[::-1], strict=False):
        moved[i] = min(moved[i], high if after is None else moved[after] - gap)
    return moved
