"""Thresholds: the best F1, found by trying every threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from nlp_transfer.thresholds import FEWEST, HALF, best_threshold, shared_threshold, thresholds_per_label

relaxed = settings(deadline=None, database=None, max_examples=40)


def made(seed, rows, labels, share=0.4):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 9, (rows, labels)) / 10 + 0.05, (generator.random((rows, labels)) < share).astype(int)


@relaxed
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.1, 0.5, 1.0]))
def test_no_other_threshold_has_a_higher_f1(seed, rows, share):
    probabilities, references = (values[:, 0] for values in made(seed, rows, 1, share))
    if not references.any():
        assert best_threshold(probabilities, references) == HALF
        return
    best = best_threshold(probabilities, references)
    tried = [f1_score(references, probabilities >= at) for at in np.linspace(0, 1, 41)]
    assert f1_score(references, probabilities >= best) == pytest.approx(max(tried))
    assert not np.isclose(probabilities, best).any(), "in the middle between two that occur"


def test_one_for_all_is_that_of_all_decisions_together():
    probabilities, references = made(0, 30, 3)
    shared = shared_threshold(probabilities, references)
    assert len(set(shared)) == 1
    assert shared[0] == best_threshold(probabilities.ravel(), references.ravel())


def test_a_label_with_few_rows_takes_the_threshold_of_all():
    probabilities, references = made(1, 60, 3)
    references[:, 2] = 0
    references[: FEWEST - 1, 2] = 1
    found = thresholds_per_label(probabilities, references)
    assert found[0] == best_threshold(probabilities[:, 0], references[:, 0])
    assert found[2] == shared_threshold(probabilities, references)[2]
