"""Entities: names, places, dates and the like in a text, each with its characters and its type (token classification)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow.compute
import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from torch import Tensor
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from nlp_transfer import tagging
from nlp_transfer.errors import RequestError, RowError, did_you_mean, listing
from nlp_transfer.labels import IMBALANCE, rare_labels, similar_labels
from nlp_transfer.members import FITTED
from nlp_transfer.questions.windows import separates
from nlp_transfer.tagging import Text, markup, mentions, schemes, words
from nlp_transfer.tagging.mentions import Answer, Mention
from nlp_transfer.tagging.words import Splitting
from nlp_transfer.tasks import Columns, Mistake, Primary, Remark, Task, column, pad
from nlp_transfer.training.batch import Batch

IGNORED = -100
"""The number that stands where no word is answered: transformers' own heads pass over it too."""

REPAIRS = {
    "repaired_tags": "tags that break their scheme: I- or E- that continues nothing was read as a beginning.",
    "entities_without_end": "an entity without its E- or S-: it goes as far as its tags do.",
    "trimmed_spans": "white space at the edge of a span, which was left away.",
    "spans_inside_words": "an entity that begins or ends inside a word: its whole words are learned, it is judged as it stands.",
}
"""Kinds of repairs, and what was done."""


@dataclass(frozen=True)
class Entities(Task):
    """Which pieces of a text are entities, and of which types: people, places, products, dates (CoNLL 2003)."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = markup.COLUMNS
    answer_columns: ClassVar[tuple[str, ...]] = ("entities",)
    known_together: ClassVar[tuple[Mapping[str, str], ...]] = markup.TOGETHER
    primary: ClassVar[Primary] = Primary("f1")
    rows_apart, pools, closed = False, False, False
    pipeline_tag: ClassVar[str] = "token-classification"
    sample: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"text": "Ada Novak left.", "entities": [{"start": 0, "end": 9, "label": "PERSON"}]},
        {"text": "It rained all day.", "entities": []},
        {"text": "Porto is steep.", "entities": [{"start": 0, "end": 5, "label": "PLACE"}]},
    )

    scheme: Literal["auto", "iob1", "bio2", "bioes", "plain"] = "auto"
    """How tags say where entities begin and end; `auto`: recognised from those of training."""
    words: Literal["auto", "space", "punctuation"] = "auto"
    """How a text is split into words: at white space and around words (`space`), or at all punctuation; `auto`: the latter,
    but `space` where training has tokens, which are words as they stand."""
    piece: Literal["auto", "first", "last"] = "auto"
    """The piece of a word that is labelled; `auto`: the first, but the last for a model without a token for sentences, which
    reads from left to right and has seen the word only there."""
    stride: int = 64
    """Tokens that neighbouring windows of a long text share; at most half of a window."""
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """What a word counts in the loss, by its type or O: `balanced` (rare ones count more), or a number for each."""

    types: tuple[str, ...] = field(default=(), metadata=FITTED)
    scheme_read: str = field(default="", metadata=FITTED)
    of_tokens: bool = field(default=False, metadata=FITTED)
    split: Splitting = field(default="punctuation", metadata=FITTED)
    weights: tuple[float, ...] | None = field(default=None, metadata=FITTED)

    def __post_init__(self) -> None:
        if self.stride < 0:
            raise RequestError(f"task.stride is {self.stride}: expected 0 or more.")

    def fault(self, column: str, cell: Any) -> str | None:
        """As every task; but a text may be a list of tokens, and entities are tags or spans, of types of training."""
        if column == "text":
            text = markup.text_or_tokens(cell)
            if not isinstance(text, list):
                return super().fault(column, text)
            empty = next((i for i, token in enumerate(text, 1) if not isinstance(token, str) or not token), None)
            return f"token {empty} is empty or no text" if empty else (None if text else "there are no tokens")
        try:
            found = markup.tags_or_spans(cell)
        except ValueError as error:
            return str(error)
        return self._unknown(found) if self.types else None

    def _unknown(self, found: Sequence[str] | Sequence[Mention]) -> str | None:
        """What is wrong with tags or spans for the fitted task."""
        if found and isinstance(found[0], str):
            return schemes.fault([str(tag) for tag in found], self.scheme_read, self.types)
        kind = next((span[2] for span in found if span[2] not in self.types), None)
        return kind and f'the type "{kind}" is not one of training. {did_you_mean(kind, self.types)}'

    def faults(self, rows: Columns) -> Mapping[int, tuple[str, str]]:
        """Tags that are not as many as the tokens, or of another scheme; bad spans; rows of both kinds."""
        cells = list(zip(rows["text"], rows.get("entities", ()), strict=False))
        every = [markup.row(*cell) for cell in cells]
        each = (markup.fault(*row) or markup.misquoted(*cell) for row, cell in zip(every, cells, strict=True))
        wrong = {i: ("entities", reason) for i, reason in enumerate(each) if reason}
        kinds = [isinstance(text, str) for text, _ in every]
        mixed = "spans and tags stand in one file: expected every row to have what most have"
        usual = 2 * sum(kinds) > len(kinds) - (kinds[:1] == [True])  # of as many each, what the first has
        wrong = {**{i: ("entities", mixed) for i, kind in enumerate(kinds) if kind != usual}, **wrong}
        tags: dict[int, Any] = {i: row[1] for i, row in enumerate(every) if not (self.types or kinds[i] or i in wrong)}
        return {**wrong, **{i: ("entities", reason) for i, reason in schemes.misfits(tags, self.scheme).items()}}

    def uniform(self, rows: Columns) -> Columns:
        """Texts or tokens; tags as lists of words, spans as lists of objects."""
        if "entities" not in rows:
            return {**rows, "text": [markup.text_or_tokens(text) for text in rows["text"]]}
        every = [markup.row(*cells) for cells in zip(rows["text"], rows["entities"], strict=True)]
        return {**rows, "text": [text for text, _ in every], "entities": [markup.objects(found) for _, found in every]}

    def fit(self, rows: Dataset) -> Self:
        """Learn the types, the scheme of the tags, how to split texts, and what a word of each type counts."""
        texts, found = column(rows, "text"), column(rows, "entities")
        of_tokens = isinstance(texts[0], list)
        asked = self.scheme if of_tokens or self.scheme != "auto" else "bio2"
        scheme = schemes.of_training(found if of_tokens else (), asked)
        split: Any = self.words if self.words != "auto" else ("space" if of_tokens else "punctuation")
        every = [tagging.read(text, cell, scheme, split)[0] for text, cell in zip(texts, found, strict=True)]
        types = tuple(sorted({kind for spans in every for _, _, kind in spans}))
        if not types:
            raise RequestError("no training row has an entity: expected some to learn from.")
        weights = tagging.weights(self.class_weights, texts, every, types, split)
        return replace(self, types=types, scheme_read=scheme, of_tokens=of_tokens, split=split, weights=weights)

    def measured(self, rows: Dataset) -> Self:
        """What a word of each type counts, by these rows."""
        texts, golds = column(rows, "text"), _golds(rows)
        return replace(self, weights=tagging.weights(self.class_weights, texts, golds, self.types, self.split))

    def _read(self, text: Text, cell: Sequence[Any]) -> tuple[list[Mention], list[str]]:
        return tagging.read(text, cell, self.scheme_read, self.split)

    def read(self, rows: Dataset) -> Dataset:
        """Entities as objects with `start`, `end` (characters of the text, or of tokens with blanks between) and `label`."""
        if "entities" not in rows.column_names:
            return rows
        every = []
        for i, (text, cell) in enumerate(zip(column(rows, "text"), column(rows, "entities"), strict=True)):
            found = self._read(text, cell)[0]
            if unknown := self._unknown(found):
                raise RowError(i, unknown)
            every.append(markup.objects(found))
        # told its fingerprint, the table need not pickle every object to find one
        fingerprint = Hasher.hash((rows._fingerprint, self.to_json()))
        return rows.remove_columns("entities").add_column("entities", every, new_fingerprint=fingerprint)

    def repairs(self, rows: Dataset) -> list[Remark]:
        """Tags that break their scheme, spans with white space at an edge, and spans that end inside a word."""
        kinds: dict[str, list[int]] = {kind: [] for kind in REPAIRS}
        cells = column(rows, "entities") if "entities" in rows.column_names else ()
        for i, (text, cell) in enumerate(zip(column(rows, "text"), cells, strict=False)):
            found, changed = self._read(text, cell)
            for kind in changed:
                kinds[kind].append(i)
            if found and words.inside(words.places(text, self.split), found):
                kinds["spans_inside_words"].append(i)
        message = "{} of {:,} rows with {}"
        return [Remark(kind, message.format(len(i), len(rows), REPAIRS[kind]), i) for kind, i in kinds.items() if i]

    def notes(self) -> list[str]:
        """How tags are read, how texts are split, and which types there are."""
        said = [f"types of entities: {listing(self.types)}."]
        if self.of_tokens:
            how = "recognised; --task.scheme says otherwise" if self.scheme == "auto" else "as asked"
            said.append(f"tags are read as {schemes.NAMES[self.scheme_read]} ({how}).")
        return said

    def remarks(self, rows: Dataset) -> list[Remark]:
        """Types that look the same and are not, and types that are rare beside the most frequent."""
        kinds, counts, remarks = *_kinds(rows), []
        if alike := similar_labels(counts):
            shown = listing(" and ".join(f'"{name}"' for name in names) for names in alike)
            message = f"types that differ only in case or white space are different types: {shown}."
            remarks.append(Remark("similar_labels", message, _having(kinds, {n for names in alike for n in names[1:]})))
        if rare := rare_labels(self.types, counts):
            shown = listing(f"{kind} ({counts[kind]:,})" for kind in rare)
            message = f"types more than {IMBALANCE} times rarer than the most frequent one: {shown}. Look at macro F1."
            remarks.append(Remark("imbalance", message, _having(kinds, set(rare))))
        return remarks

    def strata(self, rows: Dataset) -> Sequence[Hashable]:
        """The rarest type of each row: a cut keeps the shares of types, above all of rare ones."""
        kinds, counts = _kinds(rows)
        return [min(each, key=lambda kind: (counts[kind], kind), default="") for each in kinds]

    def groups(self, rows: Dataset) -> Mapping[str, Sequence[str]]:
        """By how many entities a row has; of rows without any there is no F1."""
        kinds = np.searchsorted((0, 1, 3), [len(found) for found in column(rows, "entities")])
        return {"entities": [("", "1", "2 to 3", "4 or more")[kind] for kind in kinds]}

    def head(self) -> tuple[Any, dict[str, Any]]:
        """A score for every token and tag of BIO2, which the head knows by name."""
        names = dict(enumerate(schemes.names(self.types)))
        label2id = {name: i for i, name in names.items()}
        return AutoModelForTokenClassification, {"num_labels": len(names), "id2label": names, "label2id": label2id}

    def encode(self, rows: Columns, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        """Windows over each row's words, as `words.encoded` makes them; with `labels` of the words that each answers."""
        texts = column(rows, "text")
        last = self.piece == "last" or (self.piece == "auto" and not separates(tokenizer))
        found = words.encoded(texts, tokenizer, self.split, self.stride, last)
        if "entities" in rows:
            tags = [tagging.numbers(*row, self.types, self.split) for row in zip(texts, _golds(rows), strict=True)]
            windows = zip(found["row"], found["first"], found["answered"], strict=True)
            found["labels"] = [tags[row][first : first + len(answered)].tolist() for row, first, answered in windows]
        return found

    def collate(self, features: Columns, tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Token ids and mask (windows, tokens); which tokens answer a word, and the number of its tag or `IGNORED`."""
        ids, mask = pad(features["input_ids"], tokenizer.pad_token_id)
        answered = torch.zeros_like(ids, dtype=torch.bool)
        labels = torch.full_like(ids, IGNORED)
        for i, tokens in enumerate(features["answered"]):
            answered[i, tokens] = True
            if "labels" in features:
                labels[i, tokens] = torch.tensor(features["labels"][i])
        return Batch({"input_ids": ids, "attention_mask": mask}, {"answered": answered, "labels": labels})

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | Tensor]:
        """Cross entropy over the words, each at one of its pieces and weighted by its tag."""
        labels = batch.targets["labels"]
        logits = outputs.logits.float().flatten(0, 1)
        weights = None if self.weights is None else torch.tensor(self.weights, device=logits.device)
        loss = partial(torch.nn.functional.cross_entropy, reduction="sum", ignore_index=IGNORED)
        counted = labels != IGNORED
        weight = counted.sum() if weights is None else weights[labels[counted]].sum()
        return loss(logits, labels.flatten(), weights), weight

    def keep(self, outputs: Any, batch: Batch) -> Tensor:
        """The scores of every word's tags (words, tags), window after window."""
        return outputs.logits.float()[batch.targets["answered"]]

    def kept(self, features: Dataset) -> np.ndarray:
        """The words of each window."""
        answered = features.with_format("arrow")[:]["answered"]
        return pyarrow.compute.list_value_length(answered).to_numpy().astype(np.int64)

    def decode(self, outputs: np.ndarray, features: Dataset, rows: Dataset) -> list[Any]:
        """The most probable tag of every word, and the entities that they say.

        I- that continues no entity of its type begins one, as `conlleval` reads it.
        """
        texts = column(rows, "text")
        counts = np.zeros(len(texts), dtype=np.int64)
        np.add.at(counts, np.array(column(features, "row")), self.kept(features))
        return tagging.answers(outputs, counts, texts, self.types, self.split)

    def judged(self, answers: Sequence[Answer], rows: Dataset) -> dict[str, np.ndarray]:
        """Right, given and true entities by type (rows, types); words, and those of them with the right tag (rows,)."""
        golds, texts = _golds(rows), column(rows, "text")
        found = mentions.counts([answer.mentions for answer in answers], golds, self.types)
        right = tagging.right_words(answers, texts, golds, self.types, self.split)
        return {**found, "right_words": right, "words": np.array([len(answer.tags) for answer in answers])}

    def metrics(self, judged: Mapping[str, np.ndarray]) -> dict[str, float]:
        """F1, precision and recall of entities, exact in characters and type; mean F1 of the types; words' accuracy."""
        return {**mentions.scores(judged), "word_accuracy": float(judged["right_words"].sum() / judged["words"].sum())}

    def details(self, answers: Sequence[Answer], rows: Dataset, judged: Mapping[str, np.ndarray]) -> dict[str, Any]:  # noqa: ARG002
        """Scores by type, how wrong entities are wrong, recall by their words, and how many tags were repaired."""
        golds, given = _golds(rows), [answer.mentions for answer in answers]
        return {
            "per_type": mentions.per_type(mentions.counts(given, golds, self.types), self.types),
            "misses": mentions.misses(given, golds),
            "recall_by_words": tagging.recall_by_words(answers, column(rows, "text"), golds, self.split),
            "repaired": sum(answer.repaired for answer in answers),
        }

    def mistakes(self, answers: Sequence[Answer], rows: Dataset) -> list[Mistake]:
        """The rows with an entity too many or missing; as sure as the surest of these is wrong."""
        every = zip(answers, column(rows, "text"), _golds(rows), strict=True)
        return [Mistake(i, *wrong) for i, row in enumerate(every) if (wrong := tagging.mistake(*row, self.split))]


def _golds(rows: Columns | Dataset) -> list[list[Mention]]:
    """The true entities of rows that the task has read."""
    return [markup.spans(found) for found in column(rows, "entities")]


def _kinds(rows: Dataset) -> tuple[list[list[str]], Counter[str]]:
    """The types of each row's entities, and how many there are of each in all rows."""
    kinds = [[span["label"] for span in found] for found in column(rows, "entities")]
    return kinds, Counter(kind for each in kinds for kind in each)


def _having(kinds: Sequence[Sequence[str]], names: set[str]) -> list[int]:
    """Indices of the rows with one of these types."""
    return [i for i, each in enumerate(kinds) if names & set(each)]
