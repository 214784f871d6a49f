"""Metrics give scikit-learn's numbers, alone and as an `evaluate.Metric`, without network or home folder."""

import json
import os
import string
import subprocess
import sys

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from nlp_transfer import metrics, scratch
from nlp_transfer.errors import RequestError
from tests.processes import FRESH

relaxed = settings(deadline=None, database=None, max_examples=100)

label_pairs = st.integers(1, 6).flatmap(
    lambda labels: st.lists(st.tuples(st.integers(0, labels - 1), st.integers(0, labels - 1)), min_size=1, max_size=60)
)


@pytest.fixture(scope="module", autouse=True)
def short_spans():
    """Few rows are summed at once, more of them as a million is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "SPAN", 7)
        yield


def naive_calibration_error(probabilities, references):
    """The definition of Guo 2017, row by row: 15 bins that are open on the left."""
    bins = {}
    for row, label in zip(probabilities, references, strict=True):
        best = max(range(len(row)), key=lambda i: row[i])
        number = next((b for b in range(15) if row[best] <= (b + 1) / 15), 14)
        bins.setdefault(number, []).append((row[best], best == label))
    gaps = [
        abs(sum(c for c, _ in rows) / len(rows) - sum(r for _, r in rows) / len(rows)) * len(rows)
        for rows in bins.values()
    ]
    return sum(gaps) / len(references)


def sklearn_kappa(predictions, references):
    if len({*predictions, *references}) == 1:
        return 1.0  # scikit-learn has no number where there is but one class; ours says that all rows agree
    return sklearn_metrics.cohen_kappa_score(
        references, predictions, weights="quadratic", labels=range(max(*predictions, *references) + 1)
    )


OF_LABELS = {
    "accuracy": lambda p, r: sklearn_metrics.accuracy_score(r, p),
    "macro_f1": lambda p, r: sklearn_metrics.f1_score(r, p, average="macro", zero_division=0),
    "weighted_f1": lambda p, r: sklearn_metrics.f1_score(r, p, average="weighted", zero_division=0),
    "matthews_correlation": lambda p, r: sklearn_metrics.matthews_corrcoef(r, p),
    "quadratic_kappa": sklearn_kappa,
}
OF_PROBABILITIES = {"expected_calibration_error": naive_calibration_error}


def macro_of_sets(predictions, references):
    """scikit-learn's F1 of each label that occurs, by itself: it counts 0, or has no mean, where one never does."""
    pairs = [(p, r) for p, r in zip(predictions.T, references.T, strict=True) if p.any() or r.any()]
    return float(np.mean([sklearn_metrics.f1_score(r, p) for p, r in pairs])) if pairs else 0.0


def correlation(function):
    """scipy's, with 0 where it has none."""
    return lambda p, r: float(function(p, r)[0]) if np.ptp(p) and np.ptp(r) else 0.0


OF_SETS = {
    "multi_label_micro_f1": lambda p, r: sklearn_metrics.f1_score(r, p, average="micro", zero_division=0),
    "multi_label_macro_f1": macro_of_sets,
    "subset_accuracy": lambda p, r: sklearn_metrics.accuracy_score(r, p),
}
OF_RANKINGS = {
    "ranking_average_precision": lambda p, r: sklearn_metrics.label_ranking_average_precision_score(r, p),
}
OF_NUMBERS = {
    "mean_absolute_error": lambda p, r: sklearn_metrics.mean_absolute_error(r, p),
    "root_mean_squared_error": lambda p, r: sklearn_metrics.root_mean_squared_error(r, p),
    "pearson_correlation": correlation(stats.pearsonr),
    "spearman_correlation": correlation(stats.spearmanr),
    "r2": lambda p, r: sklearn_metrics.r2_score(r, p),
}
EVERY = {**OF_LABELS, **OF_PROBABILITIES, **OF_SETS, **OF_RANKINGS, **OF_NUMBERS}


