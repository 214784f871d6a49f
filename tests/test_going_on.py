"""Training that is cut short, by the clock or by a kill, or that comes after others in its process or on their weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from nlp_transfer import Recipe, RequestError, Run, fine_tune, runs, samples
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.activations import Once
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.errors import Stopped, TrainingError
from nlp_transfer.folder import RunFolder
from nlp_transfer.progress import Recorder
from nlp_transfer.standing import refuse_removing
from nlp_transfer.training import randomness
from nlp_transfer.training.checkpoints import Checkpoints
from nlp_transfer.training.manifest import whole


def asked(model: Path, output: Path, **parts: Any) -> dict[str, Any]:
    train = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32", **parts.pop("train", {})}
    data = {"source": str(samples.path("sentiment")), "limit": 80}
    common = {"task": "sentiment", "data": data, "model": str(model), "output": output, "silent": True}
    return {**common, "train": train, **parts}


def stopped_after(step: int, request: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that a SIGTERM stops after a step."""
    original = Recorder.step

    def record(self: Recorder, *done: Any) -> None:
        original(self, *done)
        if done[0].number == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Recorder, "step", record)
    with pytest.raises(Stopped):
        fine_tune(**request)
    monkeypatch.setattr(Recorder, "step", original)


def judged(folder: Path) -> list[int]:
    """The steps after which a run was evaluated."""
    lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["step"] for line in lines if "validation" in line]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "model" / "model.safetensors")


