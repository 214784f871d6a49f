"""Long texts: which tokens are read of texts longer than a model reads at once, and how windows become one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from nlp_transfer.errors import RequestError
from nlp_transfer.members import FITTED

Pooling = Literal["mean", "max"]

Pieces = tuple[slice, ...]
"""What is read of one text at once: pieces of its tokens, one behind the other."""


@dataclass(frozen=True)
class LongTexts:
    """What a task does with texts that are longer than `data.max_length`: settings of every task that reads one text or two."""

    long_texts: Literal["truncate", "head_and_tail", "windows"] = "truncate"
    """What is read of a text longer than `data.max_length`: its beginning (`truncate`), its beginning and its end
    (`head_and_tail`), or all of it in overlapping `windows`, whose outputs are pooled into one answer."""
    head_share: float = 0.25
    """Share of the tokens read that `head_and_tail` takes from the beginning (Sun et al. 2019: 128 of 510)."""
    stride: int = 32
    """Tokens that neighbouring windows share at least; at most half of what a window has room for."""
    pool_windows: Pooling = "mean"
    """How the outputs of a row's windows become one: their mean, or the largest of each output."""
    max_windows: int = 32
    """Windows of a row that training reads at once, spread evenly over a text that has more; answers are given by all."""

    learns: bool = field(default=False, metadata=FITTED)

    def __post_init__(self) -> None:
        if not 0 < self.head_share < 1:
            raise RequestError(f"task.head_share is {self.head_share:g}: expected a share between 0 and 1.")
        for name, least in (("stride", 0), ("max_windows", 1)):
            if getattr(self, name) < least:
                raise RequestError(f"task.{name} is {getattr(self, name)}: expected {least} or more.")

    def learning(self) -> Self:
        """The task as it reads rows to learn from: no more than `max_windows` windows of each."""
        return replace(self, learns=True) if self.long_texts == "windows" else self

    @property
    def windows_pooled(self) -> Pooling | None:
        """How the outputs of a row's features become one; None where each row has one."""
        return self.pool_windows if self.long_texts == "windows" else None

    def parts(self, lengths: Sequence[int], room: int) -> Parts:
        """What is read of the texts of a row, of so many tokens each, with room for so many at once.

        Two texts share the room so that the shorter one is read whole where it takes no more than half. In windows a text
        that has room is in each of them, and the others move over theirs side by side, from the beginning to the end.

        Raises:
            RequestError: for windows without room for a token of every text.
        """
        rooms = shared(lengths, room)
        if all(length <= each for length, each in zip(lengths, rooms, strict=True)):
            return Parts([tuple((slice(0, length),) for length in lengths)], 0)
        if self.long_texts != "windows":
            window = tuple(self._ends(length, each) for length, each in zip(lengths, rooms, strict=True))
            return Parts([window], sum(lengths) - sum(rooms))
        if any(each == 0 < length for length, each in zip(lengths, rooms, strict=True)):
            of = "both texts" if len(lengths) > 1 else "the text"
            raise RequestError(
                f"data.max_length leaves a window room for {room} tokens of {of}: raise it by {len(lengths) - room} or more."
            )
        most = self.max_windows if self.learns else None
        count = max(windows(length, each, self.stride) for length, each in zip(lengths, rooms, strict=True))
        count = min(count, most or count)
        moved = zip(*(spread(length, each, count) for length, each in zip(lengths, rooms, strict=True)), strict=True)
        lost = sum(max(0, length - count * each) for length, each in zip(lengths, rooms, strict=True))
        return Parts([tuple((piece,) for piece in window) for window in moved], lost)

    def _ends(self, length: int, room: int) -> Pieces:
        """The beginning of a text and, for `head_and_tail`, its end."""
        if length <= room or self.long_texts == "truncate":
            return (slice(0, min(length, room)),)
        head = min(room, max(1, round(self.head_share * room)))
        return slice(0, head), slice(length - (room - head), length)


class Parts(NamedTuple):
    """What is read of a row: of every window the pieces of each text; and how many tokens are in none."""

    windows: list[tuple[Pieces, ...]]
    lost: int


def shared(lengths: Sequence[int], room: int) -> list[int]:
    """How many tokens of each of one or two texts there is room for: the longer one gives way until both are equal."""
    if len(lengths) == 1 or sum(lengths) <= room:
        return [min(length, room) for length in lengths]
    first, second = lengths
    ours = max(room - second, min(first, room - room // 2))
    return [ours, room - ours]


def windows(length: int, room: int, stride: int) -> int:
    """How many windows with so much room cover so many tokens, where neighbours share `stride` or half their room."""
    if length <= room:
        return 1
    step = room - min(stride, room // 2)
    return 1 + -(-(length - room) // step)


def spread(length: int, room: int, count: int) -> list[slice]:
    """So many windows over a text, evenly from its beginning to its end, all of them full or the whole text."""
    if length <= room or count == 1:
        return [slice(0, min(length, room))] * count
    starts = [i * (length - room) // (count - 1) for i in range(count)]
    return [slice(start, start + room) for start in starts]


def pooled(outputs: Tensor, counts: Sequence[int], pooling: Pooling) -> Tensor:
    """Outputs of windows (windows, outputs), a row's one behind the other, as one per row (rows, outputs)."""
    if len(counts) == len(outputs):
        return outputs
    padded = torch.nn.utils.rnn.pad_sequence(outputs.split(list(counts)), batch_first=True)
    number = torch.tensor(counts, device=outputs.device).unsqueeze(-1)
    if pooling == "mean":
        return padded.sum(1) / number
    beyond = torch.arange(padded.shape[1], device=outputs.device) >= number
    return padded.masked_fill(beyond.unsqueeze(-1), -torch.inf).amax(1)


def pooled_by_row(outputs: np.ndarray, rows: np.ndarray, pooling: Pooling) -> np.ndarray:
    """As `pooled`, for arrays of any number of windows; `rows` (windows,) are ascending."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    if pooling == "max":
        return np.maximum.reduceat(outputs, starts)
    sums = np.add.reduceat(outputs, starts, dtype=np.float64)
    counts = np.diff(starts, append=len(rows))
    return (sums / counts[:, None]).astype(outputs.dtype)
