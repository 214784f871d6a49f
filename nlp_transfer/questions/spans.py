"""Spans: from a model's scores for starts and ends to the best answers over all windows of each question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute
import torch
from datasets import Dataset
from torch import Tensor

NOTHING = -1e9
"""The score of a token that can be no start and no end: finite, so that differences are numbers."""

WINDOWS = 1024
"""Windows whose starts and ends are paired at once."""


def allowed(first: Tensor, count: Tensor, length: int) -> Tensor:
    """Which tokens belong to the context (windows, length), from where it begins in each window, and how many they are."""
    place = torch.arange(length, device=first.device).unsqueeze(0)
    return (place >= first.unsqueeze(1)) & (place < (first + count).unsqueeze(1))


def span_loss(outputs: Any, context: Tensor, null: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The mean of the two cross entropies, of start and of end, summed over the windows.

    Args:
        outputs: with `start_logits` and `end_logits` (windows, tokens).
        context: which tokens can be an answer (windows, tokens).
        null: the token that stands for "no answer" (windows,).
        start, end: the tokens that are right (windows,).
    """
    possible = context.scatter(1, null.unsqueeze(1), True)
    losses = [
        torch.nn.functional.cross_entropy(logits.float().masked_fill(~possible, NOTHING), right, reduction="sum")
        for logits, right in ((outputs.start_logits, start), (outputs.end_logits, end))
    ]
    return (losses[0] + losses[1]) / 2


def kept(outputs: Any, context: Tensor, null: Tensor, most: int, longest: int) -> Tensor:
    """Of each window the best starts and ends, the best span, and the score of no answer, as (windows, 4 * most + 4).

    In their order: scores of the starts, tokens of the starts, scores of the ends, tokens of the ends; score, start and end of
    the best span of at most `longest` tokens, which needs none of these; the score of no answer.
    """
    starts, ends = (
        logits.float().masked_fill(~context, NOTHING) for logits in (outputs.start_logits, outputs.end_logits)
    )
    parts = []
    for scores in (starts, ends):
        best = scores.topk(min(most, scores.shape[1]), dim=1)
        lacking = (0, most - best.values.shape[1])
        parts.append(torch.nn.functional.pad(best.values, lacking, value=NOTHING))
        parts.append(torch.nn.functional.pad(best.indices, lacking).float())
    reach = min(longest, ends.shape[1])
    best_end = torch.nn.functional.pad(ends, (0, reach - 1), value=NOTHING).unfold(1, reach, 1).max(dim=2)
    score, start = (starts + best_end.values).max(dim=1)
    end = start + best_end.indices.gather(1, start.unsqueeze(1)).squeeze(1)
    nothing = outputs.start_logits.gather(1, null.unsqueeze(1)) + outputs.end_logits.gather(1, null.unsqueeze(1))
    return torch.cat([*parts, torch.stack([score, start.float(), end.float()], dim=1), nothing.float()], dim=1)


@dataclass(frozen=True)
class Span:
    """A piece of the context: its text, its characters from and to, and its probability."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class Answer:
    """The answer to a question: "" without a place where there is none. `spans` are the best pieces, whatever is answered."""

    text: str
    start: int | None
    end: int | None
    probability: float
    no_answer_probability: float | None
    no_answer_score: float | None
    """Of no answer over the best span, before the threshold; None where training had an answer to every question."""
    spans: tuple[Span, ...]

    @property
    def next_best(self) -> Span | None:
        """The best piece of the context that is not the answer."""
        rest = self.spans[1:] if self.text else self.spans
        return rest[0] if rest else None

    def words(self, digits: int = 4) -> list[str]:
        """The answer, and its probability."""
        return [self.text or "(no answer)", f"{self.probability:.{digits}f}"]

    def lines(self) -> list[str]:
        """The answer for a person: what it is and where, what else it might be, and whether there is one."""
        place = f"  (characters {self.start} to {self.end})" if self.text else ""
        said = [f"{self.probability:.4f}  {self.text or '(no answer)'}{place}"]
        if other := self.next_best:
            said.append(f"{other.probability:.4f}  next best: {other.text}")
        if self.text and self.no_answer_probability is not None:
            said.append(f"{self.no_answer_probability:.4f}  no answer")
        return said

    def cells(self) -> dict[str, Any]:
        """Flat columns: the answer, its characters, its probability, the next best, the probability of no answer."""
        other = self.next_best
        return {
            "answer": self.text,
            "start": self.start,
            "end": self.end,
            "probability": self.probability,
            "next_best": other.text if other else "",
            "next_best_probability": other.probability if other else 0.0,
            "no_answer_probability": self.no_answer_probability,
        }


@dataclass(frozen=True)
class Spans:
    """The best spans of all questions, the questions in order, of each the best first."""

    question: np.ndarray
    """Whose span it is (spans,)."""
    start: np.ndarray
    """Characters of the context, from and to (spans,)."""
    end: np.ndarray
    score: np.ndarray
    """Sum of the two logits (spans,)."""
    null: np.ndarray
    """The score of no answer (questions,): the lowest of a question's windows, as each but one has good reason for it."""


