"""Tagging: the numbers of the tags that words should have, and the entities that scores of tags say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from nlp_transfer.labels import class_weights
from nlp_transfer.tagging import markup, mentions, schemes, words
from nlp_transfer.tagging.mentions import Answer, Entity, Mention
from nlp_transfer.tagging.words import Splitting

Text = str | list[str]
"""A text, or the tokens of one."""


def read(text: Text, cell: Sequence[Any], scheme: str, splitting: Splitting) -> tuple[list[Mention], list[str]]:
    """The entities of a row, as characters of its text or of its tokens with blanks between, and what repairs that took.

    Args:
        text: a text, beside which spans stand; or tokens, with a tag each.
        cell: tags, or spans as `markup.objects` gives them.
        scheme: of tags.
        splitting: of texts into words.
    """
    if isinstance(text, list):
        found, repaired, endless = schemes.chunks(cell, scheme)
        kinds = {"repaired_tags": repaired, "entities_without_end": endless}
        where = words.places(text, splitting)
        return [(where[first][0], where[end - 1][1], kind) for first, end, kind in found], [*filter(kinds.get, kinds)]
    given = sorted(markup.spans(cell))
    trimmed = [markup.trimmed(text, span) for span in given]
    return trimmed, ["trimmed_spans"] * (trimmed != given)


def numbers(text: Text, spans: Sequence[Mention], types: Sequence[str], splitting: Splitting) -> np.ndarray:
    """The number of each word's tag (words,), as `schemes.names` counts them."""
    return words.tagged(words.places(text, splitting), spans, {kind: i for i, kind in enumerate(types)})


def weights(
    setting: str | Mapping[str, float],
    texts: Sequence[Text],
    every: Sequence[Sequence[Mention]],
    types: Sequence[str],
    splitting: Splitting,
) -> tuple[float, ...] | None:
    """What a word of each tag counts in the loss, as `labels.class_weights` has it for its type; None where all count 1."""
    tags = np.concatenate([numbers(*row, types, splitting) for row in zip(texts, every, strict=True)])
    classes = (schemes.OUTSIDE, *types)
    counts = np.bincount((tags + 1) // 2, minlength=len(classes)).clip(1).tolist()
    found = class_weights(setting, classes, dict(zip(classes, counts, strict=True)))
    # of a type B- and I- count the same
    return found and (found[0], *np.repeat(found[1:], 2).tolist())


def answers(
    scores: np.ndarray, counts: np.ndarray, texts: Sequence[Text], types: Sequence[str], splitting: Splitting
) -> list[Answer]:
    """The most probable tag of every word, and the entities that these say, repaired as `schemes.runs` does it.

    Args:
        scores: of the tags of all words, text after text (words, tags).
        counts: the words of each text.
        texts: one for each answer.
        types: of entities, in the order of the tags.
        splitting: of texts into words.
    """
    probabilities, tags = softmax(scores, axis=1), scores.argmax(1)
    ends = np.cumsum(counts)
    sure = probabilities[np.arange(len(tags)), tags].tolist()
    found = schemes.runs(tags, ends - counts)
    tags[found.first] = 2 * found.kind + 1
    means = _means(probabilities, found)
    named = np.array(schemes.names(types), dtype=object)[tags].tolist()
    repaired, owner = found.repaired, np.searchsorted(ends, found.first, side="right")
    bounds = np.searchsorted(owner, np.arange(len(texts) + 1)).tolist()
    given = []
    for i, (text, begin, end) in enumerate(zip(texts, (ends - counts).tolist(), ends.tolist(), strict=True)):
        where, whole, mine = words.places(text, splitting), words.joined(text), []
        for entity in range(bounds[i], bounds[i + 1]):
            first = int(found.first[entity]) - begin
            start, stop = where[first][0], where[first + int(found.length[entity]) - 1][1]
            mine.append(Entity(whole[start:stop], start, stop, types[found.kind[entity]], float(means[entity])))
        parts = tuple(mine), tuple(named[begin:end]), tuple(sure[begin:end])
        given.append(Answer(*parts, int(repaired[bounds[i] : bounds[i + 1]].sum()), isinstance(text, list)))
    return given


def _means(probabilities: np.ndarray, found: schemes.Runs) -> np.ndarray:
    """Of each entity the mean over its words of the probability of its type, B- and I- together (entities,)."""
    inside = np.flatnonzero(found.member >= 0)
    member = found.member[inside]
    begin = 2 * found.kind[member] + 1
    of_type = probabilities[inside, begin] + probabilities[inside, begin + 1]
    return np.bincount(member, of_type, len(found.first)) / found.length


def recall_by_words(
    given: Sequence[Answer], texts: Sequence[Text], golds: Sequence[Sequence[Mention]], splitting: Splitting
) -> dict[str, dict[str, float]]:
    """Recall of true entities by how many words they have, and how many there are of each kind."""
    found: dict[str, list[bool]] = {name: [] for name in mentions.LENGTHS_NAMED}
    for answer, text, gold in zip(given, texts, golds, strict=True):
        where, mine = words.places(text, splitting), {*answer.mentions}
        for span in gold:
            first, end = words.touched(where, *span[:2])
            found[mentions.length(end - first)].append(span in mine)
    return {name: {"recall": float(np.mean(each)), "support": len(each)} for name, each in found.items() if each}


def right_words(
    given: Sequence[Answer],
    texts: Sequence[Text],
    golds: Sequence[Sequence[Mention]],
    types: Sequence[str],
    splitting: Splitting,
) -> np.ndarray:
    """How many words of each text have the right tag (texts,)."""
    number = {name: i for i, name in enumerate(schemes.names(types))}
    pairs = zip(given, texts, golds, strict=True)
    right = [
        (np.array([number[tag] for tag in answer.tags]) == numbers(text, gold, types, splitting)).sum()
        for answer, text, gold in pairs
    ]
    return np.array(right, dtype=np.int64)


def mistake(answer: Answer, text: Text, gold: Sequence[Mention], splitting: Splitting) -> tuple[str, str, float] | None:
    """What was true and what was answered, and how sure the surest wrong or missing entity was; None where all is right.

    A missing entity is as sure as the tags that its words have instead.
    """
    given = {entity.mention: entity.probability for entity in answer.entities}
    missing, invented = {*gold} - given.keys(), given.keys() - {*gold}
    if not missing and not invented:
        return None
    where, whole = words.places(text, splitting), words.joined(text)
    spans = (words.touched(where, start, end) for start, end, _ in missing)
    sure = [given[mention] for mention in invented]
    sure += [float(np.mean(answer.probabilities[first:end])) for first, end in spans]
    true = mentions.said((whole[start:end], kind) for start, end, kind in gold)
    return true, answer.words()[0], max(sure)
