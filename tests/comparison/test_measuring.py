"""What a run costs, where the comparison of `test_compare.py` does not show it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nlp_transfer import fine_tune, samples
from nlp_transfer.comparison import measuring


def test_a_tuner_that_can_be_merged_is_timed_both_ways(tiny_bert: Path, tmp_path: Path) -> None:
    folder = samples.path("sentiment")
    run = fine_tune(
        task="sentiment",
        data={"source": str(folder / "train.csv"), "validation": str(folder / "validation.csv"), "limit": 32},
        model=str(tiny_bert),
        method="lora",
        train={"max_steps": 1},
        output=tmp_path / "run",
        silent=True,
    )
    before = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
    costs = measuring.predicting(run)
    assert costs.keys() == {"latency_ms", "throughput", "merged_latency_ms", "merged_throughput"}
    assert all(value > 0 for value in costs.values())
    assert costs["merged_latency_ms"] != costs["latency_ms"]
    after = dict(run.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(bool((after[name] == value).all()) for name, value in before.items()), "the run is as it was"
    counts = measuring.training(run.report)
    assert measuring.stored(run)["stored"] == counts["trainable"] == counts["added"] > 0


def test_energy_is_left_out_where_nothing_can_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with measuring.energy() as spent:
        pass
    assert spent == {}


@pytest.mark.slow
def test_energy_is_codecarbons_estimate() -> None:
    pytest.importorskip("codecarbon")
    with measuring.energy() as spent:
        sum(range(10**7))
    assert spent["energy_kwh_estimate"] > 0
