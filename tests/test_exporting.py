"""Export: the same answers from a model that asks less of whoever loads it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import pipeline

from nlp_transfer import RequestError, cli, fine_tune, load_run, samples
from nlp_transfer.errors import Stopped
from nlp_transfer.exporting import FORMS
from nlp_transfer.exporting import plain as plain_export
from nlp_transfer.exporting.example import example
from nlp_transfer.exporting.sample import apart
from tests.families import FAMILIES
from tests.matrix import backbones
from tests.processes import FRESH

TEXTS = ["Not a dull minute in it.", "The soup was cold.", "I would buy it again."]


def trained(folder: Path, model: Path, **parts: object) -> Path:
    data = {"source": str(samples.path("sentiment")), "limit": 60}
    given = {"task": "sentiment", "data": data, "model": str(model), "train": {"max_steps": 4, "learning_rate": 1e-2}}
    return fine_tune(**{**given, **parts}, output=folder, silent=True).folder


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_merged_run_is_plain_transformers_with_the_runs_probabilities(
    method: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", tiny, method=method)
    assert cli.main(["export", str(run), "--format", "merged", "--output", str(tmp_path / "plain")]) == 0
    assert "logits as the run's" in capsys.readouterr().err
    assert not list((tmp_path / "plain").glob("adapter*"))
    plain = pipeline("text-classification", str(tmp_path / "plain"), top_k=None)
    for answer, scores in zip(load_run(run).predict(TEXTS), plain(TEXTS), strict=True):
        found = {score["label"]: score["score"] for score in scores}
        assert found.keys() == answer.probabilities.keys()
        np.testing.assert_allclose(
            [found[name] for name in answer.probabilities], list(answer.probabilities.values()), atol=1e-5
        )


def test_adapters_are_not_merged_and_nothing_is_written(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", tiny_bert, method="adapter")
    before = sorted(tmp_path.iterdir())
    assert cli.main(["export", str(run), "--format", "merged", "--output", str(tmp_path / "plain")]) == 2
    said = capsys.readouterr().err
    assert "adapters cannot be merged" in said
    assert "--method lora" in said
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("method", "precision"), [("head", "fp32"), ("lora", "bf16")])
def test_a_pooled_run_gets_its_architectures_own_head(
    method: str, precision: str, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = {"max_steps": 3, "precision": precision}
    run = trained(tmp_path / "run", tiny_bert, method=method, head={"pooling": "mean"}, train=train)
    target = tmp_path / "plain"
    assert cli.main(["export", str(run), "--format", "transformers", "--output", str(target)]) == 0
    assert "trained anew: test accuracy" in capsys.readouterr().err
    assert json.loads((target / "config.json").read_text(encoding="utf-8"))["model_type"] == "bert"
    # a process that does not know this package loads it; the run itself it refuses
    load = f"""
from transformers import AutoModelForSequenceClassification, pipeline
print(pipeline("text-classification", {str(target)!r})("good"))
try:
    AutoModelForSequenceClassification.from_pretrained({str(run / "model")!r})
except (OSError, ValueError) as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", FRESH + load], capture_output=True, text=True, check=True).stdout
    assert "label" in said
    assert method != "head" or "nlp_transfer_pooled" in said


METHODS = {
    "full": {},
    "lora": {"rank": 4},
    "adapter": {"bottleneck_size": 8},
    "prefix": {"length": 4},
    "prompt": {"length": 4},
    "head": {},
}


@pytest.mark.parametrize(
    ("method", "family", "reading"),
    [
        ("full", "gpt2", {"long_texts": "head_and_tail"}),
        ("adapter", "bert", {"long_texts": "windows", "pool_windows": "max", "stride": 3}),
        *(
            pytest.param(method, family, {}, marks=pytest.mark.slow)
            for method in METHODS
            for family in ("bert", "gpt2")
            if (method, family) not in {("full", "gpt2"), ("adapter", "bert")}
        ),
    ],
)
def test_an_onnx_graph_answers_as_the_run_does_without_torch(
    method: str,
    family: str,
    reading: dict[str, object],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = request.getfixturevalue(f"tiny_{family}")
    run = trained(
        tmp_path / "run", model, task={"name": "sentiment", **reading}, method={"name": method, **METHODS[method]}
    )
    target = tmp_path / "graph"
    assert cli.main(["export", str(run), "--format", "onnx", "--output", str(target)]) == 0
    assert "logits as the run's, to" in capsys.readouterr().err
    assert not list(target.glob("*.bin")) + list(target.glob("*.pt"))
    loaded = load_run(run)
    # the folder moves, and what runs it has neither torch nor transformers nor this package
    moved = target.rename(tmp_path / "elsewhere")
    forbid = "import runpy, sys; sys.modules |= dict.fromkeys(('torch', 'transformers', 'nlp_transfer')); "
    forbid += "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    asked = [*TEXTS, " ".join(TEXTS * 4)]
    done = subprocess.run(
        [sys.executable, "-c", forbid, str(moved / "example.py"), *asked], capture_output=True, text=True, check=True
    )
    for line, answer, text in zip(done.stdout.splitlines(), loaded.predict(asked), asked, strict=True):
        label, probability, said = line.split("\t")
        assert (label, said) == (answer.label, text)
        assert float(probability) == pytest.approx(answer.probability, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_becomes_a_graph(family: str, tmp_path: Path) -> None:
    backbone = backbones(tmp_path / "backbones", [family])[family]
    run = trained(tmp_path / "run", backbone)
    assert "logits as the run's" in FORMS["onnx"](load_run(run), tmp_path / "graph")[0]


KINDS = {
    "pairs": (
        "classification",
        "sentence_pairs",
        [{"text": "It was cold.", "text_pair": "It was warm."}, {"text": "Yes.", "text_pair": "No."}],
    ),
    "labels": ("multi_label", "multi_label", [{"text": text} for text in TEXTS]),
    "number": ("regression", "regression", [{"text": text} for text in TEXTS]),
    "question": (
        "qa",
        "qa",
        [{"question": "Who opened the mill?", "context": "The mill was opened by Ada Brook in 1887. " * 40}],
    ),
    "marks": (
        "qa",
        "qa",
        [{"question": "What opened?", "context": "The cafe\u0301 by the bru\u0308cke\u0301 opened. " * 3}],
    ),
}


def expected(kind: str, answer: Any) -> str:
    """What the example prints of an answer, without its text."""
    if kind == "pairs":
        return f"{answer.label}\t{answer.probability:.4f}"
    if kind == "labels":
        return ", ".join(answer.labels)
    return f"{answer.value:.4f}" if kind == "number" else answer.text or "(no answer)"


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        pytest.param(kind, family, marks=[] if kind in ("question", "marks") else pytest.mark.slow)
        for kind in KINDS
        for family in ("bert", "gpt2", *(["gpt2_begins"] if kind == "question" else []))
    ],
)
def test_the_example_beside_a_graph_answers_as_predict_does(
    kind: str, family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    task, rows, asked = KINDS[kind]
    model = request.getfixturevalue(f"tiny_{family}")
    data = {"source": str(samples.path(rows)), "limit": 40, "max_length": 48}
    run = load_run(trained(tmp_path / "run", model, task=task, data=data))
    if task == "qa":  # so that there is an answer whatever a tiny model thinks
        run = replace(run, task=replace(run.task, threshold=1e9))
    assert "as the run's, to" in FORMS["onnx"](run, tmp_path / "graph")[0]
    given = [text for row in asked for text in row.values()]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "graph" / "example.py"), *given], capture_output=True, text=True, check=True
    )
    answers = run.predict(asked)
    for line, answer in zip(done.stdout.splitlines(), answers, strict=True):
        assert line.startswith(expected(kind, answer))


