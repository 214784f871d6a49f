"""Nothing lost: a run that was killed, stopped or starved goes on, and ends with the same weights to the bit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from nlp_transfer import RequestError, Run, cli, fine_tune, samples
from nlp_transfer.data.activations import StoredFeatures
from nlp_transfer.data.features import Features
from nlp_transfer.errors import Stopped, TrainingError
from nlp_transfer.training.manifest import whole
from tests.conftest import shared
from tests.processes import start, wait_for

SETTINGS = {"epochs": 3, "batch_size": 8, "accumulate": 2, "learning_rate": 1e-3, "checkpoint_every": 3}


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def recipe(model: Path | str, **train: object) -> dict[str, object]:
    data = {"source": str(samples.path("sentiment")), "limit": 120}
    return {"task": "sentiment", "data": data, "model": str(model), "train": {**SETTINGS, **train}, "silent": True}


def words(model: Path | str, output: Path, **train: object) -> list[str]:
    flags = ["train", "--task", "sentiment", "--data", str(samples.path("sentiment")), "--data.limit", "120"]
    flags += ["--model", str(model), "--output", str(output), "--resume"]
    return flags + [f"--train.{name}={value}" for name, value in {**SETTINGS, **train}.items()]


@contextlib.contextmanager
def with_one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread: the sums of the killed and the undisturbed run are rounded alike."""
    with with_one_thread():
        yield


Undisturbed = Callable[..., Run]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Gives the run of a model and settings that nothing disturbed: made once for all tests that hold theirs against it."""
    made: dict[str, Run] = {}

    def run(model: Path, **train: object) -> Run:
        key = f"{model} {train}"
        if key not in made:
            with with_one_thread():
                made[key] = fine_tune(**recipe(model, **train), output=tmp_path_factory.mktemp("undisturbed") / "run")
        return made[key]

    return run


def stop_at(fetches: int, monkeypatch: pytest.MonkeyPatch, kind: type[Features] = Features) -> None:
    """Send this process a SIGTERM when the n-th batch of a kind of features is fetched."""
    original, count = kind.fetch, [0]

    def fetch(self: Features, indices: object) -> object:
        count[0] += 1
        if count[0] == fetches:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, indices)

    monkeypatch.setattr(kind, "fetch", fetch)


@pytest.mark.parametrize(("precision", "fetches"), [("fp32", 1), ("fp32", 7), ("fp32", 20), ("fp32", 36), ("bf16", 20)])
def test_a_stopped_run_ends_with_the_same_weights(
    precision: str,
    fetches: int,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_thread: None,
    undisturbed: Undisturbed,
) -> None:
    expected = undisturbed(tiny, precision=precision, patience=2)
    stop_at(fetches, monkeypatch)
    with pytest.raises(Stopped, match=r"SIGTERM.*--resume"):
        fine_tune(**recipe(tiny, precision=precision, patience=2), output=tmp_path / "stopped")
    assert json.loads((tmp_path / "stopped" / "report.json").read_text(encoding="utf-8"))["status"] == "stopped"
    monkeypatch.undo()
    torch.manual_seed(123)
    random.seed(5)
    resumed = fine_tune(output=tmp_path / "stopped", resume=True, silent=True)
    assert weights(resumed.folder) == weights(expected.folder)
    assert resumed.scores == expected.scores
    assert resumed.report["training"] == expected.report["training"]
    steps = [
        json.loads(line)["step"] for line in (resumed.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert steps == sorted(steps)
    assert not (resumed.folder / "checkpoints").exists()


@pytest.mark.parametrize(("kind", "fetches"), [(Features, 1), (StoredFeatures, 1), (StoredFeatures, 12)])
def test_a_stopped_run_on_stored_features_ends_with_the_same_weights(
    kind: type[Features], fetches: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    made = {**recipe(tiny), "method": "head"}
    undisturbed = fine_tune(**made, output=tmp_path / "undisturbed")
    stop_at(fetches, monkeypatch, kind)
    with pytest.raises(Stopped, match=r"SIGTERM.*--resume"):
        fine_tune(**made, output=tmp_path / "stopped")
    monkeypatch.undo()
    resumed = fine_tune(output=tmp_path / "stopped", resume=True, silent=True)
    assert weights(resumed.folder) == weights(undisturbed.folder)
    assert resumed.scores == undisturbed.scores


def test_a_stopped_run_in_batches_by_tokens_ends_with_the_same_weights(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """Its epochs have different numbers of steps, and its steps of rows."""
    made = recipe(tiny_bert, batch_tokens=90, accumulate=2, epochs=2.5)
    undisturbed = fine_tune(**made, output=tmp_path / "undisturbed")
    assert undisturbed.report["training"]["epochs"] == pytest.approx(2.5, abs=0.1)
    assert 0 < undisturbed.report["training"]["padding"] < 0.3
    stop_at(31, monkeypatch)
    with pytest.raises(Stopped, match=r"SIGTERM.*--resume"):
        fine_tune(**made, output=tmp_path / "stopped")
    monkeypatch.undo()
    resumed = fine_tune(output=tmp_path / "stopped", resume=True, silent=True)
    assert weights(resumed.folder) == weights(undisturbed.folder)
    assert resumed.report["training"] == undisturbed.report["training"]


@pytest.mark.parametrize("fetches", [7, 26])
def test_a_stopped_run_in_stages_ends_with_the_same_weights(
    fetches: int, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """What unfroze, what the pull goes to, and every block's rate are the same after a stop."""
    method = {"name": "full", "gradual": True, "layer_decay": 0.8, "pull": 5.0}
    made = {**recipe(tiny_bert), "method": method}
    undisturbed = fine_tune(**made, output=tmp_path / "undisturbed")
    stop_at(fetches, monkeypatch)
    with pytest.raises(Stopped, match=r"SIGTERM.*--resume"):
        fine_tune(**made, output=tmp_path / "stopped")
    monkeypatch.undo()
    resumed = fine_tune(output=tmp_path / "stopped", resume=True, silent=True)
    assert weights(resumed.folder) == weights(undisturbed.folder)
    assert resumed.scores == undisturbed.scores


