"""Processes that die, hang or are stopped; the file of results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nlp_transfer import Recipe, RequestError
from nlp_transfer.comparison import engine, running
from nlp_transfer.comparison.jobs import Job
from nlp_transfer.comparison.results import Results
from nlp_transfer.errors import Interrupted


def job(root: Path, seed: int = 0, **parts: Any) -> Job:
    recipe = Recipe.make(task="sentiment", data="rows.jsonl", seed=seed, train={"learning_rate": 1e-3}).to_dict()
    values: dict[str, Any] = {"kind": "trial", "candidate": "full", "method": "full", "train_rows": 10}
    return Job(**{**values, "recipe": recipe, "fingerprint": "f", "root": str(root), **parts})


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has a shell script stand where Python is started."""

    def write(script: str) -> None:
        file = tmp_path / "program"
        file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        file.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(file))

    return write


def test_a_process_that_dies_costs_its_own_job_and_is_named(tmp_path: Path, program: Any) -> None:
    program(
        'read job\ncase $job in *\'"seed": 1\'*) echo out of memory >&2; kill -9 $$;; esac\necho \'{"status": "finished"}\''
    )
    jobs = [job(tmp_path, seed) for seed in (0, 1, 2)]
    outcomes = {each.recipe["seed"]: outcome for each, outcome in engine.processes(jobs, 2, lambda: None)}
    assert outcomes[0] == outcomes[2] == {"status": "finished"}
    assert outcomes[1]["status"] == "failed"
    assert "its process ended by SIGKILL" in outcomes[1]["message"]
    assert outcomes[1]["message"].endswith("out of memory")
    logs = [path.name for path in (tmp_path / "trials").iterdir()]
    assert logs == [f"{jobs[1].folder.name}.log"], "an empty log goes"


