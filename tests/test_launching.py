"""`--processes N`: what is started, what a person sees of it, and with which status it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from nlp_transfer import RequestError, cli, launching, load_run
from nlp_transfer.errors import Lost, Stopped, TrainingError
from tests.processes import wait_for
from tests.test_reliability import steps_logged, weights
from tests.test_scale import words


def test_the_number_is_taken_from_the_words() -> None:
    assert launching.apart(["--task", "qa", "--processes", "3", "--train.epochs", "1"]) == (
        ["--task=qa", "--train.epochs=1"],
        3,
    )
    assert launching.apart(["--task", "qa", "--quiet"]) == (["--task", "qa", "--quiet"], 1)


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_a_number_that_is_none_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--task", "qa", "--data", "x.csv", f"--processes={number}"]) == 2
    assert f"--processes is {number}: expected a whole number above 0" in capsys.readouterr().err


def test_processes_that_were_started_already_start_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RequestError, match="leave one of both"):
        launching.apart(["--processes", "2"])


def test_a_wrong_flag_starts_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "launch", lambda *_: pytest.fail("processes were started"))
    assert cli.main(["train", "--task", "sentiment", "--data", "x.csv", "--train.epoch", "1", "--processes", "2"]) == 2
    assert 'Did you mean "epochs"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "who"),
    [
        (RequestError("no"), 2, {(0, 0), (0, 2)}),  # another machine may lack what the first one has
        (Stopped("later"), 3, {(0, 0)}),
        (TrainingError("no"), 1, {(0, 0), (0, 2)}),
        (Lost("gone"), 1, {(0, 0), (1, 1), (0, 2)}),
    ],
)
def test_what_is_wrong_is_said_once(
    error: Exception,
    status: int,
    who: set[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = set()
    for here, rank in ((0, 0), (1, 1), (0, 2)):
        monkeypatch.setenv("LOCAL_RANK", str(here))
        monkeypatch.setenv("RANK", str(rank))
        assert launching.tell(error) == status
        if printed := capsys.readouterr().err:
            said.add((here, rank))
            assert (f"(process {rank})" in printed) == (rank > 0)
    assert said == who


@pytest.mark.parametrize(
    ("codes", "status", "words"),
    [
        ({0: 3, 1: 3}, 3, ""),
        ({1: 3, 0: -signal.SIGTERM}, 3, ""),
        ({0: 2, 1: 2}, 2, ""),
        ({0: 1, 1: -signal.SIGKILL}, 1, "process 1 was ended by SIGKILL"),
        ({0: -signal.SIGKILL, 1: 1}, 1, "what the second one said"),
        ({1: 2, 0: 1}, 1, ""),
    ],
)
def test_the_status_is_that_of_the_run(
    codes: dict[int, int], status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stderr.log").write_text("what the second one said\n", encoding="utf-8")
    failures = {rank: SimpleNamespace(local_rank=rank, exitcode=code) for rank, code in codes.items()}
    assert launching._status(failures, tmp_path) == status
    printed = capsys.readouterr().err
    assert words in printed
    assert bool(words) == bool(printed)


def started(command: list[str], printed: Path) -> subprocess.Popen[bytes]:
    start = [sys.executable, "-m", "nlp_transfer.cli", *command, "--processes", "2"]
    with printed.open("wb") as file:
        return subprocess.Popen(start, stdout=file, stderr=file, env={**os.environ, "ACCELERATE_USE_CPU": "1"})


@pytest.mark.slow
def test_a_run_of_two_processes_is_stopped_loses_one_and_comes_to_its_end(tiny_bert: Path, tmp_path: Path) -> None:
    folder, undisturbed, printed = tmp_path / "run", tmp_path / "undisturbed", tmp_path / "printed.txt"
    command = words("sentiment", tiny_bert, folder, "--resume", epochs=3, checkpoint_every=2)
    for end in ("stop", "kill", "finish"):
        until = steps_logged(folder) + 3
        process = started(command, printed)
        alive = SimpleNamespace(is_alive=lambda process=process: process.poll() is None)
        if end != "finish":
            assert wait_for(lambda until=until: steps_logged(folder) >= until, alive, 300), printed.read_text()
        if end == "stop":
            process.send_signal(signal.SIGTERM)
        elif end == "kill":
            ranks = [child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == "1"]
            ranks[0].kill()
        status, said = process.wait(400), printed.read_text(encoding="utf-8")
        assert status == {"stop": 3, "kill": 1, "finish": 0}[end], said
        assert "Traceback" not in said
        if end == "stop":
            assert said.count("stopped by SIGTERM") == 1
        elif end == "kill":
            assert "process 1 was ended by SIGKILL" in said
            assert f"--output {folder} --resume" in said
        else:
            assert said.count("accuracy  ") == 1
    assert load_run(folder).report["environment"]["processes"] == 2
    assert started(words("sentiment", tiny_bert, undisturbed, epochs=3), printed).wait(400) == 0
    assert weights(folder) == weights(undisturbed)