def steps_logged(folder: Path) -> int:
    log = folder / "log.jsonl"
    return log.read_text(encoding="utf-8").count('"loss"') if log.exists() else 0


def parts(folder: Path) -> dict[str, int]:
    """Checkpoints that are being written, or whose writing was killed, by the time of their last change."""
    found = {}
    for path in (folder / "checkpoints").glob(".part-*"):
        with contextlib.suppress(FileNotFoundError):  # it has got its name just now
            found[path.name] = path.stat().st_mtime_ns
    return found


def kill_and_resume(model: Path | str, tmp_path: Path, kills: int, **train: object) -> int:
    """Kill runs at random moments until so many kills have happened; every run must end with the same weights.

    A third of the kills comes while a checkpoint is being written, the others after one to four more steps.
    """
    choose = random.Random(0)
    start(words(model, tmp_path / "undisturbed", **train), tmp_path / "undisturbed.txt").join()
    expected = weights(tmp_path / "undisturbed")
    done = runs = 0
    while done < kills:
        runs += 1
        folder, printed = tmp_path / f"killed-{runs}", tmp_path / f"killed-{runs}.txt"
        for _ in range(50):
            until, before = steps_logged(folder) + choose.randint(1, 4), parts(folder)
            in_checkpoint = choose.random() < 1 / 3
            process = start(words(model, folder, **train), printed)

            def reached(
                folder: Path = folder, until: int = until, before: dict[str, int] = before, inside: bool = in_checkpoint
            ) -> bool:
                return bool(parts(folder).items() - before.items()) if inside else steps_logged(folder) >= until

            if done < kills and wait_for(reached, process):
                process.kill()
            process.join()
            done += process.exitcode == -signal.SIGKILL
            if process.exitcode == 0:
                break
        assert weights(folder) == expected, printed.read_text(encoding="utf-8")
    return done


def test_three_kills_change_nothing(tiny_bert: Path, tmp_path: Path) -> None:
    assert kill_and_resume(tiny_bert, tmp_path, kills=3) == 3


@pytest.mark.slow
def test_ten_kills_change_nothing(tiny_bert: Path, tmp_path: Path) -> None:
    assert kill_and_resume(tiny_bert, tmp_path, kills=10) == 10