@pytest.mark.parametrize(
    ("gpus", "visible", "workers", "expected"),
    [
        (0, None, 2, ["", ""]),
        (1, None, 2, ["", ""]),
        (2, None, 2, ["0", "1"]),
        (2, "5, GPU-8a1", 2, ["5", "GPU-8a1"]),
        (2, None, 3, ["0", "0", "1"]),
        (3, None, 1, ["0"]),
    ],
)
def test_processes_share_the_gpus_out(
    gpus: int,
    visible: str | None,
    workers: int,
    expected: list[str],
    tmp_path: Path,
    program: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    # all have begun before one of them answers
    program(
        f"touch {tmp_path}/begun.$$\nwhile [ $(ls {tmp_path}/begun.* | wc -l) -lt {workers} ]; do sleep 0.02; done\n"
        'echo "{\\"status\\": \\"finished\\", \\"device\\": \\"$CUDA_VISIBLE_DEVICES\\"}"'
    )
    done = [*engine.processes([job(tmp_path, seed) for seed in range(workers)], workers, lambda: None)]
    assert sorted(outcome["device"] for _, outcome in done) == expected


def test_a_process_that_answers_nothing_has_failed(tmp_path: Path, program: Any) -> None:
    program("exit 0")
    assert "with status 0" in engine.fresh(job(tmp_path), None)["message"]


def test_a_stop_ends_every_process(tmp_path: Path, program: Any) -> None:
    program("exec sleep 60")
    begun = time.monotonic()

    def check() -> None:
        if len(list(tmp_path.glob("trials/*.log"))) == 2 and time.monotonic() > begun + 0.5:
            raise Interrupted

    with pytest.raises(Interrupted):
        list(engine.processes([job(tmp_path, seed) for seed in range(4)], 2, check))
    assert time.monotonic() - begun < 20
    running = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 60" not in running


def test_what_a_process_prints_is_no_answer(tmp_path: Path, program: Any) -> None:
    program('read job\necho loading\necho \'{"status": "finished", "message": "é"}\'')
    assert engine.fresh(job(tmp_path), None) == {"status": "finished", "message": "é"}


def test_threads_are_shared_among_workers(tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program('read job\necho "{\\"threads\\": \\"$OMP_NUM_THREADS\\"}"')
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((_, outcome),) = engine.processes([job(tmp_path)], 3, lambda: None)
    assert outcome == {"threads": "2"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ((_, outcome),) = engine.processes([job(tmp_path)], 3, lambda: None)
    assert outcome == {"threads": "1"}, "who says it decides it"


def test_ray_that_is_missing_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RequestError, match=r"nlp-transfer\[ray\]"):
        next(engine.ray([job(tmp_path)], 2, lambda: None))


@pytest.mark.slow
def test_ray_does_the_same(tmp_path: Path, program: Any) -> None:
    pytest.importorskip("ray")
    outcomes = list(engine.ray([job(tmp_path, seed) for seed in (0, 1)], 2, lambda: None))
    assert sorted(each.recipe["seed"] for each, _ in outcomes) == [0, 1]
    # there are no rows.jsonl: the process itself has said so
    assert all("rows.jsonl" in outcome["message"] for _, outcome in outcomes)


def test_a_key_is_all_that_defines_a_job_and_nothing_else(tmp_path: Path) -> None:
    one = job(tmp_path)
    elsewhere = {**one.recipe, "data": {**one.recipe["data"], "source": "elsewhere/rows.jsonl"}}
    assert job(tmp_path / "other", recipe=elsewhere).key == one.key
    others = [
        job(tmp_path, 1),
        job(tmp_path, fingerprint="g"),
        job(tmp_path, kind="run"),
        job(tmp_path, weights="w"),
        job(tmp_path, recipe={**one.recipe, "train": {**one.recipe["train"], "learning_rate": 2e-3}}),
        job(tmp_path, recipe={**one.recipe, "data": {**one.recipe["data"], "test": "test.jsonl"}}),
    ]
    assert len({one.key, *(other.key for other in others)}) == 7
    assert len({one.folder, *(other.folder for other in others)}) == 7
    assert Job.from_json(one.to_json()) == one


def test_a_long_label_makes_no_longer_name_than_a_folder_may_have(tmp_path: Path) -> None:
    long, longer = (job(tmp_path, candidate=f"{'モデル' * count}/full") for count in (80, 81))
    assert len(os.fsencode(long.folder.name)) < 240
    assert long.folder.name.startswith("モデル" * 10)
    assert "-full-" in long.folder.name
    assert longer.folder == long.folder, "the key says which"
    assert job(tmp_path).folder.name.startswith(f"{job(tmp_path).candidate}-")


def test_results_are_there_after_every_line_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    results = Results(tmp_path)
    lines = [job(tmp_path, seed).line({"message": f"é {seed}"}) for seed in range(3)]
    for i, line in enumerate(lines):
        results.add(line)
        assert list(Results(tmp_path).lines.values()) == lines[: i + 1]
    text = results.file.read_bytes()
    for cut in range(len(text) - 1, 0, -97):
        results.file.write_bytes(text[:cut])
        whole = text[:cut].count(b"\n")
        found = Results(tmp_path)
        # a line that lacks nothing but its line feed is whole
        assert list(found.lines.values()) in (lines[:whole], lines[: whole + 1])
        found.add(lines[2])
        assert [json.loads(line)["key"] for line in found.file.read_text(encoding="utf-8").splitlines()][-1] == lines[
            2
        ]["key"]


def test_lines_can_be_dropped(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for seed in range(3):
        results.add(job(tmp_path, seed).line({"status": "failed" if seed == 1 else "finished"}))
    results.drop(lambda line: line["status"] == "failed")
    assert [line["seed"] for line in Results(tmp_path).lines.values()] == [0, 2]


def test_what_is_left_goes_by_rows() -> None:
    few, many = 50, 5000
    assert running._left(60.0, 4 * few, 4 * few + 4 * many) == "  (about 100 min left)"
    assert running._left(60.0, 4 * many, 4 * few + 4 * many) == ""
