"""Spans: the vectorised search finds what a search through all pairs finds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_transfer.questions import spans
from nlp_transfer.questions.spans import Answer, answers, best_spans, best_threshold, kept, span_loss

TOKENS = 24


def made(seed: int, questions: int = 5) -> tuple[SimpleNamespace, torch.Tensor, torch.Tensor, Dataset, list[str]]:
    """Random scores for windows over texts of one-character tokens, several windows for some questions."""
    generator = np.random.default_rng(seed)
    columns: dict[str, list] = {"row": [], "first": [], "starts": [], "ends": [], "null": []}
    texts = []
    for question in range(questions):
        length = int(generator.integers(1, 40))
        texts.append("".join(chr(97 + i % 26) for i in range(length)))
        first = int(generator.integers(1, 8))
        room = TOKENS - first - 1
        for begin in range(0, max(1, length - room // 2), max(1, room // 2)):
            places = np.arange(begin, min(begin + room, length))
            columns["row"].append(question)
            columns["first"].append(first)
            columns["null"].append(0)
            columns["starts"].append(places.astype(np.int32))
            columns["ends"].append((places + 1).astype(np.int32))
    windows = len(columns["row"])
    logits = [torch.from_numpy(generator.normal(size=(windows, TOKENS)).astype(np.float32)) for _ in range(2)]
    count = torch.tensor([len(starts) for starts in columns["starts"]])
    context = spans.allowed(torch.tensor(columns["first"]), count, TOKENS)
    outputs = SimpleNamespace(start_logits=logits[0], end_logits=logits[1])
    return outputs, context, torch.zeros(windows, dtype=torch.long), Dataset.from_dict(columns), texts


def naive(outputs: SimpleNamespace, windows: Dataset, question: int, longest: int) -> dict[tuple[int, int], float]:
    """The best score of every possible span of a question."""
    found: dict[tuple[int, int], float] = {}
    for w, row in enumerate(windows):
        if row["row"] != question:
            continue
        for i in range(len(row["starts"])):
            for j in range(i, min(i + longest, len(row["starts"]))):
                score = float(outputs.start_logits[w, row["first"] + i] + outputs.end_logits[w, row["first"] + j])
                place = (row["starts"][i], row["ends"][j])
                found[place] = max(score, found.get(place, -np.inf))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_best_spans_are_those_of_a_search_through_all(seed: int) -> None:
    outputs, context, null, windows, texts = made(seed)
    scores = kept(outputs, context, null, TOKENS, 5).numpy()
    found = best_spans(scores, windows, len(texts), most=6, longest=5)
    for question in range(len(texts)):
        mine = found.question == question
        places = list(zip(found.start[mine].tolist(), found.end[mine].tolist(), strict=True))
        every = naive(outputs, windows, question, 5)
        expected = sorted(every, key=lambda place: -every[place])[:6]
        assert places == expected
        np.testing.assert_allclose(found.score[mine], [every[place] for place in expected], atol=1e-5)
    rows = np.array(windows["row"][:])
    nulls = (outputs.start_logits + outputs.end_logits)[:, 0].numpy()
    np.testing.assert_allclose(found.null, [nulls[rows == q].min() for q in range(len(texts))], atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("longest", [1, 3, 100])
def test_the_best_span_is_found_whatever_the_best_starts_and_ends(seed: int, longest: int) -> None:
    """With one start and one end per window, most of which make no span."""
    outputs, context, null, windows, texts = made(seed)
    found = best_spans(kept(outputs, context, null, 1, longest).numpy(), windows, len(texts), 1, longest)
    assert found.question.tolist() == list(range(len(texts)))
    for question, start, end in zip(found.question, found.start, found.end, strict=True):
        every = naive(outputs, windows, question, longest)
        assert (start, end) == max(every, key=lambda place: every[place])
    assert all(answer.text for answer in answers(found, texts, None))


def test_batches_of_windows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, context, null, windows, texts = made(3, questions=9)
    scores = kept(outputs, context, null, 8, 7).numpy()
    whole = best_spans(scores, windows, len(texts), 5, 7)
    monkeypatch.setattr(spans, "WINDOWS", 2)
    pieces = best_spans(scores, windows, len(texts), 5, 7)
    for name in ("question", "start", "end", "score", "null"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def test_what_is_kept_does_not_grow_with_the_tokens() -> None:
    outputs, context, null, _, _ = made(0)
    assert kept(outputs, context, null, 4, 30).shape == (len(null), 20)
    # fewer tokens than starts that are wanted: the others can be no part of an answer
    scores = kept(outputs, context, null, 100, 30)
    assert scores.shape == (len(null), 404)
    assert (scores[:, TOKENS:100] == spans.NOTHING).all()


def test_probabilities_are_of_the_best_and_of_no_answer() -> None:
    outputs, context, null, windows, texts = made(1)
    outputs.start_logits[:, 0] += torch.tensor([9.0 * (row == 0) for row in windows["row"]])
    found = best_spans(kept(outputs, context, null, 20, 30).numpy(), windows, len(texts), 20, 30)
    always = answers(found, texts, None)
    maybe = answers(found, texts, 0.0)
    for text, sure, doubtful in zip(texts, always, maybe, strict=True):
        assert sum(span.probability for span in sure.spans) == pytest.approx(1)
        assert sure.no_answer_probability is None
        assert sure.text == sure.spans[0].text == text[sure.start : sure.end]
        assert sum(span.probability for span in doubtful.spans) + doubtful.no_answer_probability == pytest.approx(1)
        likelier = doubtful.no_answer_probability > doubtful.spans[0].probability
        assert (doubtful.text == "") == likelier
        assert doubtful.next_best in doubtful.spans[: 1 if likelier else 2]
    assert {answer.text == "" for answer in maybe} == {True, False}
    assert all(answer.text == "" for answer in answers(found, texts, -1e6))
    assert all(answer.text for answer in answers(found, texts, 1e6))


def test_a_context_without_tokens_has_no_answer() -> None:
    windows = Dataset.from_dict({"row": [0, 1], "first": [2, 2], "starts": [[], [0]], "ends": [[], [1]]})
    outputs = SimpleNamespace(start_logits=torch.ones(2, 4), end_logits=torch.ones(2, 4))
    context = spans.allowed(torch.tensor([2, 2]), torch.tensor([0, 1]), 4)
    found = best_spans(kept(outputs, context, torch.zeros(2, dtype=torch.long), 3, 3).numpy(), windows, 2, 3, 3)
    for threshold in (None, 0.0):
        nothing, one = answers(found, ["\u200b", "x"], threshold)
        assert (nothing.text, nothing.start, nothing.spans) == ("", None, ())
        assert one.text == "x"


def test_an_answer_for_a_person_and_for_a_file() -> None:
    pieces = (spans.Span("nine", 3, 7, 0.6), spans.Span("ten", 9, 12, 0.1))
    answer = Answer("nine", 3, 7, 0.6, 0.3, -0.7, pieces)
    assert answer.lines() == ["0.6000  nine  (characters 3 to 7)", "0.1000  next best: ten", "0.3000  no answer"]
    assert answer.cells()["next_best"] == "ten"
    nothing = Answer("", None, None, 0.3, 0.3, 1.0, pieces)
    assert nothing.lines() == ["0.3000  (no answer)", "0.6000  next best: nine"]
    assert nothing.cells() == {
        "answer": "",
        "start": None,
        "end": None,
        "probability": 0.3,
        "next_best": "nine",
        "next_best_probability": 0.6,
        "no_answer_probability": 0.3,
    }


def test_the_loss_is_that_of_the_tokens_that_can_be_right() -> None:
    outputs, context, null, _, _ = made(2)
    generator = np.random.default_rng(0)
    possible = [[0, *np.flatnonzero(row).tolist()] for row in context.numpy()]
    start, end = ([int(generator.choice(tokens)) for tokens in possible] for _ in range(2))
    expected = 0.0
    for logits, right in ((outputs.start_logits, start), (outputs.end_logits, end)):
        for row, tokens, token in zip(logits, possible, right, strict=True):
            expected -= float(row[tokens].log_softmax(0)[tokens.index(token)]) / 2
    loss = span_loss(outputs, context, null, torch.tensor(start), torch.tensor(end))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, database=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), st.integers(-3, 3)), min_size=1, max_size=8))
def test_the_threshold_is_the_best_there_is(questions: list[tuple[float, bool, int]]) -> None:
    gains, without, scores = (np.array(values, dtype=float) for values in zip(*questions, strict=True))

    def total(threshold: float) -> float:
        return float(np.where(scores > threshold, without, gains).sum())

    found = best_threshold(gains, without, scores)
    every = [total(threshold) for threshold in np.arange(-4.5, 5)]
    assert total(found) == pytest.approx(max(every))
    assert not any(score == found for score in scores)
