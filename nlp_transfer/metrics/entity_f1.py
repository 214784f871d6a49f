"""F1 of entities."""

from __future__ import annotations

import warnings

from seqeval.metrics import f1_score

from nlp_transfer.metrics import Texts


def entity_f1(predictions: Texts, references: Texts) -> float:
    """F1 over all entities that tags of BIO2 say, exact in words and type, 0 to 1, by seqeval; tags are rows of words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows without an entity
        rows = ([list(tags) for tags in every] for every in (references, predictions))
        return float(f1_score(*rows, zero_division=0))
