"""What a page shows: its texts and numbers, read as a browser reads them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from nlp_transfer.comparison.statistics import LEAST_ROWS, LEAST_SEEDS
from tests.browser import Browser

VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}
UNITS = {
    "GB": 1e-9,
    "MB": 1e-6,
    "kB": 1e-3,
    "bytes": 1,
    "h": 1 / 3600,
    "min": 1 / 60,
    "s": 1,
    "%": 100,
    "points": 100,
    "": 1,
}

SAID = re.compile(r"(?<![\w.])([+-]?)(\d[\d,]*(?:\.\d+)?)(?: (points|GB|MB|kB|bytes|h|min|s|%)(?!\w))?")
"""A number in a sentence: its sign, its digits, its unit."""

OVERFLOWING = """
const wide = document.documentElement.clientWidth;
return [document.documentElement.scrollWidth - wide, [...document.querySelectorAll('body *')].filter(each =>
    each.getBoundingClientRect().right > wide + 1 && !each.closest('.scroll, pre, .skip')
).map(each => each.outerHTML.slice(0, 120))];
"""

CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const paint = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = colour => { const [r, g, b] = colour.map(each => { const v = each / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = each => { for (let up = each; up; up = up.parentElement) {
    const found = paint(getComputedStyle(up).backgroundColor); if (found[3] > 254) return found; } return [255, 255, 255, 255]; };
const low = [];
for (const each of document.querySelectorAll('body *')) {
    if (![...each.childNodes].some(node => node.nodeType == 3 && node.data.trim()) || !each.getClientRects().length) continue;
    const style = getComputedStyle(each), svg = each instanceof SVGElement;
    const one = light(paint(svg ? style.fill : style.color)), other = light(behind(each));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) low.push([ratio.toFixed(2), each.outerHTML.slice(0, 120)]);
}
return low;
"""

ACCESS = """
const missing = [];
const levels = [...document.querySelectorAll('h1, h2, h3')].map(each => +each.tagName[1]);
if (levels.filter(each => each == 1).length != 1) missing.push('one h1');
levels.forEach((each, i) => { if (i && each > levels[i - 1] + 1) missing.push('a heading is left out'); });
for (const svg of document.querySelectorAll('svg'))
    if (svg.getAttribute('role') != 'img' || !svg.getAttribute('aria-label')) missing.push('a plot without words');
for (const table of document.querySelectorAll('table')) {
    if (!table.caption) missing.push('a table without a caption');
    if ([...table.querySelectorAll('th')].some(each => !each.scope)) missing.push('a heading of no row or column');
    const scroll = table.closest('.scroll');
    if (!scroll || scroll.tabIndex != 0 || !scroll.getAttribute('aria-label')) missing.push('a table out of reach');
}
for (const link of document.querySelectorAll('nav a, .skip'))
    if (!document.querySelector(link.getAttribute('href'))) missing.push('a link to nowhere');
const names = [...document.querySelectorAll('nav, section, [role=region]')].map(each => each.getAttribute('aria-label')
    || document.getElementById(each.getAttribute('aria-labelledby')).textContent.trim());
names.filter((each, i) => names.indexOf(each) != i).forEach(each => missing.push('two landmarks of one name: ' + each));
const ids = [...document.querySelectorAll('[id]')].map(each => each.id);
if (new Set(ids).size != ids.length) missing.push('an id twice');
if (document.querySelectorAll('script, img, iframe, link').length) missing.push('what a data set brought');
return missing;
"""


