"""What a run does not read of rows that it answers: tokens beyond what its model reads at once, and ends of questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from nlp_transfer.data.checks import PLACE, Split
from nlp_transfer.data.features import Features
from nlp_transfer.data.findings import Finding, Place, plural, share, some
from nlp_transfer.data.inspection import Tokens, longer, tokens_read
from nlp_transfer.long_texts import LongTexts
from nlp_transfer.tasks import column


@dataclass
class Unread:
    """Counts over the rows of one origin, which may come window by window; memory holds no row of them."""

    origin: str
    rows: int = 0
    cut: int = 0
    """Rows that are not read whole."""
    tokens: dict[str, int] = field(default_factory=dict)
    """As `Tokens.said`; empty where a task reads all but what it says itself."""
    places: tuple[Place, ...] = ()
    """Of the first rows that are not read whole."""
    what: str = ""
    advice: str = ""

    def add(self, split: Split, features: Features) -> Unread:
        """Count these rows too, whose features these are; gives itself."""
        self.rows += len(split)
        if "cut" in features.columns.column_names:
            cut = np.unique(features.rows[np.array(column(features.columns, "cut"), dtype=bool)])
            self.what = "with a question of which only the beginning is read"
        else:
            read = tokens_read({"": split}, {"": features}).get("")
            if read is None:
                return self
            cut = self._counted(read, features)
        self.cut += len(cut)
        self.places = some((*self.places, *_places(split, cut)))
        return self

    def _counted(self, read: Tokens, features: Features) -> np.ndarray:
        for name, count in read.said().items():
            self.tokens[name] = self.tokens.get(name, 0) + count
        self.what = longer(features)
        self.advice = " To read more, train with a higher --data.max_length, where the backbone can"
        self.advice += ", or with --task.long_texts windows." if isinstance(features.task, LongTexts) else "."
        return np.flatnonzero(read.lost > 0)

    def sentence(self) -> str | None:
        """What a reader must know, in counts; None where all is read."""
        if not self.cut:
            return None
        said = f"{self.origin}: {plural(self.cut)} of {self.rows:,} {self.what}"
        if self.tokens:
            lost, total = self.tokens["not_read"], self.tokens["tokens"]
            said += f"; {lost:,} of {total:,} tokens ({share(lost, total)}) are not read"
        return f"{said}.{self.advice}"

    def warnings(self) -> list[str]:
        """The sentence with the first rows it is about; nothing where all is read."""
        said = self.sentence()
        return [] if said is None else [str(Finding("cut_texts", said, self.cut, self.places))]


def _places(split: Split, rows: np.ndarray) -> Iterator[Place]:
    return (Place(split.origin, f"{split.unit} {split.rows[int(row)][PLACE]}") for row in rows)
