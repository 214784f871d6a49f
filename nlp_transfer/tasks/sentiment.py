"""Sentiment: classification that understands how people write down a verdict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from datasets import Dataset

from nlp_transfer.errors import RequestError, RowError, did_you_mean, listing
from nlp_transfer.labels import LABEL_NAMES, label_text
from nlp_transfer.members import FITTED
from nlp_transfer.metrics import most_probable
from nlp_transfer.metrics.mean_absolute_error import mean_absolute_error
from nlp_transfer.metrics.quadratic_kappa import quadratic_kappa
from nlp_transfer.rows import cells
from nlp_transfer.scratch import filled, selected, with_cells
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.texts import TEXT_NAMES

POLARITY = {
    "negative": "negative neg n bad unfavourable unfavorable -ve - thumbs_down 👎 😞 very_negative somewhat_negative",
    "neutral": "neutral neu mixed neither so-so ok 😐",
    "positive": "positive pos p good favourable favorable +ve + thumbs_up 👍 😊 very_positive somewhat_positive",
}
"""How people spell a polarity, any case, blanks and underscores alike."""

NUMBERS: tuple[dict[str, str], ...] = (
    {"0": "negative", "1": "positive"},
    {"-1": "negative", "1": "positive"},
    {"-1": "negative", "0": "neutral", "1": "positive"},
    {"0": "negative", "1": "neutral", "2": "positive"},
    {"1": "negative", "2": "neutral", "3": "positive"},
    {"0": "negative", "4": "positive"},
    {"0": "negative", "2": "neutral", "4": "positive"},
    {"false": "negative", "true": "positive"},
)
"""Numbers that mean a polarity when they are all the labels there are."""

STAR_WORDS = {"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0}
STARS = re.compile(r"(?P<number>\d+(?:[.,]\d+)?|one|two|three|four|five)\s*(?:/\s*5|out of 5|of 5)?\s*(?:stars?|★)?")
STAR_CLASSES = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")

Scale = Literal["auto", "polarity", "stars", "stars_from_zero"]


@dataclass(frozen=True)
class Sentiment(Classification):
    """Negative or positive, with neutral, or stars: read from polarity words, numbers or star ratings."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": TEXT_NAMES,
        "label": ("sentiment", "polarity", "stars", "star_rating", "rating", "score", *LABEL_NAMES),
    }
    optional_columns: ClassVar[tuple[str, ...]] = ()
    known_together: ClassVar[tuple[Mapping[str, str], ...]] = ()
    sample: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"text": "Not a single dull minute.", "label": "positive"},
        {"text": "The soup arrived cold and the waiter shrugged.", "label": "negative"},
        {"text": "I would buy these boots again tomorrow.", "label": "positive"},
        {"text": "Two hours of my life that nobody will give back.", "label": "negative"},
    )

    labels: tuple[str, ...] | None = field(default=None, metadata=FITTED)  # sentiment has names of its own
    scale: Scale = "auto"
    """What the labels are: `polarity` words or numbers, `stars` from 1 to 5, `stars_from_zero` (0 to 4)."""
    grades: Literal["auto", "two", "three", "five"] = "auto"
    """Classes to learn: `two` (negative, positive), `three` (with neutral), `five` (stars, judged as ordered);
    `auto`: three for stars, and for polarity what the labels hold."""
    negative_to: float = 2.0
    """Stars up to this many are negative."""
    positive_from: float = 4.0
    """Stars from this many on are positive; between the two lies neutral."""
    neutral: Literal["leave_out", "negative", "positive"] = "leave_out"
    """What becomes of neutral rows when two classes are learned."""

    scale_read: str = field(default="", metadata=FITTED)
    numbers_read: dict[str, str] = field(default_factory=dict, metadata=FITTED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.negative_to < self.positive_from <= 5:
            raise RequestError(
                f"task.negative_to is {self.negative_to:g} and task.positive_from {self.positive_from:g}: "
                "expected 0 < negative_to < positive_from <= 5."
            )
        if self.labels is not None:
            raise RequestError(
                "task.labels does not apply to sentiment, which names its classes itself: see task.grades."
            )
        if self.grades == "five" and self.scale == "polarity":
            raise RequestError("task.grades five needs star ratings, but task.scale is polarity.")

    def fit(self, rows: Dataset) -> Self:
        """Find out how the labels are written, and which classes they hold."""
        spellings = {_folded(label) for label in cells(rows, "label")}
        try:
            scale, numbers = self._scale(spellings)
        except RequestError:
            self._point_at_the_odd_one(rows)
            raise
        if self.grades == "five" and scale == "polarity":
            raise RequestError(f"task.grades five needs star ratings; the labels are {listing(sorted(spellings))}.")
        task = replace(self, scale_read=scale, numbers_read=numbers)
        counts = Counter(grade for grade in task._graded(rows) if grade)
        order = STAR_CLASSES if task._graded_as_stars else tuple(POLARITY)
        return task._fitted(tuple(name for name in order if counts[name]), counts, rows)

    def read(self, rows: Dataset) -> Dataset:
        """Labels as classes; neutral rows left out where two classes are learned and no rule places them."""
        if "label" not in rows.column_names:
            return rows
        left = 0
        for i, grade in enumerate(self._graded(rows)):
            if grade not in (*self.classes, None):
                raise RowError(i, str(self._unknown(rows["label"][i])))
            left += grade is not None
        rows = with_cells(rows, "label", self._graded)
        # rows are selected last: a column is put beside those of a selection by copying all of them
        if left == len(rows):
            return rows
        graded = (i for i, label in enumerate(cells(rows, "label")) if label is not None)
        return selected(rows, filled(graded, left, np.int64))

    def _graded(self, rows: Dataset) -> Iterator[str | None]:
        """The class of every row; None for one that is neutral and has no place."""
        return (self._grade(i, label) for i, label in enumerate(cells(rows, "label")))

    def _unknown(self, label: Any) -> str | None:
        """What is wrong with a label that means nothing, or no class of training."""
        try:
            grade = self._grade(0, label)
        except RowError as error:
            return error.message
        return (
            f'the label "{label}" means {grade}, which no training row is.'
            if grade not in (*self.classes, None)
            else None
        )

    def notes(self) -> list[str]:
        """How the labels were read."""
        if self.scale_read == "polarity":
            numbers = [f"{number} as {meaning}" for number, meaning in self.numbers_read.items()]
            rule = f"labels read as polarity: {listing(numbers)}" if numbers else "labels read as words of polarity"
        else:
            rule = "labels read as stars from 1 to 5"
            if self.scale_read == "stars_from_zero":
                rule = "labels read as stars counted from zero (0 is 1 star, 4 is 5 stars)"
            if self._graded_as_stars:
                rule += ", halves rounded up, kept as ordered classes"
            else:
                rule += f": up to {self.negative_to:g} negative, from {self.positive_from:g} positive, between neutral"
        if self.grades == "two":
            placed = "left out" if self.neutral == "leave_out" else f"taken as {self.neutral}"
            rule += f"; neutral rows {placed}"
        return [rule + "."]

    def metrics(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The scores of classification; for stars also mean absolute error and quadratic kappa."""
        scores = super().metrics(judged)
        if self._graded_as_stars:
            stars = np.array([int(name[0]) for name in self.classes], np.int8)
            predictions, references = most_probable(judged["probabilities"]), judged["references"]
            scores["mean_absolute_error"] = mean_absolute_error(stars[predictions], stars[references])
            scores["quadratic_kappa"] = quadratic_kappa(stars[predictions], stars[references])
        return scores

    @property
    def _graded_as_stars(self) -> bool:
        return self.grades == "five"

    def _scale(self, spellings: set[str]) -> tuple[str, dict[str, str]]:
        """The scale in force, and what its numbers mean if it is polarity."""
        words = {spelling for spelling in spellings if spelling in _POLARITY_OF}
        for numbers in NUMBERS:
            # all of a set of numbers, or some of it where the scale was named
            rest = spellings - words
            met = rest == set(numbers) or (self.scale == "polarity" and rest <= set(numbers))
            if rest and met and self.scale in ("auto", "polarity"):
                return "polarity", numbers
        if self.scale == "polarity" or (self.scale == "auto" and words == spellings):
            return "polarity", {}
        if self.scale != "auto":
            return self.scale, {}
        stars = {_stars(spelling) for spelling in spellings}
        if None not in stars:
            found = {star for star in stars if star is not None}
            if min(found) > 0 and max(found) >= 3:
                return "stars", {}
            if min(found) == 0 and len(found) > 3 and found <= {0, 1, 2, 3, 4}:
                return "stars_from_zero", {}
        raise RequestError(
            f"the labels are {listing(sorted(spellings))}: expected words or numbers of polarity (negative, neutral, "
            "positive, 0/1, -1/1 ...) or stars from 1 to 5. Say which with --task.scale; for other labels use "
            "--task classification."
        )

    def _point_at_the_odd_one(self, rows: Dataset) -> None:
        """Where most labels are words of polarity and few are not, the first of the few is what is wrong."""
        odd = [i for i, label in enumerate(cells(rows, "label")) if _folded(label) not in _POLARITY_OF]
        if len(odd) < len(rows) / 2:
            hint = did_you_mean(str(rows["label"][odd[0]]), POLARITY)
            raise RowError(odd[0], f'the label "{rows["label"][odd[0]]}" is no polarity. {hint}')

    def _grade(self, row: int, label: Any) -> str | None:
        """The class of a label, or None where the row is left out."""
        spelling = _folded(label)
        if self.scale_read == "polarity":
            grade = _POLARITY_OF.get(spelling) or self.numbers_read.get(spelling)
            if grade is None:
                raise RowError(row, f'the label "{label}" is no polarity: expected negative, neutral or positive.')
        else:
            stars, first = _stars(spelling), 0 if self.scale_read == "stars_from_zero" else 1
            if stars is None or not 0 < stars + 1 - first <= 5:
                raise RowError(row, f'the label "{label}" is no rating from {first} to {first + 4} stars.')
            stars += 1 - first
            if self._graded_as_stars:
                return STAR_CLASSES[max(int(stars + 0.5), 1) - 1]
            grade = "neutral"
            if stars <= self.negative_to:
                grade = "negative"
            elif stars >= self.positive_from:
                grade = "positive"
        if grade == "neutral" and self.grades == "two":
            return None if self.neutral == "leave_out" else self.neutral
        return grade


_POLARITY_OF = {spelling: polarity for polarity, spellings in POLARITY.items() for spelling in spellings.split()}


def _folded(label: Any) -> str:
    return "_".join(label_text(label).strip().lower().split())


def _stars(spelling: str) -> float | None:
    """How many stars a folded label means, or None if it means none."""
    spelling = spelling.replace("_", " ").replace("\ufe0f", "")
    if spelling and set(spelling) <= set("★☆⭐"):
        return float(len(spelling) - spelling.count("☆"))
    if not (match := STARS.fullmatch(spelling)):
        return None
    number = match["number"]
    return STAR_WORDS.get(number) or float(number.replace(",", "."))