@dataclass
class Shown(HTMLParser):
    """The numbers that a page gives in full, with how they are written, and all its other texts."""

    numbers: list[tuple[float, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    open: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1][0] == tag, f"<{self.open[-1][0]}> ends as </{tag}>"
        self.open.pop()

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        pass

    def handle_data(self, data: str) -> None:
        within = {tag for tag, _ in self.open}
        if not data.strip() or within & {"style", "pre"}:
            return
        exact = [its["value"] for tag, its in self.open if tag == "data"]
        exact += [its["data-value"] for _, its in self.open if "data-value" in its]
        if exact:
            self.numbers.append((float(exact[0]), data))
        elif not any("axis" in (its.get("class") or "") for _, its in self.open):
            self.texts.append(data)


def shown(page: Path) -> Shown:
    found = Shown()
    found.feed(page.read_text(encoding="utf-8"))
    assert not found.open
    return found


def values(something: Any) -> tuple[set[float], list[str]]:
    """All numbers and all texts of a JSON value, names among them; and how many seeds there are."""
    numbers: set[float] = set()
    texts: list[str] = []
    waiting = [something]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            texts += value
            waiting += value.values()
            numbers |= {float(len(value["seeds"]))} if isinstance(value.get("seeds"), list) else set()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            texts.append(value)
        elif isinstance(value, int | float):
            numbers.add(float(value))
    return numbers, texts


def is_written(number: float, text: str) -> bool:
    """Whether a text is a number, rounded to its own last digit, in any of our units."""
    if text.startswith("<"):
        return number < float(text.removeprefix("<"))
    match = re.fullmatch(r"([+−-]?)([\d,]*\.?\d*(?:e[−-]?\d+)?)\s*(\w*|%)", text.strip())
    if not match:
        return False
    written = float(match[2].replace(",", "").replace("−", "-")) * (-1 if match[1] in ("−", "-") else 1)
    digits, power = re.fullmatch(r"[\d,]*\.?(\d*)(?:e([−-]?\d+))?", match[2]).groups()  # type: ignore[union-attr]
    last = 10.0 ** (int((power or "0").replace("−", "-")) - len(digits))
    factors = {UNITS[match[3]], *((100,) if not match[3] else ())}
    return any(abs(written - number * factor) <= 0.501 * last for factor in factors)


def unfounded(page: Path, *files: Path) -> list[str]:
    """Numbers on a page that stand in none of the files, or are written otherwise than they are.

    What a verdict says of numbers is no source of them: its own must be roundings of those of the comparison's sizes.
    """
    numbers: set[float] = set()
    compared: set[float] = set()
    texts: list[str] = ["95 %", f"{LEAST_SEEDS} {LEAST_ROWS}"]
    verdict = ""
    for file in files:
        for line in (
            file.read_text(encoding="utf-8").splitlines() if file.suffix == ".jsonl" else [file.read_text("utf-8")]
        ):
            value = json.loads(line)
            verdict += " ".join([value.pop("headline", ""), *value.pop("verdict", ())])
            compared |= values(value.get("sizes", ()))[0]
            more, words = values(value)
            numbers |= more
            texts += words
    found = shown(page)
    assert len(found.numbers) > 20
    wrong = [f"{text}: {number!r}" for number, text in found.numbers if number not in numbers]
    wrong += [f"{number!r} as {text}" for number, text in found.numbers if not is_written(number, text)]
    known = {token for text in texts for token in tokens(text)} | {
        f"{number:,.0f}" for number in numbers if number % 1 == 0
    }
    told = [plain(text) for text in found.texts if tokens(text) - known]
    return wrong + [text for text in told if text not in verdict or not _is_founded(text, known, compared)]


def _is_founded(sentence: str, known: set[str], numbers: set[float]) -> bool:
    """Whether every number of a sentence is known as it stands there, or a rounding of one of these, or of its amount."""
    return all(
        digits in known
        or any(
            is_written(each, f"{sign}{digits} {unit}".strip())
            for number in numbers
            for each in ((number,) if sign else (number, -number))
        )
        for sign, digits, unit in SAID.findall(sentence)
    )


def plain(text: str) -> str:
    """A text as it was before it was set for a page."""
    return text.replace("\u00a0", " ").replace("−", "-").strip()


def tokens(text: str) -> set[str]:
    """The numbers in a text."""
    return {each.rstrip(".,") for each in re.findall(r"\d[\d.,]*", text)}


def faults(browser: Browser, page: Path, themes: tuple[bool, ...] = (False, True)) -> list[Any]:
    """What is wrong with a page as a browser shows it, on a phone and on a desk, light and dark."""
    found: list[Any] = []
    for width in (390, 1280):
        for dark in themes:
            browser.dark(dark)
            browser.resize(width)
            browser.open(page)
            browser.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
            over, elements = browser.run(OVERFLOWING)
            found += [f"{width}: {over} pixels too wide"] if over > 0 else []
            found += [f"{width}: {each}" for each in elements]
            found += [(width, "dark" if dark else "light", *each) for each in browser.run(CONTRASTS)]
    found += browser.run(ACCESS)
    elsewhere = [address for address in browser.asked_for() if address != page.resolve().as_uri()]
    return found + [f"fetched: {address}" for address in elsewhere] + browser.complaints()
