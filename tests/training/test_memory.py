"""Memory of training does not grow with the number of distinct shapes of batches."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from nlp_transfer.methods.full import Full
from nlp_transfer.training import heap
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator, native_bf16
from nlp_transfer.training.settings import TrainSettings

STATM = Path("/proc/self/statm")
ALLOWED = 2**26
"""Bytes by which the process may grow in two hundred steps, each of another shape: their code alone would take a gigabyte."""


@dataclass(frozen=True)
class EveryShape:
    """A step for every number of rows and of tokens, in random order; an index stands for a shape."""

    by_rows: ClassVar[bool] = False
    steps_per_epoch: int = 12 * 40

    def steps(self, epochs: float) -> int:
        """As many as there are shapes, in every epoch."""
        return int(epochs * self.steps_per_epoch)

    def epoch(self, number: int) -> list[list[np.ndarray]]:
        """All of them."""
        order = np.random.default_rng(number).permutation(self.steps_per_epoch)
        return [[np.full(1 + index // 40, index)] for index in order]


def fetch(indices: np.ndarray) -> Batch:
    ids = torch.randint(5, 100, (len(indices), 20 + int(indices[0]) % 40))
    return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, {"label": ids[:, 0] % 2})


def loss(outputs: Any, batch: Batch) -> tuple[torch.Tensor, float]:
    return torch.nn.functional.cross_entropy(outputs.logits, batch.targets["label"], reduction="sum"), len(batch)


def held_after_each_step(folder: Path, precision: str) -> list[int]:
    """The bytes that this process holds after each step."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    settings = TrainSettings(epochs=1, learning_rate=1e-4)
    groups = Full().parameter_groups(model, (), settings)
    loop = Loop(model, groups, EveryShape(), fetch, loss, settings, accelerator(precision))
    held = []
    for step in loop:
        held.append(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        assert torch.isfinite(step.loss)
    return held


def growth(folder: Path, precision: str) -> int:
    """Bytes by which the least that a process of its own holds grows, from when oneDNN keeps all that it keeps."""
    with get_context("spawn").Pool(1) as alone:
        held = alone.apply(held_after_each_step, (folder, precision))
    assert len(held) == EveryShape().steps_per_epoch
    return min(held[360:]) - min(held[120:360])


TOLD = pytest.mark.skipif(not STATM.exists(), reason="the system does not say what a process holds")


@pytest.mark.slow
@TOLD
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_does_not_grow_with_the_number_of_shapes(tiny_bert: Path, precision: str) -> None:
    assert growth(tiny_bert, precision) < ALLOWED


@pytest.mark.parametrize("there", [None, *heap.CACHES])
def test_a_bound_that_the_environment_has_stays(there: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in heap.CACHES:
        # set first, so that what is set below is gone afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if there:
        monkeypatch.setenv(there, "7")
    accelerator("fp32")
    found = {name: os.environ[name] for name in heap.CACHES if name in os.environ}
    assert found == ({there: "7"} if there else {heap.CACHES[0]: str(heap.KEPT)})


PRODUCTS = """
import torch
from nlp_transfer.training import heap

heap.keep_code()
weight = torch.randn(64, 64, dtype=torch.bfloat16)
for _ in range(2):
    for rows in range(2, 1302):
        torch.randn(rows, 64).bfloat16() @ weight
"""
"""Products of 1,300 shapes, each met twice."""


@pytest.mark.slow
@pytest.mark.skipif(
    not native_bf16(torch.device("cpu")), reason="without bf16 in hardware its products are not oneDNN's"
)
def test_code_of_more_shapes_than_onednn_keeps_by_itself_is_written_once() -> None:
    written = {}
    for bound in (None, "1024"):
        bounds = {} if bound is None else {heap.CACHES[0]: bound}
        told = {name: value for name, value in os.environ.items() if name not in heap.CACHES}
        environment = {**told, **bounds, "ONEDNN_VERBOSE": "profile_create"}
        done = subprocess.run(
            [sys.executable, "-c", PRODUCTS], env=environment, capture_output=True, text=True, check=True
        )
        written[bound] = sum("create:cache_miss" in line and ",matmul," in line for line in done.stdout.splitlines())
    assert written[None] == 1300
    assert written["1024"] > 1500


def test_free_memory_is_handed_back_when_a_training_holds_more_than_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = [(1000, 0), (1100, 0), (1200, 1), (1300, 1), (1400, 1), (1500, 2)]
    held, given_back = iter(megabytes for megabytes, _ in marks), []
    monkeypatch.setattr(heap, "give_back", lambda: given_back.append(None))
    holes = heap.Holes()
    monkeypatch.setattr(holes, "_process", SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=next(held) * 2**20)))
    for _, times in marks:
        for _ in range(heap.EVERY):
            holes.step()
        assert len(given_back) == times


@TOLD
@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc hands back what lies free between what is used"
)
def test_what_lies_free_between_what_is_used_is_handed_back() -> None:
    # written to: of zeros the system may have no page yet
    pieces = [b"x" * 100_000 for _ in range(2_000)]
    del pieces[::2]
    before = int(STATM.read_text().split()[1])
    heap.give_back()
    assert int(STATM.read_text().split()[1]) < before - 50_000_000 / os.sysconf("SC_PAGE_SIZE")
    assert len(pieces) == 1_000


def pages_of_batches() -> list[int]:
    """Pages that this process fetches from the system for the same eight tensors of six MiB, four times: before and after it
    was told to keep what it frees."""
    found = []
    for tell in (lambda: None, heap.keep_freed):
        tell()
        before = 0
        for batch in range(5):
            if batch == 1:  # the first has to fetch them
                before = getrusage(RUSAGE_SELF).ru_minflt
            held = [torch.ones(6 * 2**18) for _ in range(8)]
            del held
        found.append(getrusage(RUSAGE_SELF).ru_minflt - before)
    return found


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
@pytest.mark.parametrize("bound", [None, "MALLOC_TRIM_THRESHOLD_"])
def test_what_a_batch_frees_is_there_for_the_next(bound: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in heap.BOUNDS:
        monkeypatch.delenv(name, raising=False)
    if bound:
        monkeypatch.setenv(bound, str(2**17))
    with get_context("spawn").Pool(1) as alone:
        before, pages = alone.apply(pages_of_batches)
    of_a_tensor = 6 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    assert before > 8 * of_a_tensor
    assert (pages > 8 * of_a_tensor) if bound else (pages < of_a_tensor)