def words_of(text):
    """SQuAD's normalisation by its definition: lower case, no punctuation, no articles."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def naive_f1(prediction, reference):
    """Twice the words in common over all words, each counted as often as it stands there."""
    predicted, true = words_of(prediction), words_of(reference)
    left, common = list(true), 0
    for word in predicted:
        if word in left:
            left.remove(word)
            common += 1
    return float(predicted == true) if not predicted or not true else 2 * common / (len(predicted) + len(true))


def nearest_of(score):
    """The mean over questions of the best score over the true answers; those that are no words do not count."""

    def mean(predictions, references):
        golds = [[text for text in texts if words_of(text)] or [""] for texts in references]
        every = [max(score(p, gold) for gold in texts) for p, texts in zip(predictions, golds, strict=True)]
        return sum(every) / len(every)

    return mean


OF_TEXTS = {
    "exact_match": nearest_of(lambda p, r: float(words_of(p) == words_of(r))),
    "answer_f1": nearest_of(naive_f1),
}
some_text = st.lists(st.sampled_from(["the", "An", "red", "red,", "Blue", "green.", "'s"]), max_size=4).map(" ".join)


def example(name):
    generator = np.random.default_rng(len(name))
    if name in OF_NUMBERS:
        return generator.normal(size=40), generator.normal(size=40)
    if name in OF_SETS:
        return generator.integers(0, 2, (40, 3)), generator.integers(0, 2, (40, 3))
    if name in OF_RANKINGS:
        return generator.random((40, 3)), generator.integers(0, 2, (40, 3))
    if name == "entity_f1":
        tags = np.array(["O", "B-A", "I-A", "B-B", "I-B"])
        return tags[generator.integers(0, 5, (40, 6))], tags[generator.integers(0, 5, (40, 6))]
    if name in OF_TEXTS:
        texts = np.array(["the red house", "red", "", "a blue, blue house"])
        golds = np.empty(40, dtype=object)
        golds[:] = [texts[generator.integers(0, 4, count)].tolist() for count in generator.integers(0, 3, 40)]
        return texts[generator.integers(0, 4, 40)], golds
    references = generator.integers(0, 3, 40)
    if name in OF_PROBABILITIES:
        return generator.dirichlet([1, 1, 1], 40), references
    return generator.integers(0, 3, 40), references


def test_every_metric_has_a_reference_here():
    assert set(metrics.names()) == {*EVERY, *OF_TEXTS, "entity_f1"}  # which is seqeval's own


@pytest.mark.parametrize("name", sorted(OF_TEXTS))
def test_metric_of_texts_equals_its_definition(name):
    @relaxed
    @given(st.lists(st.tuples(some_text, st.lists(some_text, max_size=3)), min_size=1, max_size=8))
    def check(pairs):
        predictions, references = zip(*pairs, strict=True)
        expected = OF_TEXTS[name](predictions, references)
        assert metrics.function(name)(predictions, references) == pytest.approx(expected, abs=1e-12)

    check()


@pytest.mark.parametrize("name", sorted(OF_LABELS))
def test_metric_of_labels_equals_scikit_learn(name):
    @relaxed
    @given(label_pairs)
    def check(pairs):
        predictions, references = np.array(pairs).T
        expected = OF_LABELS[name](predictions.tolist(), references.tolist())
        assert metrics.function(name)(predictions, references) == pytest.approx(expected, abs=1e-12)

    check()


@pytest.mark.parametrize("name", sorted([*OF_SETS, *OF_RANKINGS]))
@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_metric_of_sets_equals_scikit_learn(name, share):
    @relaxed
    @given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
    def check(labels, rows, seed):
        generator = np.random.default_rng(seed)
        references = (generator.random((rows, labels)) < share).astype(int)
        chances = generator.integers(0, 4, (rows, labels)) / 3  # many are equal
        predictions = chances if name in OF_RANKINGS else (chances > 0.5).astype(int)
        expected = EVERY[name](predictions, references)
        assert metrics.function(name)(predictions, references) == pytest.approx(expected, abs=1e-12)

    check()


@pytest.mark.parametrize("name", sorted(OF_NUMBERS))
def test_metric_of_numbers_equals_its_reference(name):
    @relaxed
    @given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e6]))
    def check(rows, seed, unit):
        generator = np.random.default_rng(seed)
        references = generator.integers(0, 6, rows) * unit
        references[0], references[1] = 0.0, unit
        predictions = references + generator.normal(size=rows) * unit
        expected = OF_NUMBERS[name](predictions, references)
        assert metrics.function(name)(predictions, references) == pytest.approx(expected, rel=1e-9, abs=1e-9)

    check()


@pytest.mark.parametrize(("predictions", "r2"), [([3.0, 3.0], 1.0), ([3.0, 4.0], 0.0)])
def test_numbers_that_do_not_vary(predictions, r2):
    predictions, references = np.array(predictions), np.array([3.0, 3.0])
    assert metrics.function("r2")(predictions, references) == r2
    assert metrics.function("pearson_correlation")(predictions, references) == 0
    assert metrics.function("spearman_correlation")(predictions, references) == 0


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_a_correlation_has_no_unit(unit):
    predictions, references = example("pearson_correlation")
    expected = metrics.function("pearson_correlation")(predictions, references)
    found = metrics.function("pearson_correlation")(predictions * unit, references * unit)
    assert found == pytest.approx(expected, rel=1e-9)


@relaxed
@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 10.0]))
def test_calibration_error_equals_its_definition(labels, rows, seed, spread):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([spread] * labels, rows)
    references = generator.integers(0, labels, rows)
    expected = naive_calibration_error(probabilities.tolist(), references.tolist())
    assert metrics.function("expected_calibration_error")(probabilities, references) == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize(("confidence", "right", "expected"), [(1.0, True, 0.0), (1.0, False, 1.0), (0.6, True, 0.4)])
def test_calibration_error_by_hand(confidence, right, expected):
    probabilities = np.array([[confidence, 1 - confidence]] * 4)
    references = np.full(4, 0 if right else 1)
    assert metrics.function("expected_calibration_error")(probabilities, references) == pytest.approx(expected)


def test_kappa_counts_far_errors_more():
    references = np.array([0, 1, 2, 3, 4])
    near, far = np.array([1, 1, 2, 3, 4]), np.array([4, 1, 2, 3, 4])
    kappa = metrics.function("quadratic_kappa")
    assert kappa(references, references) == 1
    assert 1 > kappa(near, references) > kappa(far, references)


@pytest.mark.parametrize("name", metrics.names())
def test_a_metric_is_a_plain_float(name):
    assert type(metrics.function(name)(*example(name))) is float


@pytest.mark.parametrize("name", metrics.names())
def test_loaded_metric_computes_the_same(name):
    predictions, references = example(name)
    loaded = metrics.load(name)
    assert isinstance(loaded, evaluate.Metric)
    expected = metrics.function(name)(predictions, references)
    assert loaded.compute(predictions=predictions, references=references) == {name: pytest.approx(expected)}
    listed = loaded.compute(predictions=predictions.tolist(), references=references.tolist())
    assert listed == {name: pytest.approx(expected)}


def test_loaded_metric_takes_batches():
    predictions, references = example("macro_f1")
    loaded = metrics.load("macro_f1")
    for start in range(0, 40, 16):
        loaded.add_batch(predictions=predictions[start : start + 16], references=references[start : start + 16])
    expected = metrics.function("macro_f1")(predictions, references)
    assert loaded.compute() == {"macro_f1": pytest.approx(expected)}


def test_loaded_metrics_need_neither_network_nor_a_writable_home(tmp_path):
    # a folder below a file cannot be made, not even by root
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    home = str(blocked / "home")
    code = (
        "import json; from nlp_transfer import metrics\n"
        "rows = {'predictions': [0, 1, 1], 'references': [0, 1, 0]}\n"
        "shares = {**rows, 'predictions': [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]}\n"
        "sets = {'predictions': [[1, 0], [0, 1], [0, 1]], 'references': [[1, 0], [0, 1], [1, 0]]}\n"
        "texts = {'predictions': ['a cat', 'dog'], 'references': [['cat', 'x'], []]}\n"
        "tags = {'predictions': [['B-A', 'O']], 'references': [['B-A', 'I-A']]}\n"
        "forms = {'entity_f1': tags, 'exact_match': texts, 'answer_f1': texts,"
        " 'expected_calibration_error': shares, 'ranking_average_precision': sets, 'subset_accuracy': sets,"
        " 'multi_label_micro_f1': sets, 'multi_label_macro_f1': sets}\n"
        "found = {n: metrics.load(n).compute(**forms.get(n, rows))[n] for n in metrics.names()}\n"
        "print(json.dumps(found))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    homes = dict.fromkeys(("HOME", "HF_HOME", "XDG_CACHE_HOME", "TMPDIR"), home)
    done = subprocess.run(
        [sys.executable, "-c", FRESH + code],
        env={**kept, **homes, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(metrics.names())
    assert found["exact_match"] == found["answer_f1"] == 0.5
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["expected_calibration_error"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("open_metric", [metrics.function, metrics.load])
def test_an_unknown_metric_names_the_nearest(open_metric):
    with pytest.raises(RequestError, match=r'"acuracy".*Did you mean "accuracy"') as caught:
        open_metric("acuracy")
    assert all(name in str(caught.value) for name in metrics.names())


@pytest.mark.parametrize("rows", [1, 3, 37])
def test_numbers_that_do_not_vary_explain_nothing(rows):
    same, others = np.full(rows, 0.1), np.arange(rows) + 0.2
    r2, pearson = metrics.function("r2"), metrics.function("pearson_correlation")
    assert r2(others, same) == 0
    assert r2(same, same) == 1
    assert pearson(others, same) == pearson(same, others) == pearson(same, np.full(rows, 0.7)) == 0


def test_labels_may_be_below_zero():
    answered, true = np.array([-1, -1, 0, 2]), np.array([-1, 0, 0, 2])
    for name in ("accuracy", "macro_f1", "weighted_f1", "matthews_correlation", "quadratic_kappa"):
        function = metrics.function(name)
        assert function(answered, true) == pytest.approx(function(answered + 1, true + 1))
    assert metrics.function("quadratic_kappa")(np.array([-2, 1]), np.array([1, 1])) < 0.5
