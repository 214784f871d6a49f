"""The largest batch that fits: found before the first step, with the steps that any batch size gives, and nothing else moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertModel

from nlp_transfer import RequestError, fine_tune, samples
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.data.features import Features
from nlp_transfer.errors import Stopped
from nlp_transfer.methods.full import Full
from nlp_transfer.recipe import Recipe
from nlp_transfer.training import capacity
from nlp_transfer.training.capacity import Capacity
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings
from tests.test_reliability import stop_at, weights
from tests.training.test_loop import prepared

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4 GiB")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


@contextmanager
def memory_for(rows: int, error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A BERT that runs out of memory in training above so many rows; gives the rows of all its training batches."""
    forward, seen = BertModel.forward, []

    def limited(self: Any, input_ids: Any = None, *rest: Any, **named: Any) -> Any:
        if self.training:
            seen.append(len(input_ids))
            if len(input_ids) > rows:
                raise error
        return forward(self, input_ids, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(BertModel, "forward", limited)
        yield seen


def tried(model: Any, features: Features, settings: TrainSettings, **method: Any) -> TrainSettings:
    groups = Full(**method).parameter_groups(model, (), TrainSettings(learning_rate=1e-3))
    plan = LengthBuckets(features.lengths, settings.rows_at_once, 1, 0, features.counts)
    found = Capacity(model, groups, plan.heaviest, features.fetch, features.task.loss, accelerator("fp32"))
    return found.settle(settings)


@pytest.mark.parametrize(
    ("error", "room", "accumulate", "found"),
    [(CUDA, 32, 1, (32, 1)), (CPU, 31, 1, (16, 2)), (CUDA, 3, 1, (2, 16)), (CUDA, 30, 3, (24, 4))],
)
def test_the_largest_that_fits_and_divides_the_step(
    error: RuntimeError,
    room: int,
    accumulate: int,
    found: tuple[int, int],
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, features = prepared(tiny_bert)
    with memory_for(room, error, monkeypatch) as seen:
        settled = tried(model, features, TrainSettings(batch_size="auto", accumulate=accumulate))
    assert (settled.batch_size, settled.accumulate) == found
    assert settled.rows_per_step == 32 * accumulate
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == found[0]


def test_trying_changes_nothing(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, features = prepared(tiny_bert)
    model.eval()
    model.bert.embeddings.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learns = [parameter.requires_grad for parameter in model.parameters()]
    drawn = torch.get_rng_state()
    with memory_for(20, CUDA, monkeypatch):
        tried(model, features, TrainSettings(batch_size="auto"))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == learns
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_longest_rows_are_tried_with_room_for_the_optimiser(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, features = prepared(tiny_bert)
    held: list[int] = []
    empty = torch.empty_like

    def counting(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor.numel())
        return empty(tensor)

    monkeypatch.setattr(capacity.torch, "empty_like", counting)
    fetched: list[np.ndarray] = []
    fetch = Features.fetch

    def seen(self: Features, indices: np.ndarray) -> Any:
        fetched.append(indices)
        return fetch(self, indices)

    monkeypatch.setattr(Features, "fetch", seen)
    tried(model, features, TrainSettings(batch_size="auto"))
    assert sorted(features.lengths[fetched[0]]) == sorted(features.lengths)[-32:]
    assert sum(held) == 2 * sum(parameter.numel() for parameter in model.parameters())


def test_what_training_holds_meanwhile_is_held_in_the_try(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, features = prepared(tiny_bert)
    held: list[int] = []
    empty, begin = torch.empty_like, []

    def counting(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor.numel())
        return empty(tensor)

    monkeypatch.setattr(capacity.torch, "empty_like", counting)
    model.register_forward_pre_hook(
        lambda *_: begin.append([parameter.grad is not None for parameter in model.parameters()])
    )
    with memory_for(8, CUDA, monkeypatch):
        found = tried(model, features, TrainSettings(batch_size="auto"), pull=10.0)
    assert (found.batch_size, found.accumulate) == (8, 4)
    # two moments of the optimiser, and where the weights began, in the tries with 32, 16 and 8 rows
    assert sum(held) == 3 * 3 * sum(parameter.numel() for parameter in model.parameters())
    # the gradients of a step's earlier batches, where it has some
    assert [{*there} for there in begin] == [{False}, {True}, {True}]


def test_rows_of_many_windows_are_the_heaviest() -> None:
    counts = np.array([1, 1, 9, 2, 2, 2, 2, 1])
    plan = LengthBuckets(counts * 10, 8, 1, 0, counts)
    assert plan.heaviest(4).tolist() == [2]  # a row's windows are not parted, however many
    assert sorted(plan.heaviest(16).tolist()) == [2, 3, 4, 5]


def test_what_is_no_lack_of_memory_is_no_answer(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, features = prepared(tiny_bert)
    with (
        memory_for(0, RuntimeError("mat1 and mat2 have other shapes"), monkeypatch),
        pytest.raises(RuntimeError, match="other shapes"),
    ):
        tried(model, features, TrainSettings(batch_size="auto"))
    with memory_for(0, CUDA, monkeypatch), pytest.raises(RequestError, match="not even a batch of one row fits"):
        tried(model, features, TrainSettings(batch_size="auto"))


def test_a_run_finds_its_batch_size_once_and_is_the_run_of_that_size(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"source": str(samples.path("sentiment")), "limit": 80}
    common = {"task": "sentiment", "data": data, "model": str(tiny_bert)}
    train = {"max_steps": 3, "learning_rate": 1e-3, "precision": "fp32"}
    auto: dict[str, Any] = {**common, "train": {**train, "batch_size": "auto"}}
    with memory_for(10, CUDA, monkeypatch) as seen:
        found = fine_tune(**auto, output=tmp_path / "auto")
        assert seen[:3] == [32, 16, 8]
        assert set(seen[3:]) == {8}
        assert "batches of 8 rows fit; 4 make a step of 32." in capsys.readouterr().err
        for written in (Recipe.read(found.folder / "recipe.yaml").to_dict(), found.report["recipe"]):
            assert (written["train"]["batch_size"], written["train"]["accumulate"]) == (8, 4)
        # stopped, it goes on as it began, and is not asked again
        stop_at(10, monkeypatch)
        with pytest.raises(Stopped):
            fine_tune(**auto, output=tmp_path / "stopped", silent=True)
    monkeypatch.undo()
    resumed = fine_tune(**auto, output=tmp_path / "stopped", resume=True, silent=True)
    assert resumed.report["recipe"]["train"]["accumulate"] == 4
    given = {**common, "train": {**train, "batch_size": 8, "accumulate": 4}}
    told = fine_tune(**given, output=tmp_path / "told", silent=True)
    assert weights(found.folder) == weights(told.folder) == weights(resumed.folder)
    # with other steps it would be another run
    other = {**auto, "train": {**auto["train"], "accumulate": 2}}
    with pytest.raises(RequestError, match="another recipe"):
        fine_tune(**other, output=tmp_path / "stopped", resume=True, silent=True)
    assert json.loads((resumed.folder / "report.json").read_text(encoding="utf-8"))["status"] == "finished"


def test_a_number_of_tokens_leaves_nothing_to_find() -> None:
    with pytest.raises(RequestError, match=r"batch_size is auto and train.batch_tokens 512: .* Leave one of them out"):
        TrainSettings(batch_size="auto", batch_tokens=512)
