"""Question answering: a question and a context, whose answer is a piece of the context, or nothing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, ClassVar, Self

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerBase

from nlp_transfer.errors import RequestError, RowError
from nlp_transfer.members import FITTED
from nlp_transfer.questions import kinds, references, spans, windows
from nlp_transfer.questions.answers import text_scores
from nlp_transfer.questions.spans import Answer
from nlp_transfer.tasks import Columns, Mistake, Primary, Remark, Task, column, pad
from nlp_transfer.training.batch import Batch

BESIDE = ("answer_start", "is_impossible")
"""Columns that only say more about the answers."""


@dataclass(frozen=True)
class QA(Task):
    """A question about a context: its answer is a piece of the context; or there is none (SQuAD 1.1 and 2.0)."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("question", "query"),
        "context": ("context", "passage", "paragraph", "document", "text", "body"),
        "answers": ("answers", "answer", "answer_text"),
        "answer_start": ("answer_start", "start", "offset"),
        "id": ("id", "question_id", "qid"),
        "is_impossible": ("is_impossible",),
    }
    answer_columns: ClassVar[tuple[str, ...]] = ("answers",)
    further_columns: ClassVar[tuple[str, ...]] = ("answer_start", "id", "is_impossible")
    title: ClassVar[str] = "question answering"
    primary: ClassVar[Primary] = Primary("f1")
    rows_apart: ClassVar[bool] = False
    pools: ClassVar[bool] = False
    closed: ClassVar[bool] = False
    pipeline_tag: ClassVar[str] = "question-answering"
    sample: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "question": "When does it open?",
            "context": "It opens at nine.",
            "answers": "nine",
            "answer_start": 12,
            "id": 1,
            "is_impossible": False,
        },
        {"question": "Who owns it?", "context": "It opens at nine.", "answers": "", "id": 2, "is_impossible": True},
        {"question": "What is sold?", "context": "Bread is sold here.", "answers": "Bread", "answer_start": 0, "id": 3},
    )

    stride: int = 64
    """Tokens of context that neighbouring windows share; at most half of what a window has room for."""
    n_best: int = 20
    """Starts and ends of a window that are paired, and pieces of a context whose probabilities are compared."""
    max_answer_length: int = 30
    """Tokens of an answer, at most."""

    unanswerable: float = field(default=0.0, metadata=FITTED)
    threshold: float = field(default=0.0, metadata=FITTED)

    def __post_init__(self) -> None:
        for name, least, most in (("stride", 0, inf), ("n_best", 1, 100), ("max_answer_length", 1, inf)):
            if not least <= (value := getattr(self, name)) <= most:
                raise RequestError(
                    f"task.{name} is {value}: expected {f'{least} or more' if most == inf else f'{least} to {most}'}."
                )

    def fault(self, column: str, cell: Any) -> str | None:
        """As every task; and answers may be empty and have several forms."""
        try:
            if column == "answers":
                references.read(cell)
            elif column == "answer_start":
                references.offset(cell)
            elif column == "is_impossible":
                references.impossible(cell)
            elif column != "id" or not (isinstance(cell, int | float) or references.empty(cell)):
                return super().fault(column, cell)
        except ValueError as error:
            return str(error)
        return None

    def faults(self, rows: Columns) -> Mapping[int, tuple[str, str]]:
        """Answers that are not where they should be, or that another cell denies, and ids that stand twice."""
        wrong: dict[int, tuple[str, str]] = {}
        if "answers" in rows:
            for i, found in enumerate(references.every(rows)):
                if isinstance(found, str):
                    wrong[i] = ("answers", found)
            for i, (flag, cell) in enumerate(zip(rows.get("is_impossible", ()), rows["answers"], strict=False)):
                if reason := references.contradiction(flag, references.read(cell)):
                    wrong[i] = ("is_impossible", reason)
        seen: set[str] = set()
        for i, name in enumerate(rows.get("id", ())):
            if references.empty(name):
                continue
            if str(name) in seen:
                wrong.setdefault(i, ("id", f"the id {name} stands in an earlier row too: every question has its own"))
            seen.add(str(name))
        return wrong

    def uniform(self, rows: Columns) -> Columns:
        """Answers as columns, with offsets that stood beside them; ids where any row has one."""
        kept = {name: cells for name, cells in rows.items() if name not in BESIDE}
        if "answers" in rows:
            starts = rows.get("answer_start") or [None] * len(rows["answers"])
            kept["answers"] = [references.columns(*cells) for cells in zip(rows["answers"], starts, strict=True)]
        if all(map(references.empty, rows.get("id", ()))):
            kept.pop("id", None)
        elif "id" in kept:
            kept["id"] = [None if references.empty(name) else name for name in kept["id"]]
        return kept

    def fit(self, rows: Dataset) -> Self:
        """Learn whether there are questions without an answer."""
        without = sum(not references.read(cell) for cell in column(rows, "answers"))
        if without == len(rows):
            raise RequestError("no training question has an answer: expected some to learn from.")
        return replace(self, unanswerable=without / len(rows))

    def read(self, rows: Dataset) -> Dataset:
        """Answers as the lists `text` and `answer_start`, every one where it stands."""
        if "answers" not in rows.column_names:
            return rows
        answers = []
        for i, found in enumerate(references.every(_cells(rows))):
            if isinstance(found, str):
                raise RowError(i, found)
            answers.append({"text": [each.text for each in found], "answer_start": [each.start for each in found]})
        gone = [name for name in ("answers", *BESIDE) if name in rows.column_names]
        return rows.remove_columns(gone).add_column("answers", answers)

    def repairs(self, rows: Dataset) -> list[Remark]:
        """Offsets that are off, and texts without one that stand in several places."""
        if "answers" not in rows.column_names:
            return []
        every = [() if isinstance(found, str) else found for found in references.every(_cells(rows))]
        moved = [i for i, found in enumerate(every) if any(each.moved for each in found)]
        first = [i for i, found in enumerate(every) if any(each.first for each in found)]
        remarks = []
        if moved:
            message = (
                f"{len(moved)} of {len(rows):,} questions with an answer that begins elsewhere than answer_start says; it "
                "stands in the context once, and was taken from there."
            )
            remarks.append(Remark("repaired_offsets", message, moved))
        if first:
            message = (
                f"{len(first)} of {len(rows):,} questions with an answer that stands in the context several times and has no "
                "answer_start; the first was taken, of whole words where there are some."
            )
            remarks.append(Remark("ambiguous_answers", message, first))
        return remarks

    def notes(self) -> list[str]:
        """Whether the model may give no answer."""
        if not self.unanswerable:
            return ["every training question has an answer, so every question is answered."]
        share = f"{100 * self.unanswerable:.1f}"
        return [f"{share} % of the training questions have no answer; when to give none is chosen on validation."]

    def strata(self, rows: Dataset) -> Sequence[Hashable]:
        """Whether there is an answer: a cut keeps the share as nearly as whole contexts can."""
        return [not references.read(answers) for answers in column(rows, "answers")]

    def together(self, rows: Dataset) -> Sequence[Hashable] | None:
        """The contexts: a model that has seen one must not be judged by it."""
        return column(rows, "context")

    def groups(self, rows: Dataset) -> Mapping[str, Sequence[str]]:
        """By the question's first question word, and by the words of its shortest true answer."""
        return {
            "question_word": [kinds.question_word(question) for question in column(rows, "question")],
            "answer_length": [kinds.answer_length(texts) for texts in _golds(rows)],
        }

    def head(self) -> tuple[Any, dict[str, Any]]:
        """A score as start and one as end of the answer, for every token."""
        return AutoModelForQuestionAnswering, {"num_labels": 2}

    def encode(self, rows: Columns, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        """Windows over each context, as `windows.encoded` makes them; with the `targets` of the first true answer."""
        found = windows.encoded(column(rows, "question"), column(rows, "context"), tokenizer, self.stride)
        if "answers" in rows:
            first = [
                (answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0]))
                if answers["text"]
                else None
                for answers in column(rows, "answers")
            ]
            found |= windows.targets(found, first, self.max_answer_length)
        return found

    def collate(self, features: Columns, tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Token ids, their types and mask (windows, tokens); which tokens are context, and the right ones."""
        ids, mask = pad(features["input_ids"], tokenizer.pad_token_id)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in features:
            inputs["token_type_ids"] = pad(features["token_type_ids"], 0)[0]
        first = torch.tensor(features["first"])
        count = torch.tensor([len(starts) for starts in features["starts"]])
        targets = {name: torch.tensor(features[name]) for name in ("null", "start", "end") if name in features}
        return Batch(inputs, {**targets, "context": spans.allowed(first, count, ids.shape[1])})

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """Cross entropy of start and of end over the tokens of the context and that for no answer, their mean."""
        targets = batch.targets
        loss = spans.span_loss(outputs, targets["context"], targets["null"], targets["start"], targets["end"])
        return loss, float(len(targets["null"]))

    def keep(self, outputs: Any, batch: Batch) -> Tensor:
        """The best starts, ends and span of each window, as `spans.kept` gives them."""
        context, null = batch.targets["context"], batch.targets["null"]
        return spans.kept(outputs, context, null, self.n_best, self.max_answer_length)

    def calibrate(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> Self:
        """The task with the threshold of no answer that gives the best F1, where training had unanswerable questions."""
        if not self.unanswerable:
            return self
        answers, golds = self.decode(outputs, features, rows), _golds(rows)
        best = text_scores([answer.spans[0].text if answer.spans else "" for answer in answers], golds)[1]
        silent = text_scores([""] * len(answers), golds)[1]
        scores = np.array([answer.no_answer_score for answer in answers])
        return replace(self, threshold=spans.best_threshold(best, silent, scores))

    def decode(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> list[Any]:
        """The best span over all windows of each question, or none where its score is over the threshold.

        Probabilities are a softmax over the scores of the `n_best` spans, and of no answer where training had such questions.
        """
        contexts = column(rows, "context")
        found = spans.best_spans(outputs, features, len(contexts), self.n_best, self.max_answer_length)
        return spans.answers(found, contexts, self.threshold if self.unanswerable else None)

    def judged(self, answers: Sequence[Answer], rows: Dataset) -> dict[str, np.ndarray]:
        """Exact match, F1, and whether there is an answer at all (rows,)."""
        golds = _golds(rows)
        exact, f1 = text_scores([answer.text for answer in answers], golds)
        return {"exact_match": exact, "f1": f1, "answerable": np.array([bool(texts) for texts in golds])}

    def metrics(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Exact match and F1, 0 to 1; where there are both kinds of questions, also of the answerable and the others alone."""
        exact, f1, answerable = (judged[name] for name in ("exact_match", "f1", "answerable"))
        scores = {"exact_match": float(exact.mean()), "f1": float(f1.mean())}
        if answerable.any() and not answerable.all():
            scores["answerable_exact_match"] = float(exact[answerable].mean())
            scores["answerable_f1"] = float(f1[answerable].mean())
            # of no answer exact match and F1 are one
            scores["unanswerable_accuracy"] = float(exact[~answerable].mean())
        return scores

    def details(self, answers: Sequence[Answer], rows: Dataset, judged: Mapping[str, np.ndarray]) -> dict[str, Any]:  # noqa: ARG002
        """How many questions have an answer, how many were given one, and from which score on none is given."""
        answerable = sum(bool(texts) for texts in _golds(rows))
        answered = sum(bool(answer.text) for answer in answers)
        counts = {"questions": len(answers), "answerable": answerable, "answered": answered}
        return {**counts, "no_answer_threshold": self.threshold if self.unanswerable else None}

    def mistakes(self, answers: Sequence[Answer], rows: Dataset) -> list[Mistake]:
        """The questions whose answer is none of the true ones, word for word."""
        golds = _golds(rows)
        exact = text_scores([answer.text for answer in answers], golds)[0]
        return [
            Mistake(i, list(dict.fromkeys(golds[i])), answers[i].text, answers[i].probability)
            for i in np.flatnonzero(exact == 0).tolist()
        ]


def _cells(rows: Dataset) -> Columns:
    """The columns that say where answers are, read whole."""
    return {name: column(rows, name) for name in ("context", "answers", "answer_start") if name in rows.column_names}


def _golds(rows: Dataset) -> list[list[str]]:
    """The texts of each question's true answers."""
    return [answers["text"] for answers in column(rows, "answers")]