@pytest.fixture
def half(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The request of a run that was stopped in its last epoch, after two evaluations."""
    request = asked(tiny_bert, tmp_path / "half")
    stopped_after(25, request, monkeypatch)
    return request


# by the clock


def test_the_last_step_is_judged_wherever_the_time_went(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Checkpoints._write

    def slowly(self: Checkpoints, *words: Any) -> None:
        time.sleep(0.4)
        write(self, *words)

    monkeypatch.setattr(Checkpoints, "_write", slowly)
    limits = {"epochs": 50, "max_minutes": 0.02, "checkpoint_every": 1}
    run = fine_tune(**asked(tiny_bert, tmp_path / "run", train=limits))
    assert run.report["training"]["best_epoch"] > 0
    assert judged(run.folder)[-1] == run.report["training"]["steps"]


def test_a_resumed_run_whose_time_is_up_is_judged_at_once(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = Once.through

    def slowly(self: Once, *words: Any) -> Any:
        time.sleep(3)
        return through(self, *words)

    request = asked(tiny_bert, tmp_path / "run", method="freeze", train={"max_minutes": 0.04})
    stopped_after(3, request, monkeypatch)
    monkeypatch.setattr(Once, "through", slowly)
    run = fine_tune(**request, resume=True)
    assert judged(run.folder) == [run.report["training"]["steps"]] == [3]


def test_time_that_is_up_stays_up(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(tiny_bert, tmp_path / "run", train={"epochs": 500, "max_minutes": 0.03, "checkpoint_every": 1})
    original, ended = runs.Run.outputs, []

    def outputs(self: Run, *words: Any, **named: Any) -> Any:
        if not ended:
            ended.append(max(judged(self.folder)))
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *words, **named)

    monkeypatch.setattr(runs.Run, "outputs", outputs)
    with pytest.raises(Stopped):
        fine_tune(**request)
    again = fine_tune(**request, resume=True)
    # what the last checkpoint took to be written is all that may be left
    assert ended[0] <= again.report["training"]["steps"] < 1.5 * ended[0]


# after a stop


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_best_weights_that_are_damaged_are_never_loaded(
    damage: str, half: dict[str, Any], tiny_bert: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = fine_tune(**asked(tiny_bert, tmp_path / "whole"))
    (best,) = (tmp_path / "half" / "checkpoints").glob("best-*")
    file = best / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-4000] + b"A" * 4000 if damage == "changed" else content[: len(content) // 2])
    run = fine_tune(**{**half, "silent": False}, resume=True)
    said = capfd.readouterr().err
    assert f"{best} is not whole and is ignored" in said
    assert "the best weights so far are lost" in said
    assert all(tensor.isfinite().all() and tensor.abs().max() < 100 for tensor in weights(run).values())
    assert judged(run.folder)[-1] == judged(whole.folder)[-1] == run.report["training"]["steps"]


def test_an_older_checkpoint_whose_best_is_whole_comes_first(tiny_bert: Path, tmp_path: Path, monkeypatch: Any) -> None:
    request = asked(tiny_bert, tmp_path / "half", train={"checkpoint_every": 9})
    stopped_after(11, request, monkeypatch)
    (best,) = (tmp_path / "half" / "checkpoints").glob("best-*")
    (best / "model.safetensors").write_bytes(b"")
    expected, run = fine_tune(**asked(tiny_bert, tmp_path / "whole")), fine_tune(**request, resume=True)
    assert judged(run.folder) == judged(expected.folder)
    for name, tensor in weights(expected).items():
        assert torch.allclose(weights(run)[name], tensor, atol=1e-5), name


def test_best_weights_that_went_meanwhile_are_an_error(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, writes=True, every=None)
    with pytest.raises(TrainingError, match="best-00000003 is not whole any more"):
        checkpoints.load_best(nn.Linear(1, 1), 3)


def test_another_backbone_is_refused(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_bert, model)
    request = asked(model, tmp_path / "run", method="lora")
    stopped_after(5, request, monkeypatch)
    file = model / "model.safetensors"
    save_file({name: tensor + 0.01 for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    with pytest.raises(RequestError, match=r"the backbone is not what the checkpoint .* was trained on"):
        fine_tune(**request, resume=True)


@pytest.mark.parametrize("began", [False, True])
def test_a_replacement_that_was_killed_is_never_mixed_with_what_it_replaced(
    began: bool, tiny_bert: Path, tmp_path: Path
) -> None:
    request = asked(tiny_bert, tmp_path / "run", train={"max_steps": 1})
    first = fine_tune(**request)
    killed = RunFolder.open(first.folder, Recipe.read(first.folder / "recipe.yaml"), False, overwrite=True, writes=True)
    killed.__enter__()
    killed.lock.release()
    if began:
        (first.folder / "log.jsonl").write_text('{"step": 1}\n', encoding="utf-8")
    before = {path.name for path in first.folder.iterdir()} - {".replaced", ".lock"}
    wrong = {**request, "data": str(tmp_path / "nowhere.csv"), "overwrite": True}
    with pytest.raises(RequestError, match=r"nowhere\.csv"):
        fine_tune(**wrong)
    after = {path.name for path in first.folder.iterdir()}
    assert after == before if began else {"report.json", "model", "recipe.yaml"} <= after
    assert not (first.folder / ".replaced").exists()


def test_a_run_is_not_replaced_by_one_that_is_made_of_it(tiny_bert: Path, tmp_path: Path) -> None:
    first = fine_tune(**asked(tiny_bert, tmp_path / "run", train={"max_steps": 1}))
    own = first.folder / "rows.csv"
    shutil.copy(samples.path("sentiment") / "train.csv", own)
    for parts in ({"model": str(first.folder)}, {"data": str(own)}):
        with pytest.raises(RequestError, match=r"--overwrite would remove .*, which is to be read"):
            fine_tune(**{**asked(tiny_bert, first.folder), **parts}, overwrite=True)
    assert first.predict(["as before"])


# after others


def test_a_loop_that_was_interrupted_before_it_stops_no_step(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fine_tune(**asked(tiny_bert, tmp_path / "alone", train={"epochs": 1}))
    theirs = Accelerator(gradient_accumulation_steps=4)
    with pytest.raises(KeyboardInterrupt), theirs.accumulate(nn.Linear(2, 2)):
        raise KeyboardInterrupt
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    run = fine_tune(**asked(tiny_bert, tmp_path / "after", train={"epochs": 1}))
    for name, tensor in weights(expected).items():
        assert torch.allclose(weights(run)[name], tensor, atol=1e-6), name


def test_a_run_with_a_pooled_head_is_a_backbone_like_its_own(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [{"text": f"one {i}", "text_pair": f"two {i % 7}", "label": "ab"[i % 2]} for i in range(60)]
    source = {"source": rows, "max_length": 16}
    short = asked(tiny_bert, tmp_path / "first", task="classification", data=source, method="head")
    first = fine_tune(**{**short, "train": {"max_steps": 5}})
    plain, again = (Backbone.find(ModelSettings(str(each))) for each in (tiny_bert, first.folder))
    assert again.tokenizer().model_input_names == plain.tokenizer().model_input_names
    assert again.max_length(cap=False) == plain.max_length(cap=False) > 16
    loaded = again.model(AutoModelForSequenceClassification, {"num_labels": 2}, dropout=0.5)
    assert {part.p for part in loaded.model.modules() if isinstance(part, nn.Dropout)} == {0.5}
    request = asked(first.folder, tmp_path / "second", task="classification", data={"source": rows, "max_length": 32})
    second = fine_tune(**{**request, "train": {"max_steps": 1, "learning_rate": 1e-12, "precision": "fp32"}})
    asked_for = [(row["text"], row["text_pair"]) for row in rows]
    shares = [[each.probabilities["a"] for each in run.predict(asked_for)] for run in (first, second)]
    np.testing.assert_allclose(shares[1], shares[0], atol=1e-5)


@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_a_project_with_a_recipe_is_no_run(tiny_bert: Path, tmp_path: Path, how: str) -> None:
    project = tmp_path / "project"
    (project / "model").mkdir(parents=True)
    for name in ("recipe.yaml", "README.md", "model/weights"):
        (project / name).write_text("mine", encoding="utf-8")
    with pytest.raises(RequestError, match="holds other files than a run's"):
        fine_tune(**asked(tiny_bert, project), **{how: True})
    assert sorted(each.name for each in project.rglob("*")) == ["README.md", "model", "recipe.yaml", "weights"]
    assert (project / "README.md").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("how", ["resume", "overwrite"])
@pytest.mark.parametrize(
    "report", ['{"tests": 3}', "[1]", '{"status": "finished"}', '{"schema": 1, "status": "green"}']
)
def test_a_project_with_a_report_is_no_run(tiny_bert: Path, tmp_path: Path, how: str, report: str) -> None:
    (tmp_path / "project" / "model").mkdir(parents=True)
    (tmp_path / "project" / "report.json").write_text(report, encoding="utf-8")
    with pytest.raises(RequestError, match="holds other files than a run's"):
        fine_tune(**asked(tiny_bert, tmp_path / "project"), **{how: True})
    assert (tmp_path / "project" / "report.json").read_text(encoding="utf-8") == report


def test_going_on_writes_through_no_link(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(tiny_bert, tmp_path / "run")
    stopped_after(2, request, monkeypatch)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "run" / "log.jsonl").unlink()
    (tmp_path / "run" / "log.jsonl").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(RequestError, match=r"log\.jsonl"):
        fine_tune(**request, resume=True)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_rows_under_the_home_folder_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run" / "data").mkdir(parents=True)
    for own in (DataSettings("~/run/data"), DataSettings("a.csv", test="~/run/data")):
        with pytest.raises(RequestError, match="--overwrite would remove ~/run/data"):
            refuse_removing(tmp_path / "run", own, [])
    with pytest.raises(RequestError, match="--overwrite would remove ~/run"):
        refuse_removing(tmp_path / "run", DataSettings("a.csv"), ["~/run"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_at_the_end_names_what_could_not_be_written(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("nlp_transfer.artefacts.save", full)
    with pytest.raises(TrainingError, match=r"model cannot be written: No space left on device.*--resume"):
        fine_tune(**asked(tiny_bert, tmp_path / "run", train={"max_steps": 1}))
    monkeypatch.undo()
    assert fine_tune(**asked(tiny_bert, tmp_path / "run", train={"max_steps": 1}), resume=True).scores


def test_the_checkpoint_of_a_step_stands_until_the_next_one_of_it_is_whole(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(tiny_bert, tmp_path / "run")
    stopped_after(2, request, monkeypatch)
    folder = tmp_path / "run" / "checkpoints"
    (name,) = [each.name for each in folder.iterdir() if each.name.startswith("step-")]

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_write_own", full)
    loop = SimpleNamespace(accelerator=Accelerator(cpu=True))
    with pytest.raises(TrainingError, match="No space left"):
        Checkpoints(folder, writes=True, every=None)._write(loop, name, {})
    assert whole(folder / name)


def test_a_checkpoint_of_another_device_restores_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    randomness.save(tmp_path / "random.safetensors", torch.device("cpu"))
    drawn = torch.rand(3)
    assert not randomness.restore(tmp_path / "random.safetensors", torch.device("cuda"))
    assert torch.equal(torch.rand(3), drawn)
    assert randomness.restore(tmp_path / "random.safetensors", torch.device("cpu"))