def best_spans(outputs: np.ndarray, windows: Dataset, questions: int, most: int, longest: int) -> Spans:
    """The best answers of each question over all of its windows, each span once.

    Args:
        outputs: as `kept` gave them, of all windows.
        windows: as `windows.encoded` gave them.
        questions: how many there are.
        most: spans of a question.
        longest: tokens of a span.
    """
    table = windows.with_format("arrow")[:]
    row, first = (table[name].to_numpy() for name in ("row", "first"))
    pairs = [
        _pairs(outputs[i : i + WINDOWS], first[i : i + WINDOWS], most, longest) for i in range(0, len(row), WINDOWS)
    ]
    window = np.concatenate([found[0] + i * WINDOWS for i, found in enumerate(pairs)])
    start, end, score = (np.concatenate([found[part] for found in pairs]) for part in (1, 2, 3))
    begins = np.concatenate([[0], np.cumsum(pyarrow.compute.list_value_length(table["starts"]).to_numpy())])
    characters = [table[name].combine_chunks().flatten().to_numpy() for name in ("starts", "ends")]
    start, end = characters[0][begins[window] + start], characters[1][begins[window] + end]
    some = end > start  # tokens of white space are no answer
    window, start, end, score = window[some], start[some], end[some], score[some]
    null = np.full(questions, np.inf)
    np.minimum.at(null, row, outputs[:, -1])
    question = row[window]
    # windows overlap, so that one span may have been found twice
    order = np.lexsort((-score, end, start, question))
    fresh = np.ones(len(order), dtype=bool)
    for values in (question, start, end):
        fresh[1:] &= values[order][1:] == values[order][:-1]
    fresh[1:] = ~fresh[1:]
    once = order[fresh]
    order = once[np.lexsort((start[once], -score[once], question[once]))]
    counts = np.bincount(question[order], minlength=questions)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = order[rank < most]
    return Spans(question[order], start[order], end[order], score[order], null)


def _pairs(
    outputs: np.ndarray, first: np.ndarray, most: int, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The best pairs of start and end in some windows: window, start and end among the context's tokens, score."""
    width = outputs.shape[1] // 4 - 1
    starts, start_at, ends, end_at = (outputs[:, i * width : (i + 1) * width] for i in range(4))
    scores = starts[:, :, None] + ends[:, None, :]
    tokens = end_at[:, None, :] - start_at[:, :, None] + 1
    scores = np.where((tokens >= 1) & (tokens <= longest), scores, 2 * NOTHING).reshape(len(outputs), -1)
    best = np.argpartition(-scores, min(most, scores.shape[1] - 1), axis=1)[:, :most]
    window, place = np.repeat(np.arange(len(outputs)), best.shape[1]), best.ravel()
    score = scores[window, place]
    # a score with NOTHING in it is far below any of logits
    real = score > NOTHING / 2
    window, place, score = window[real], place[real], score[real]
    start, end = start_at[window, place // width], end_at[window, place % width]
    # the best of all pairs need not be one of the best starts and ends
    some = np.flatnonzero(outputs[:, -4] > NOTHING / 2)
    window, score = np.concatenate([window, some]), np.concatenate([score, outputs[some, -4]])
    start, end = (
        np.concatenate([found, outputs[some, at]]).astype(np.int64) - first[window]
        for found, at in ((start, -3), (end, -2))
    )
    return window, start, end, score


def answers(found: Spans, contexts: Sequence[str], threshold: float | None) -> list[Answer]:
    """The answer to each question.

    Args:
        found: the best spans of all questions.
        contexts: one per question.
        threshold: the score of no answer over the best span's above which there is none; None where there always is one.
    """
    ends = np.cumsum(np.bincount(found.question, minlength=len(contexts))).tolist()
    scores, nulls = found.score.astype(np.float64), found.null.astype(np.float64)
    places = list(zip(found.start.tolist(), found.end.tolist(), strict=True))
    given = []
    for i, (context, begin, end) in enumerate(zip(contexts, [0, *ends[:-1]], ends, strict=True)):
        mine = scores[begin:end]
        every = np.append(mine, nulls[i]) if threshold is not None or begin == end else mine
        shares = np.exp(every - every.max())
        shares = (shares / shares.sum()).tolist()
        pieces = tuple(
            Span(context[start:stop], start, stop, share)
            for (start, stop), share in zip(places[begin:end], shares, strict=False)
        )
        score = None if threshold is None else float(nulls[i] - (mine[0] if len(mine) else NOTHING))
        nothing = None if threshold is None else shares[-1]
        if not pieces or (score is not None and threshold is not None and score > threshold):
            given.append(Answer("", None, None, shares[-1], nothing, score, pieces))
        else:
            first = pieces[0]
            given.append(Answer(first.text, first.start, first.end, first.probability, nothing, score, pieces))
    return given


def best_threshold(gains: np.ndarray, without: np.ndarray, scores: np.ndarray) -> float:
    """The no-answer score above which not to answer, such that the mean score of the questions is highest.

    Args:
        gains: what answering each question scores (questions,).
        without: what not answering it scores (questions,).
        scores: the score of no answer over that of the best span (questions,).

    Returns:
        halfway between two questions' scores; of equally good ones that nearest to 0.
    """
    order = np.argsort(scores, kind="stable")
    answered = np.concatenate([[0.0], np.cumsum(gains[order])])
    silent = np.concatenate([[0.0], np.cumsum(without[order])])
    total = answered + silent[-1] - silent
    ranked = scores[order]
    edges = np.concatenate([[ranked[0] - 1], (ranked[1:] + ranked[:-1]) / 2, [ranked[-1] + 1]])
    # questions of one score are answered together or not at all
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = possible & (total >= total[possible].max() - 1e-9)
    return float(edges[best][np.argmin(np.abs(edges[best]))])