@pytest.mark.slow
@pytest.mark.parametrize("model", ["minilm", "gpt-mini"])
def test_thirty_kills_change_nothing_on_real_models(model: str, tmp_path: Path) -> None:
    name = str(shared("models/gpt-mini")) if model == "gpt-mini" else model
    assert kill_and_resume(name, tmp_path, kills=30, max_steps=12, checkpoint_every=2) == 30


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("SIGINT", "training"),
        ("SIGTERM", "evaluation"),
        *(
            pytest.param(name, part, marks=pytest.mark.slow)
            for name, part in (("SIGTERM", "training"), ("SIGUSR1", "training"), ("SIGTERM", "checkpoint"))
        ),
    ],
)
def test_a_signal_stops_with_status_3_and_a_way_to_go_on(
    name: str, part: str, tiny_bert: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    printed = tmp_path / "printed.txt"
    process = start(words(tiny_bert, tmp_path / "run"), printed, slow=None if part == "training" else part)
    mark = tmp_path / "run" / "log.jsonl" if part == "training" else tmp_path / "printed.reached"
    assert wait_for(mark.exists, process)
    os.kill(process.pid or 0, getattr(signal, name))
    process.join()
    said = printed.read_text(encoding="utf-8")
    assert process.exitcode == 3, said
    assert name in said
    assert f"--output {tmp_path / 'run'} --resume" in said
    again = start(["train", "--output", str(tmp_path / "run"), "--resume"], printed)
    again.join()
    assert again.exitcode == 0
    assert weights(tmp_path / "run") == weights(undisturbed(tiny_bert).folder)


def test_a_second_signal_ends_at_once(tiny_bert: Path, tmp_path: Path) -> None:
    process = start(words(tiny_bert, tmp_path / "run"), tmp_path / "printed.txt", slow="checkpoint")
    assert wait_for((tmp_path / "printed.reached").exists, process)
    os.kill(process.pid or 0, signal.SIGTERM)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join()
    assert process.exitcode in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_resume_without_a_checkpoint_starts_from_zero(
    tiny_bert: Path, tmp_path: Path, one_thread: None, undisturbed: Undisturbed
) -> None:
    run = undisturbed(tiny_bert)
    shutil.copytree(run.folder, tmp_path / "begun")
    for name in ("report.json", "model", "task.json", "predictions", "README.md"):
        part = tmp_path / "begun" / name
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    resumed = fine_tune(output=tmp_path / "begun", resume=True, silent=True)
    assert weights(resumed.folder) == weights(run.folder)


def test_resume_of_a_finished_run_gives_it_back(tiny_bert: Path, tmp_path: Path) -> None:
    run = fine_tune(**recipe(tiny_bert, max_steps=2), output=tmp_path / "run")
    before = (run.folder / "report.json").stat().st_mtime_ns
    again = fine_tune(**recipe(tiny_bert, max_steps=2), output=tmp_path / "run", resume=True)
    assert again.scores == run.scores
    assert (run.folder / "report.json").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def stopped_once(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch, with_one_thread():
        stop_at(36, monkeypatch)
        with pytest.raises(Stopped):
            fine_tune(**recipe(tiny_bert), output=folder)
    return folder


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path, one_thread: None) -> Path:
    """The folder of a run that was stopped after an evaluation and some checkpoints: a copy of one for each test."""
    return Path(shutil.copytree(stopped_once, tmp_path / "stopped"))


def test_another_recipe_is_refused_with_the_differences(stopped: Path, tiny_bert: Path) -> None:
    with pytest.raises(RequestError, match=r"train.batch_size is 8 there and 4 here.*--resume"):
        fine_tune(**recipe(tiny_bert, batch_size=4), output=stopped, resume=True)
    with pytest.raises(RequestError, match=r"stopped run.*--resume"):
        fine_tune(**recipe(tiny_bert), output=stopped)


def test_other_rows_are_refused(stopped: Path, tmp_path: Path) -> None:
    recipe_file = stopped / "recipe.yaml"
    copy = tmp_path / "copy"
    shutil.copytree(samples.path("sentiment"), copy)
    recipe_file.write_text(
        recipe_file.read_text(encoding="utf-8").replace(str(samples.path("sentiment")), str(copy)), encoding="utf-8"
    )
    with (copy / "train.csv").open("a", encoding="utf-8") as file:
        file.write("one more row,positive\n")
    with pytest.raises(RequestError, match="the data is not what the checkpoint"):
        fine_tune(output=stopped, resume=True, silent=True)
    assert list((stopped / "checkpoints").glob("step-*")), "a refused resume must leave the checkpoints"


def test_checkpoints_are_few_and_hold_no_pickle(stopped: Path) -> None:
    folders = sorted(path.name for path in (stopped / "checkpoints").iterdir())
    assert sum(name.startswith("step-") for name in folders) == 2
    assert sum(name.startswith("best-") for name in folders) == 1
    assert len(folders) == 3
    files = {path.suffix for path in (stopped / "checkpoints").rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors"}


@pytest.mark.parametrize("damage", ["truncated", "changed", "no manifest"])
def test_a_damaged_checkpoint_is_ignored_and_said(
    damage: str, stopped: Path, tiny_bert: Path, undisturbed: Undisturbed, capfd: pytest.CaptureFixture[str]
) -> None:
    newest = max((stopped / "checkpoints").glob("step-*"))
    file = newest / "model.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "changed":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(bytes(content))
    else:
        (newest / "manifest.json").unlink()
    assert not whole(newest)
    expected = undisturbed(tiny_bert)
    capfd.readouterr()
    resumed = fine_tune(output=stopped, resume=True)
    said = capfd.readouterr().err
    assert newest.name in said
    assert "ignored" in said
    assert weights(resumed.folder) == weights(expected.folder)


def test_another_number_of_threads_is_warned_of(stopped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(2)
    fine_tune(output=stopped, resume=True)
    assert "1 threads" in capfd.readouterr().err


def test_a_loss_that_is_no_number_names_step_and_rows_and_what_to_change(tiny_bert: Path, tmp_path: Path) -> None:
    options = recipe(tiny_bert, learning_rate=1e30, clip=None, checkpoint_every=1, warmup=0.5)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step \d+ of .*train\.csv, lines .*learning_rate"):
        fine_tune(**options, output=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["status"] == "failed"
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    flags = [*words(tiny_bert, tmp_path / "other", learning_rate=1e30, clip="null"), "--quiet"]
    assert cli.main(flags) == 1


def test_two_runs_in_one_folder_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(RequestError, match="another process"):
        fine_tune(**recipe(tiny_bert), output=tmp_path / "run", overwrite=True)
    (tmp_path / "run" / ".lock").unlink(missing_ok=True)
    assert fine_tune(**recipe(tiny_bert, max_steps=1), output=tmp_path / "run").scores


def test_a_second_training_is_kept_out_of_a_folder_where_one_is_running(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    first = start(words(tiny_bert, folder), tmp_path / "first.txt", slow="evaluation")
    assert wait_for(lambda: steps_logged(folder) > 0, first)
    assert cli.main([*words(tiny_bert, folder), "--quiet"]) == 2
    assert "another process works in" in capsys.readouterr().err
    first.join()
    assert first.exitcode == 0, (tmp_path / "first.txt").read_text(encoding="utf-8")
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["status"] == "finished"


def test_a_folder_that_cannot_be_written_is_one_message(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(RequestError, match="is a file"):
        fine_tune(**recipe(tiny_bert), output=tmp_path / "file")
    with pytest.raises(RequestError, match="cannot be written"):
        fine_tune(**recipe(tiny_bert), output=Path("/proc/nothing/run"))


def test_a_full_disk_is_an_error_that_leaves_the_earlier_checkpoint(tiny_bert: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1400k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(TrainingError, match=r"cannot be written: .*--resume"):
            fine_tune(**recipe(tiny_bert, checkpoint_every=1), output=disk / "run")
        kept = list((disk / "run" / "checkpoints").glob("step-*"))
        assert kept
        assert all(whole(path) for path in kept)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_wrong_request_does_not_cost_the_run_it_would_have_replaced(tiny_bert: Path, tmp_path: Path) -> None:
    run = fine_tune(**recipe(tiny_bert, max_steps=1), output=tmp_path / "run")
    before = {path.relative_to(run.folder): path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(RequestError, match="does not exist"):
        fine_tune(**{**recipe(tiny_bert), "data": "nothing.csv"}, output=tmp_path / "run", overwrite=True)
    assert {
        path.relative_to(run.folder): path.read_bytes() for path in run.folder.rglob("*") if path.is_file()
    } == before


def test_a_model_folder_with_only_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(RequestError, match="is a pickle or may be one, which can run code"):
        fine_tune(**recipe(tmp_path), output=tmp_path / "run")