def test_a_tokenizer_of_python_alone_has_no_example() -> None:
    assert example(SimpleNamespace(tokenizer=SimpleNamespace(is_fast=False))) is None  # type: ignore[arg-type]


def test_how_far_logits_are_apart_is_told_by_their_size() -> None:
    small, large = np.array([0.5, -0.25]), np.array([0.5, -20.0])
    assert apart(small + 1e-6, small) == pytest.approx(1e-6)
    assert apart(large + 1e-5, large) == pytest.approx(5e-7)


def test_without_the_packages_export_says_what_to_install(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path / "run", tiny_bert)
    monkeypatch.setattr("nlp_transfer.exporting.graph.NEEDED", ("onnx", "no_such_package"))
    assert cli.main(["export", str(run), "--format", "onnx", "--output", str(tmp_path / "graph")]) == 2
    assert "needs no_such_package: pip install 'nlp-transfer[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "graph").exists()


def test_an_existing_folder_is_not_written_into(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", tiny_bert)
    assert cli.main(["export", str(run), "--format", "merged", "--output", str(run)]) == 2
    assert "exists: name a new folder" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_tuner_with_weights_missing_is_refused(method: str, tiny: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", tiny, method=method)
    file = run / "model" / "adapter_model.safetensors"
    weights = load_file(file)
    for lost in (min(weights), max(weights)):
        save_file({name: value for name, value in weights.items() if name != lost}, file, {"format": "pt"})
        with pytest.raises(RequestError, match="does not hold the weights"):
            load_run(run).predict(TEXTS)


def test_a_tuner_is_not_put_on_another_backbone(tiny_bert: Path, tmp_path: Path) -> None:
    model = tmp_path / "backbone"
    shutil.copytree(tiny_bert, model)
    run = trained(tmp_path / "run", model, method="lora")
    weights = load_file(model / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(RequestError, match="trained beside other weights"):
        load_run(run).predict(TEXTS)
    shutil.rmtree(model)
    with pytest.raises(RequestError, match="needs the backbone"):
        load_run(run).predict(TEXTS)


def test_a_head_is_trained_anew_on_the_runs_own_rows_only(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"row {i},{'ab'[i % 2]}" for i in range(40)]
    file.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    where = {"task": "classification", "data": str(file), "head": {"pooling": "mean"}, "train": {"max_steps": 2}}
    run = trained(tmp_path / "run", tiny_bert, **where)
    file.write_text("\n".join(["text,label", *lines[:-2]]), encoding="utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli.main(["export", str(run), "--format", "transformers", "--output", str(tmp_path / "plain")]) == 2
    assert "has other rows than the run was trained on" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_stop_while_a_head_is_trained_anew_names_nothing_to_go_on_with(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise Stopped("stopped; go on with: a folder that is gone")

    run = trained(tmp_path / "run", tiny_bert, head={"pooling": "mean"}, train={"max_steps": 2})
    monkeypatch.setattr(plain_export, "fine_tune", stopped)
    assert cli.main(["export", str(run), "--format", "transformers", "--output", str(tmp_path / "plain")]) == 1
    said = capsys.readouterr().err
    assert "nothing is written" in said
    assert "go on with" not in said


def test_logits_that_are_no_numbers_are_not_equal(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run(trained(tmp_path / "run", tiny_bert))
    monkeypatch.setattr(plain_export, "apart", lambda *_: float("nan"))
    with pytest.raises(RequestError, match="nan"):
        FORMS["merged"](run, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()
