"""Errors whose message is written for the person who made the request."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 2_000
"""Characters of a message; what is left out stands in its middle."""


class RequestError(ValueError):
    """The request or the data is wrong: the message says what, where, what was expected and what to do (exit status 2)."""


class RowError(RequestError):
    """One row of a split is wrong; whoever knows the file turns `row` into a place that a person can open.

    `row` is the index in the rows that were handed over, `message` reads on from "reviews.csv, row 7: ".
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(f"row {row + 1}: {message}")
        self.row = row
        self.message = message


class TrainingError(RuntimeError):
    """A training that cannot go on: the message says where it stood, why it ended and what to do (exit status 1)."""


class Diverged(TrainingError):
    """A training whose loss, or whose model's outputs, are no numbers any more."""


class Lost(TrainingError):
    """A training of several processes of which one has ended, or does not answer."""


class Interrupted(Exception):
    """Work that was ended because a stop was asked for, and that cannot be resumed (exit status 1)."""


class Stopped(Exception):
    """A training that was asked to stop and can go on later (exit status 3)."""


def first_line(error: Exception) -> str:
    """The first line of what a library says, which may quote a file; its type where it says nothing."""
    lines = discreet(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def readable(message: object) -> str:
    """A message as one line for a terminal: it may quote a file, and a file may hold anything.

    What a terminal would obey (control characters, changes of direction) and what is no character is written as its number.
    """
    text = discreet(message)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"
    return harmless(text)


def harmless(text: str) -> str:
    """A text as one line that a terminal shows and does not obey."""
    return "".join(letter if _harmless(letter) else ascii(letter)[1:-1] for letter in text)


def _harmless(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") and letter not in TURNING


TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn a line round. Other formats, joiners say, belong to scripts and emoji."""


SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
"""Variables whose values are nobody else's business."""

KEPT = re.compile(r"\bhf_[A-Za-z0-9]{16,}|(?<=://)[^/\s@]+(?=@)")
"""Tokens of the Hub, and names with passwords in addresses."""


def discreet(message: object) -> str:
    """A message without the tokens and passwords that a library may quote of a request, a proxy or the environment."""
    text = str(message)
    for name in SECRETS:
        if len(secret := os.environ.get(name, "")) > 7:
            text = text.replace(secret, "***")
    return KEPT.sub("***", text)


def listing(words: Iterable[object], limit: int = 12) -> str:
    """Words for a message: all of them, or the first `limit` and how many more there are."""
    every = [str(word) for word in words]
    shown = ", ".join(every[:limit])
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"


def nearest(words: Iterable[str], choices: Iterable[str]) -> str | None:
    """The choice that is most like one of these words, in any case; None where none is like any."""
    folded = {choice.lower(): choice for choice in reversed(list(choices))}
    near = [(word, match) for word in words for match in difflib.get_close_matches(word.lower(), folded, n=1)]
    if not near:
        return None
    return folded[max(near, key=lambda pair: difflib.SequenceMatcher(None, pair[0].lower(), pair[1]).ratio())[1]]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """What to say after "unknown name": the nearest choice, and all there are."""
    choices = list(choices)
    near = nearest([word], choices)
    hint = f'Did you mean "{near}"? ' if near else ""
    return f"{hint}There is: {listing(choices, limit=60)}."
