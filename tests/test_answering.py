"""How a run answers: without its tuner where that is the same, in batches of tokens, and in bf16 where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from nlp_transfer import RequestError, artefacts, cli, fine_tune, load_run, predict_file, samples
from nlp_transfer.data import activations
from nlp_transfer.data.features import Features
from nlp_transfer.evaluation.outputs import outputs_of

DATA = str(samples.path("sentiment"))
TEXTS = ["a quiet room and a kind owner", "cold soup", "late again, and nobody said why", "bright"]


@pytest.fixture(scope="module")
def runs(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train = {"max_steps": 3, "learning_rate": 1e-2}
    for method in ("lora", "adapter"):
        named: dict[str, Any] = {"model": str(tiny_bert), "task": "sentiment", "method": method, "data": DATA}
        fine_tune(**named, train=train, output=folder / method, silent=True)
    return folder


def probabilities(answers: list[Any]) -> list[float]:
    return [answer.probability for answer in answers]


def test_lora_answers_as_a_plain_model(runs: Path) -> None:
    run = load_run(runs / "lora")
    merged = probabilities(run.predict(TEXTS))
    assert "model" not in run.__dict__, "one model is enough"
    assert not isinstance(run._answering, PeftModel)
    assert isinstance(run.model, PeftModel)
    with_tuner = load_run(runs / "lora")
    with_tuner.__dict__["_answering"] = with_tuner.model
    np.testing.assert_allclose(probabilities(with_tuner.predict(TEXTS)), merged, atol=1e-5)


def test_a_run_of_another_task_answers_no_questions(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--question", "When does it open?", "--context", "It opens at nine."]
    assert cli.main(["predict", str(runs / "lora"), *asked]) == 2
    assert "this run (sentiment) answers no questions about a context, it reads text" in capsys.readouterr().err


def test_an_adapter_answers_as_it_is_and_is_loaded_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, load = [], artefacts.load
    monkeypatch.setattr(artefacts, "load", lambda *arguments: (loaded.append(1), load(*arguments))[1])
    run = load_run(runs / "adapter")
    assert len(run.predict(TEXTS)) == len(TEXTS)
    assert run._answering is run.model
    assert len(loaded) == 1


def test_bf16_is_near_and_only_where_asked(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(runs / "lora")
    plain, half = probabilities(run.predict(TEXTS)), probabilities(run.predict(TEXTS, precision="bf16"))
    assert half != plain
    np.testing.assert_allclose(half, plain, atol=0.02)
    assert probabilities(run.predict(TEXTS)) == plain
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    predict_file(run, rows, tmp_path / "half.jsonl", precision="bf16", silent=True)
    words = ["--input", str(rows), "--output", str(tmp_path / "flag.jsonl"), "--precision", "bf16"]
    assert cli.main(["predict", str(runs / "lora"), *words]) == 0
    assert (tmp_path / "half.jsonl").read_text() == (tmp_path / "flag.jsonl").read_text()
    written = [json.loads(line)["probability"] for line in (tmp_path / "half.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(written, half, atol=1e-6)
    test = str(samples.path("sentiment") / "test.csv")
    assert cli.main(["evaluate", str(runs / "lora"), "--data", test, "--precision", "auto"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", str(runs / "lora"), "a text", "--precision", "fp8"]) == 2
    assert "--precision: invalid choice: 'fp8'" in capsys.readouterr().err
    with pytest.raises(RequestError, match="precision is fp8: expected fp32, bf16 or auto"):
        run.predict(TEXTS, precision="fp8")


def test_batches_hold_as_many_tokens_as_the_longest_ones(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(runs / "lora")
    read: list[torch.Size] = []
    run._answering.register_forward_pre_hook(
        lambda _, __, inputs: read.append(inputs["input_ids"].shape), with_kwargs=True
    )
    rows = run.read([{"text": "cold " * (1 + i % 12), "label": "positive"} for i in range(96)])[0].rows
    features = Features.of(rows, run.task, run.tokenizer)
    longest = int(features.lengths.max())
    outputs = outputs_of(run._answering, features, batch_size=4)
    assert sum(shape[0] for shape in read) == 96
    assert read[0] == (4, longest)
    assert all(shape.numel() <= 4 * longest for shape in read)
    assert read[-1][0] > 4
    monkeypatch.setitem(activations.TOKENS, "cpu", longest)
    read.clear()
    np.testing.assert_allclose(outputs_of(run._answering, features, batch_size=64), outputs, atol=1e-5)
    assert all(shape.numel() <= longest for shape in read if shape[0] > 1)
