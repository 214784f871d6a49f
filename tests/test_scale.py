"""Several processes: they train and judge as one does, stop together, and what a fault ends goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from nlp_transfer import cli, load_run, samples
from tests.processes import start_together, wait_for
from tests.test_reliability import parts, steps_logged, weights

TRAIN = {"batch_size": 8, "accumulate": 2, "learning_rate": 1e-3}
KINDS = {
    # 117 rows make a last step of 5, whose second batch is none: processes without a row must not be waited for
    "sentiment": ["--task", "sentiment", "--data.limit", "117"],
    # weighted by tokens, of which every process has another number
    "entities": ["--task", "entities", "--data.limit", "60"],
}


def words(kind: str, model: Path, output: Path, *more: str, **train: object) -> list[str]:
    flags = ["train", *KINDS[kind], "--data", str(samples.path(kind)), "--model", str(model), "--output", str(output)]
    return [*flags, *more] + [f"--train.{name}={value}" for name, value in {**TRAIN, **train}.items()]


def join(processes: list[BaseProcess], printed: Path, *statuses: int, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    said = {rank: printed.with_suffix(f".{rank}").read_text(encoding="utf-8") for rank in range(len(processes))}
    ended = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert ended == list(statuses or [0] * len(processes)), said


def losses(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def judged(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{split}/{name}": values
        for split in ("validation", "test")
        for name, values in load_file(folder / "predictions" / f"{split}.safetensors").items()
    }


def answered(folder: Path) -> list[Any]:
    """The rows that were answered, in order."""
    files = [folder / "predictions" / f"{split}.jsonl" for split in ("validation", "test")]
    return [json.loads(line)["place"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("count", "kinds"),
    [
        (2, ["sentiment"]),
        pytest.param(2, ["entities"], marks=pytest.mark.slow),
        pytest.param(4, ["sentiment", "entities"], marks=pytest.mark.slow),
    ],
)
def test_several_processes_train_and_judge_as_one_does(
    count: int, kinds: list[str], tiny_bert: Path, tmp_path: Path
) -> None:
    """Whole or sharded: the same losses, rows and steps, and every row judged exactly once."""

    def commands(folder: Path, sharded: bool) -> list[list[str]]:
        common: dict[str, Any] = {"dropout": 0, "max_steps": 20, "precision": "fp32"}
        made = [words(kind, tiny_bert, folder / kind, **common) for kind in kinds]
        return made + [words(kinds[0], tiny_bert, folder / "sharded", **common, sharded=True)] * sharded

    started = start_together(commands(tmp_path / "many", sharded=True), tmp_path / "printed.txt", count)
    for each in commands(tmp_path / "one", sharded=False):
        assert cli.main(each) == 0
    join(started, tmp_path / "printed.txt")
    for made in (*kinds, "sharded"):
        one, many = tmp_path / "one" / made.replace("sharded", kinds[0]), tmp_path / "many" / made
        alone, together = load_run(one), load_run(many)
        assert together.report["environment"]["processes"] == count
        assert len(losses(one)) == 20
        np.testing.assert_allclose(losses(many), losses(one), atol=1e-4)
        assert together.report["training"] == alone.report["training"]
        assert answered(many) == answered(one)
        assert judged(many).keys() == judged(one).keys()
        for name, values in judged(many).items():
            np.testing.assert_allclose(values, judged(one)[name], atol=2e-3)
        # a plain model, whole, with every name in its place
        stored = {run: load_file(run / "model" / "model.safetensors") for run in (one, many)}
        assert stored[many].keys() == stored[one].keys()
        for name, value in stored[many].items():
            np.testing.assert_allclose(value, stored[one][name], atol=1e-3, err_msg=name)
        configs = [(run / "model" / "config.json").read_text(encoding="utf-8") for run in (one, many)]
        assert configs[0] == configs[1]


METHODS = {
    "lora": ["--method", "lora"],
    "lora in bf16": ["--method", "lora", "--train.frozen", "bf16", "--train.precision", "bf16"],
    "adapter": ["--method", "adapter"],
    "prefix": ["--method", "prefix"],
    "bitfit": ["--method", "bitfit"],
    "freeze": ["--method", "freeze"],
    "head": ["--method", "head"],
    "pulled": ["--method.pull", "2.0"],
    "pooled": ["--head.pooling", "mean"],
    "windows": ["--task.long_texts", "windows"],
    "checkpointed": ["--train.gradient_checkpointing"],
    "bf16": ["--train.precision", "bf16"],
}


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_every_kind_of_training_learns_the_same_in_two_processes(
    sharded: bool, tiny_bert: Path, tmp_path: Path
) -> None:
    def commands(folder: Path, sharded: bool) -> list[list[str]]:
        train = {"max_steps": 3, "dropout": 0, "sharded": sharded, "precision": "fp32"}
        few = ("--data.limit", "24", "--quiet")
        return [words("sentiment", tiny_bert, folder / name, *few, **train) + more for name, more in METHODS.items()]

    started = start_together(commands(tmp_path / "two", sharded), tmp_path / "printed.txt", 2)
    for command in commands(tmp_path / "one", sharded=False):
        assert cli.main(command) == 0
    join(started, tmp_path / "printed.txt", seconds=500)
    for name in METHODS:
        rounding = 1e-2 if "bf16" in name else 1e-4
        np.testing.assert_allclose(losses(tmp_path / "two" / name), losses(tmp_path / "one" / name), atol=rounding)
        many, one = load_run(tmp_path / "two" / name).report, load_run(tmp_path / "one" / name).report
        assert many["parameters"] == one["parameters"]


def fault(
    model: Path,
    tmp_path: Path,
    kills: int,
    sharded: bool,
    rows: int,
    both: float = 0.3,
    in_checkpoint: float = 1 / 3,
) -> float:
    """Kill one or both of two processes at random moments, until so many have been killed; every run must end with the same
    weights to the bit. Gives the most seconds that a process lived on after the other."""
    choose, train = random.Random(1), {"epochs": 2, "checkpoint_every": 2, "sharded": sharded}
    undisturbed, printed = tmp_path / "undisturbed", tmp_path / "printed.txt"
    few = ("--data.limit", str(rows))
    join(start_together([words("sentiment", model, undisturbed, *few, **train)], printed, 2), printed)
    done = runs = 0
    longest = 0.0
    while done < kills:
        runs += 1
        folder, printed = tmp_path / f"killed-{runs}", tmp_path / f"killed-{runs}.txt"
        for _ in range(50):
            until, before = steps_logged(folder) + choose.randint(1, 4), parts(folder)
            inside = choose.random() < in_checkpoint
            processes = start_together([words("sentiment", model, folder, *few, "--resume", **train)], printed, 2)
            victims = processes if choose.random() < both else [choose.choice(processes)]

            def reached(
                folder: Path = folder, until: int = until, before: dict[str, int] = before, inside: bool = inside
            ) -> bool:
                return bool(parts(folder).items() - before.items()) if inside else steps_logged(folder) >= until

            if done < kills and wait_for(reached, processes[0]):
                for victim in victims:
                    victim.kill()
                killed = time.monotonic()
                done += 1
                for process in processes:
                    process.join(60)
                    assert process.exitcode is not None, "a process waits for one that is dead"
                longest = max(longest, time.monotonic() - killed)
                assert {process.exitcode for process in processes} <= {-signal.SIGKILL, 1}
                for rank, process in enumerate(processes):
                    if process not in victims:
                        said = printed.with_suffix(f".{rank}").read_text(encoding="utf-8")
                        assert "another process of this training has ended" in said
                        assert f"--output {folder} --resume" in said
            else:
                join(processes, printed)
                break
        assert weights(folder) == weights(undisturbed)
        assert load_run(folder).scores == load_run(undisturbed).scores
    return longest


@pytest.mark.parametrize("sharded", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_other_and_changes_nothing(sharded: bool, tiny_bert: Path, tmp_path: Path) -> None:
    assert fault(tiny_bert, tmp_path, kills=1, sharded=sharded, rows=40, both=0.0, in_checkpoint=0.0) < 30


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_twenty_kills_of_one_or_both_change_nothing(
    sharded: bool, tiny_bert: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    longest = fault(tiny_bert, tmp_path, kills=20, sharded=sharded, rows=117)
    record_property("most seconds from a kill to the end of both processes", round(longest, 1))
    assert longest < 30


@pytest.mark.parametrize("sharded", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_signal_to_any_process_stops_all_at_one_step(sharded: bool, tiny_bert: Path, tmp_path: Path) -> None:
    train = {"epochs": 2, "checkpoint_every": 1000, "sharded": sharded}
    undisturbed, folder, printed = tmp_path / "undisturbed", tmp_path / "run", tmp_path / "printed.txt"
    few = ("--data.limit", "40")
    processes = start_together([words("sentiment", tiny_bert, folder, *few, **train)], printed, 2)
    assert wait_for(lambda: steps_logged(folder) >= 2, processes[0])
    os.kill(processes[1].pid or 0, signal.SIGTERM)
    join(processes, printed, 3, 3)
    (checkpoint,) = (folder / "checkpoints").glob("step-*")
    manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
    kinds = (
        [f"{kind}-{rank}" for kind in ("model", "optimizer") for rank in (0, 1)] if sharded else ["model", "optimizer"]
    )
    expected = {f"{name}.safetensors" for name in (*kinds, "random-0", "random-1")}
    assert manifest.keys() == expected | {"state.json"}
    said = [printed.with_suffix(f".{rank}").read_text(encoding="utf-8") for rank in (0, 1)]
    assert f"--output {folder} --resume" in said[0]
    assert "stopped by" not in said[1], "one says it for all"
    again = words("sentiment", tiny_bert, folder, *few, "--resume", **train)
    join(start_together([again, words("sentiment", tiny_bert, undisturbed, *few, **train)], printed, 2), printed)
    assert weights(folder) == weights(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_another_number_of_processes_goes_on_with_a_warning(sharded: bool, tiny_bert: Path, tmp_path: Path) -> None:
    """Parts that two processes wrote are read by three: rows and steps are the same, and without dropout the weights."""
    train = {"epochs": 2, "dropout": 0, "precision": "fp32", "checkpoint_every": 2, "sharded": sharded}
    undisturbed, folder, printed = tmp_path / "undisturbed", tmp_path / "run", tmp_path / "printed.txt"
    processes = start_together([words("sentiment", tiny_bert, folder, **train)], printed, 2)
    assert wait_for(lambda: steps_logged(folder) >= 3, processes[0])
    os.kill(processes[0].pid or 0, signal.SIGINT)
    join(processes, printed, 3, 3)
    again = words("sentiment", tiny_bert, folder, "--resume", **train)
    join(start_together([again, words("sentiment", tiny_bert, undisturbed, **train)], printed, 3), printed)
    assert "made by 2 processes, now there are 3" in printed.with_suffix(".0").read_text(encoding="utf-8")
    np.testing.assert_allclose(losses(folder), losses(undisturbed), atol=1e-4)
    stored = [load_file(run / "model" / "model.safetensors") for run in (folder, undisturbed)]
    for name, value in stored[0].items():
        np.testing.assert_allclose(value, stored[1][name], atol=1e-3, err_msg=name)


def test_a_process_that_does_not_answer_is_given_up_in_time(tiny_bert: Path, tmp_path: Path) -> None:
    """As one that can be reached no more: it is there, and silent."""
    folder, printed = tmp_path / "run", tmp_path / "printed.txt"
    commands = [words("sentiment", tiny_bert, folder, epochs=200, checkpoint_every=2)]
    processes = start_together(commands, printed, 2, seconds=10)
    assert wait_for(lambda: steps_logged(folder) >= 3, processes[0])
    os.kill(processes[1].pid or 0, signal.SIGSTOP)
    since = time.monotonic()
    processes[0].join(60)
    waited = time.monotonic() - since
    processes[1].kill()
    processes[1].join()
    said = printed.with_suffix(".0").read_text(encoding="utf-8")
    assert processes[0].exitcode == 1, said
    assert 8 < waited < 40
    assert "did not answer for 10 seconds (NLP_TRANSFER_TIMEOUT" in said
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["status"] == "failed"
    assert list((folder / "checkpoints").glob("step-*"))
