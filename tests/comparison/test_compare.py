"""A whole comparison in this process on a tiny model, looked at from all sides; and once with the real command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from nlp_transfer import Comparison, RequestError, cli, compare, load_run, samples, tasks
from nlp_transfer.backbone import Backbone
from nlp_transfer.comparison import engine, running
from nlp_transfer.comparison.engine import ENGINES
from nlp_transfer.comparison.protocol import Protocol
from nlp_transfer.comparison.running import Running
from nlp_transfer.data.files import read
from nlp_transfer.environment import processes
from nlp_transfer.errors import Interrupted, Stopped, TrainingError

TIMES = ("train_seconds", "seconds_per_step", "total_seconds", "saved_seconds", "peak_rss_bytes", "energy_kwh_estimate")


def reviews() -> list[dict[str, str]]:
    """Texts with stars, which the task turns into sentiments, leaving the threes out."""
    columns = read(samples.path("sentiment") / "train.csv").columns
    stars = {"positive": "45", "negative": "12"}
    rows = [
        {"id": str(i), "review": text, "stars": stars[label][i % 2]}
        for i, (text, label) in enumerate(zip(columns["text"][:80], columns["label"][:80], strict=True))
    ]
    return [*rows, {"id": "80", "review": "Neither here nor there.", "stars": "3"}]


def asked(model: Path, **parts: Any) -> dict[str, Any]:
    return {
        "task": {"name": "sentiment", "grades": "two"},
        "data": reviews(),
        "columns": {"text": "review", "label": "stars"},
        "model": str(model),
        "methods": "full,adapter:reduction_factor=4",
        "seeds": (0, 1),
        "train_sizes": (20,),
        "trials": 2,
        "train": {"max_steps": 2},
        "engine": "here",
        "silent": True,
        **parts,
    }


@pytest.fixture(scope="module")
def compared(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(**asked(tiny_bert), output=tmp_path_factory.mktemp("compared") / "compare")


def of_kind(comparison: Comparison, kind: str) -> list[dict[str, Any]]:
    return [line for line in comparison.lines if line["kind"] == kind]


def lasting(line: dict[str, Any]) -> dict[str, Any]:
    """A line without what another run takes otherwise: times and memory."""
    costs = {
        name: value
        for name, value in line["costs"].items()
        if name not in TIMES and not name.endswith(("latency_ms", "throughput"))
    }
    return {**line, "costs": costs}


def test_runs_share_what_never_changes_and_each_counts_it_as_its_own(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NLP_TRANSFER_CACHE", str(tmp_path / "cache"))
    without: dict[str, Any] = {"train_sizes": (), "trials": 1, "baselines": False, "forgetting": False, "silent": False}
    done = compare(**asked(tiny_bert, methods="head", **without), output=tmp_path / "compare")
    first, second = (line["costs"] for line in of_kind(done, "run"))
    assert first["saved_seconds"] == 0
    assert 0 < second["saved_seconds"] < second["train_seconds"] < second["total_seconds"]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert ["reused" in line for line in said] == [False, True]


def test_everything_of_the_grid_has_a_line(compared: Comparison) -> None:
    runs = [(line["candidate"], line["train_rows"], line["seed"]) for line in of_kind(compared, "run")]
    labels = ("full", "adapter:reduction_factor=4")
    assert sorted(runs) == sorted((label, 20, seed) for label in labels for seed in (0, 1))
    trials = of_kind(compared, "trial")
    assert {line["seed"] for line in trials} == {0}
    for label in labels:
        assert 2 <= sum(line["candidate"] == label for line in trials) <= 4
    baselines = of_kind(compared, "baseline")
    assert len(baselines) == 3 * 2
    assert {line["candidate"] for line in baselines} == {
        "majority class",
        "TF-IDF + logistic regression",
        "frozen features + logistic regression",
    }
    assert {line["status"] for line in compared.lines} == {"finished"}


def test_each_run_has_the_rate_that_validation_liked_best(compared: Comparison) -> None:
    for run in of_kind(compared, "run"):
        trials = [
            line
            for line in of_kind(compared, "trial")
            if (line["candidate"], line["train_rows"]) == (run["candidate"], run["train_rows"])
        ]
        scores = {line["learning_rate"]: line["scores"]["validation"]["accuracy"] for line in trials}
        assert scores[run["learning_rate"]] == max(scores.values())


def test_trials_on_fewer_rows_are_shared_by_all_larger_sizes(tiny_bert: Path, tmp_path: Path) -> None:
    parts = asked(tiny_bert, methods="full", seeds=(0,), train_sizes=(30, 20, 8), baselines=False, forgetting=False)
    done = compare(**parts, trial_rows=10, output=tmp_path / "compare")
    trials = of_kind(done, "trial")
    assert {line["train_rows"] for line in trials} == {10, 8}
    assert len({line["key"] for line in trials}) == len(trials)
    assert {line["train_rows"] for line in of_kind(done, "run")} == {30, 20, 8}
    analysis = json.loads((done.folder / "analysis.json").read_text(encoding="utf-8"))
    searches = {(each["train_rows"], each["tried_on"]) for each in analysis["searches"]}
    assert searches == {(30, 10), (20, 10), (8, 8)}
    rates = {line["train_rows"]: line["learning_rate"] for line in of_kind(done, "run")}
    assert rates[30] == rates[20]
    assert '(on <data value="10">10</data> rows)' in (done.folder / "report.html").read_text(encoding="utf-8")


def test_trials_have_no_test_split_and_keep_no_model(compared: Comparison) -> None:
    for line in of_kind(compared, "trial"):
        folder = compared.folder / line["folder"]
        assert list(line["scores"]) == ["validation"]
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert report["data"]["rows"].keys() == {"train", "validation"}
        assert report["recipe"]["data"]["test"] is None
        assert not (folder / "model").exists()
        assert "Validation accuracy" in (folder / "README.md").read_text(encoding="utf-8")


def test_all_methods_read_the_same_rows(compared: Comparison) -> None:
    read_by: dict[tuple[int, int], set[str]] = {}
    for line in of_kind(compared, "run"):
        data = load_run(compared.folder / line["folder"]).report["data"]
        assert data["rows"] == {"train": line["train_rows"], "validation": 8, "test": 8}
        read_by.setdefault((line["train_rows"], line["seed"]), set()).add(data["fingerprint"])
        assert line["costs"]["steps"] == 2
    assert all(len(fingerprints) == 1 for fingerprints in read_by.values())
    assert len(set.union(*read_by.values())) == 2, "another seed draws other rows"


def test_the_rows_lie_there_as_their_source_has_them(compared: Comparison) -> None:
    rows = [
        json.loads(line)
        for split in ("train", "validation", "test")
        for line in (compared.folder / "data" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    wanted = [{name: row[name] for name in ("review", "stars")} for row in reviews()[:-1]]
    assert sorted(rows, key=lambda row: row["review"]) == sorted(wanted, key=lambda row: row["review"])
    task = load_run(compared.folder / of_kind(compared, "run")[0]["folder"]).task
    assert task.fault("label", "5") is None, "a run understands the stars of the source"


@pytest.mark.parametrize("kind", ["run", "baseline"])
def test_test_scores_can_be_made_again_from_what_was_judged(compared: Comparison, kind: str) -> None:
    for line in of_kind(compared, kind):
        task = tasks.from_json(json.loads((compared.folder / line["folder"] / "task.json").read_text(encoding="utf-8")))
        arrays = load_file(compared.folder / line["judged"])
        assert {len(array) for array in arrays.values()} == {8}
        assert task.metrics(arrays) == pytest.approx(line["scores"]["test"])


def test_costs_are_those_of_the_method(compared: Comparison) -> None:
    for line in of_kind(compared, "run"):
        costs = line["costs"]
        body = costs["parameters"] - costs["head"]
        assert costs["head"] == 2 * 33
        if line["candidate"] == "full":
            assert costs["trainable"] == costs["stored"] == body
            assert costs["added"] == 0
            assert costs["merged_latency_ms"] == costs["latency_ms"] > 0
        else:
            assert costs["trainable"] == costs["added"] == costs["stored"] == body - 39520
            assert costs["merged_throughput"] is None, "adapters cannot be merged"
        assert costs["disk_bytes"] > costs["stored_bytes"] > 4 * costs["stored"]
        assert costs["throughput"] > 0
        assert 0 < costs["seconds_per_step"] < costs["train_seconds"] <= costs["total_seconds"]
        assert not costs.keys() & {"peak_rss_bytes", "peak_device_bytes"}, "of a process that did more than this run"
        assert line["environment"]["threads"] >= 1


def test_what_one_process_for_all_cannot_tell_stands_nowhere(compared: Comparison) -> None:
    assert compared.protocol["reference"] == "full"
    for file in ("report.md", "report.html", "analysis.json"):
        text = (compared.folder / file).read_text(encoding="utf-8")
        assert not re.search(r"\| memory \||>memory<|memory at its most|least memory|peak_rss|peak_bytes", text), file


def test_forgetting_is_measured_by_probes_where_there_is_no_language_model(compared: Comparison) -> None:
    for line in of_kind(compared, "run"):
        assert line["forgetting"].keys() == {"probe_classification", "probe_sentiment"}
        for figures in line["forgetting"].values():
            assert figures["change"] == pytest.approx(figures["after"] - figures["before"])
    before = {line["forgetting"]["probe_sentiment"]["before"] for line in of_kind(compared, "run")}
    assert len(before) == 1
    assert len(list((compared.folder / "forgetting").iterdir())) == 1, "computed once for all runs"


def test_the_protocol_says_all_of_it(compared: Comparison) -> None:
    protocol = compared.protocol
    assert protocol["metric"] == "accuracy"
    assert protocol["higher_is_better"] is True
    assert protocol["reference"] == "full"
    assert protocol["data"]["rows"] == {"train": 64, "validation": 8, "test": 8}
    assert [each["label"] for each in protocol["candidates"]] == ["full", "adapter:reduction_factor=4"]
    assert (protocol["seeds"], protocol["train_sizes"], protocol["trials"]) == ([0, 1], [20], 2)


def test_killed_at_any_point_and_started_again_the_lines_are_the_same(
    compared: Comparison, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (compared.folder / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    # a trial and the run that came last: as if killed inside the line of one and during the other
    trial = next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "trial")
    kept = [line for i, line in enumerate(lines) if i not in (trial, len(lines) - 1)]
    again = tmp_path / "again"
    shutil.copytree(compared.folder, again)
    (again / "results.jsonl").write_text("".join(kept) + lines[-1][: len(lines[-1]) // 2], encoding="utf-8")
    last = json.loads(lines[-1])
    (again / last["folder"] / "report.json").unlink()
    (again / last["folder"] / "model" / "model.safetensors").write_bytes(b"half")
    done = compare(output=again, resume=True, engine="here")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert [line.split("]")[1].split()[0] for line in told] == ["trial", "run"], "only what was missing was run"
    assert {line["key"]: lasting(line) for line in done.lines} == {
        line["key"]: lasting(line) for line in compared.lines
    }
    for name, array in load_file(again / last["judged"]).items():
        np.testing.assert_array_equal(array, load_file(compared.folder / last["judged"])[name])


def test_the_same_call_again_runs_nothing_and_more_seeds_only_themselves(
    compared: Comparison, tiny_bert: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(compared.folder, again)
    assert compare(**asked(tiny_bert), output=again).lines == compared.lines
    more = asked(tiny_bert, methods="full", seeds=(5,), baselines=False)
    added = compare(**more, output=again).lines[len(compared.lines) :]
    assert {(line["kind"], line["seed"]) for line in added} == {("run", 5), ("baseline", 5)}
    assert {line["candidate"] for line in added if line["kind"] == "run"} == {"full", "adapter:reduction_factor=4"}
    with pytest.raises(RequestError, match=r"train\.max_steps is 2 there and 3 here"):
        compare(**asked(tiny_bert, train={"max_steps": 3}), output=again)
    with pytest.raises(RequestError, match="the data's fingerprint"):
        compare(**asked(tiny_bert, data=reviews()[2:]), output=again)


def test_what_would_be_made_otherwise_today_stands_beside_nothing_new(
    compared: Comparison, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, before = tmp_path / "again", (compared.folder / "results.jsonl").read_text(encoding="utf-8")
    shutil.copytree(compared.folder, again)
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "sha256", "of other weights")
        with pytest.raises(RequestError, match=r"results that would be made otherwise today.*trial full, 20 rows"):
            compare(**asked(tiny_bert, seeds=(0, 1, 2)), output=again)
    assert (again / "results.jsonl").read_text(encoding="utf-8") == before
    (again / ".DS_Store").touch()
    assert compare(output=again, resume=True, engine="here", silent=True).lines == compared.lines


def test_what_is_to_be_read_is_not_replaced(compared: Comparison, tiny_bert: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(compared.folder, again)
    run = again / of_kind(compared, "run")[0]["folder"]
    for own in ({"data": str(again / "data")}, {"model": str(run)}):
        with pytest.raises(RequestError, match=r"--overwrite would remove .*, which is to be read"):
            compare(**{**asked(tiny_bert), **own}, output=again, overwrite=True)
    assert (run / "model").is_dir()
    assert (again / "data" / "train.jsonl").is_file()


def test_what_diverges_or_fails_is_kept_and_named(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = asked(tiny_bert, silent=False, seeds=(0,), train_sizes=(), baselines=False, forgetting=False)
    # of one block the tuner has none left to stand in: no recipe knows that, the model does
    parts |= {"methods": "full,lora:top=2", "train": {"max_steps": 2, "clip": None}, "trials": 1}
    done = compare(**parts, output=tmp_path / "some")
    assert {line["candidate"]: line["status"] for line in done.lines} == {"full": "finished", "lora:top=2": "failed"}
    assert "method.top is 2: the model has 2 blocks" in done.lines[-1]["message"]
    assert "failed: method.top is 2" in capsys.readouterr().err
    for steps, what in ((4, "the loss is nan"), (1, "the model's outputs for the validation rows are no numbers")):
        parts["train"] = {"max_steps": steps, "learning_rate": 1e30, "clip": None, "warmup": 0.0}
        with pytest.raises(TrainingError, match=f"no run finished.*{what}"):
            compare(**{**parts, "methods": "full"}, output=tmp_path / f"none-{steps}")
        (line,) = Comparison(tmp_path / f"none-{steps}").lines
        assert (line["status"], line["scores"]) == ("diverged", {})


def test_a_candidate_without_a_finished_trial_has_runs_that_say_why(tiny_bert: Path, tmp_path: Path) -> None:
    parts = asked(tiny_bert, seeds=(0, 1), train_sizes=(), baselines=False, forgetting=False)
    with pytest.raises(TrainingError, match="no run finished"):
        compare(**{**parts, "methods": "lora:top=2"}, output=tmp_path / "none")
    runs = of_kind(Comparison(tmp_path / "none"), "run")
    assert [line["seed"] for line in runs] == [0, 1]
    assert {line["learning_rate"] for line in runs} == {None}
    assert "no trial finished; that of" in runs[0]["message"]


def test_a_stop_says_how_to_go_on(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(jobs: Any, workers: int, check: Any) -> Any:
        raise Interrupted
        yield

    monkeypatch.setattr(running, "find", lambda _: engine)
    with pytest.raises(Stopped, match=r"Go on with: nlp-transfer compare --output .*stop --resume"):
        compare(**asked(tiny_bert), output=tmp_path / "stop")
    assert not (tmp_path / "stop" / ".lock").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "full,lara"], 'Did you mean "lora"?'),
        (["--method", "lora"], "--methods full,lora:rank=4"),
        (["--seed", "zero"], "seed"),
        (["--seeds", "0,one"], "--seeds is 0,one: expected whole numbers with commas"),
        (["--worker", "2"], 'has no --worker. Did you mean "workers"?'),
        (["--workers", "0"], "workers is 0"),
        (["--engine", "rey"], 'Did you mean "ray"?'),
        (["--train-sizes", "1000000"], "1000000 is more than there is"),
        (["--train-sizes", "1,40"], "the training size 1 is fewer than classes"),
        (["--trial-rows", "1"], "the number of trial rows 1 is fewer than classes"),
        (["--methods", "lora:targets=[query"], "bracket without its other"),
        (["--models", "nowhere/at/all"], "neither a folder"),
        (["--data.test_fraction", "0", "--data", "DATA"], "must have some"),
        (["--resume"], "holds no comparison to go on with"),
        (["--resume", "--seeds", "0,1,2"], "does not read --seeds"),
        (["--resume", "--from-scratch"], "does not read --from-scratch"),
        (["--train.learning_rate", "1e-3"], "one rate for all methods"),
    ],
)
def test_a_wrong_request_leaves_one_message_and_nothing_behind(
    words: list[str], message: str, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = samples.path("sentiment")
    words = [str(folder / "train.csv") if word == "DATA" else word for word in words]
    if words[0] != "--resume":
        data = [] if "--data" in words else ["--data", str(folder)]
        words = ["--task", "sentiment", "--model", str(tiny_bert), *data, *words]
    assert cli.main(["compare", *words, "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_task_without_baselines_says_so_and_random_weights_forget_nothing(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*("--task", "qa", "--data", str(samples.path("qa")), "--data.limit", "40", "--methods", "head")]
    words += ["--model", str(tiny_gpt2), "--seeds", "0", "--trials", "1", "--train.max_steps", "1", "--from-scratch"]
    assert cli.main(["compare", *words, "--engine", "here", "--output", str(tmp_path / "qa")]) == 0
    assert "no baselines: qa answers otherwise" in capsys.readouterr().err
    done = Comparison(tmp_path / "qa")
    figures = {line["candidate"]: line.get("forgetting", {}) for line in done.lines}
    assert figures["head"]["language_model_loss"]["change"] == 0
    assert figures["full from scratch"] == {}
    assert done.protocol["notes"]
    assert done.protocol["data"]["rows"]["train"] == 40


def test_one_method_is_no_list_of_them(tiny_bert: Path) -> None:
    with pytest.raises(RequestError, match="methods="):
        compare(**asked(tiny_bert), method="lora")


def test_of_processes_that_a_launcher_started_the_first_compares(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3", "RANK": "1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        compare(**asked(tiny_bert), output=tmp_path / "run")
    assert not ended.value.code
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("RANK", "0")
    seen: list[int] = []

    def engine(jobs: object, workers: int, check: object) -> object:
        seen.append(workers)
        raise RequestError("enough")

    monkeypatch.setitem(ENGINES, "here", engine)
    with pytest.raises(RequestError, match="enough"):
        compare(**{**asked(tiny_bert), "engine": "here"}, output=tmp_path / "run")
    assert seen == [3]
    assert "MASTER_PORT" not in os.environ
    assert processes().num_processes == 1


def test_a_folder_of_other_things_is_left_alone(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(RequestError, match="other files than a comparison's"):
        compare(**asked(tiny_bert), output=tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_the_real_command_runs_each_job_in_a_fresh_process(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        *("--task", "sentiment", "--data", str(samples.path("sentiment")), "--model", str(tiny_bert)),
        *("--methods", "full", "--seeds", "0", "--trials", "1", "--train.max_steps", "1", "--no-baselines"),
        *("--no-forgetting", "--output", "runs/compare"),
    ]
    monkeypatch.setattr(engine, "do", None)  # not in this process
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *words]) == 0
    (line,) = Comparison(tmp_path / "runs" / "compare").lines
    assert line["status"] == "finished"
    assert line["learning_rate"] == 1e-4
    assert line["costs"]["peak_rss_bytes"] > 10**7


@pytest.mark.slow
def test_killed_with_its_workers_and_resumed(tiny_bert: Path, tmp_path: Path) -> None:
    words = [
        *("--task", "sentiment", "--data", str(samples.path("sentiment")), "--model", str(tiny_bert)),
        *("--methods", "full", "--seeds", "0,1,2", "--trials", "1", "--train.max_steps", "2", "--no-baselines"),
        *("--no-forgetting", "--workers", "2", "--output", "c"),
    ]
    killed = _command(words, tmp_path)
    results = tmp_path / "c" / "results.jsonl"
    deadline = time.monotonic() + 300
    while not results.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    killed.kill()
    killed.wait()
    assert len(results.read_text(encoding="utf-8").splitlines()) < 3
    assert _command(["--output", "c", "--resume"], tmp_path).wait(timeout=300) == 0
    assert {line["seed"]: line["status"] for line in Comparison(tmp_path / "c").lines} == dict.fromkeys(
        (0, 1, 2), "finished"
    )


def _command(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "nlp_transfer.cli", "compare", *words], cwd=folder, env=environment, stderr=said
        )


def test_a_folder_that_others_use_is_left_alone(tiny_bert: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("data", "runs"):
        (project / name).mkdir(parents=True)
    rows = project / "data" / "train.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in reviews()), encoding="utf-8")
    before = rows.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(RequestError, match="holds other files than a comparison's"):
            compare(**asked(tiny_bert, data=str(rows)), output=project, overwrite=overwrite)
    assert cli.main(["demo", "--output", str(project)]) == 2
    assert rows.read_bytes() == before
    assert sorted(path.name for path in project.iterdir()) == ["data", "runs"]


def test_killed_while_it_replaces_another_it_begins_anew(
    compared: Comparison, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    shutil.copytree(compared.folder, again)
    parts = asked(tiny_bert, methods="full", seeds=(0,), train_sizes=(), trials=1, baselines=False, forgetting=False)
    removed = shutil.rmtree

    def killed(path: Path, *rest: Any, **more: Any) -> None:
        if Path(path).name == "runs":
            raise SystemError("killed")
        removed(path, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(SystemError):
            compare(**parts, output=again, overwrite=True)
    assert (again / "runs").is_dir()
    assert {line["candidate"] for line in compare(**parts, output=again).lines} == {"full"}


def test_going_on_with_a_comparison_writes_through_no_link(
    compared: Comparison, tiny_bert: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(compared.folder, again)
    (again / "results.jsonl").rename(tmp_path / "mine.jsonl")
    (again / "results.jsonl").symlink_to(tmp_path / "mine.jsonl")
    before = (tmp_path / "mine.jsonl").read_bytes()
    with pytest.raises(RequestError, match=r"results\.jsonl"):
        compare(**asked(tiny_bert, seeds=(0, 1, 2)), output=again)
    assert (tmp_path / "mine.jsonl").read_bytes() == before


def test_a_comparison_that_was_killed_before_its_protocol_stood_begins_anew(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Protocol, "write", killed)
        with pytest.raises(SystemError):
            compare(**asked(tiny_bert), output=tmp_path / "compare")
    assert {path.name for path in (tmp_path / "compare").iterdir()} == {".begun", "data"}
    with monkeypatch.context() as patched:
        patched.setattr(Running, "run", lambda _: None)
        patched.setattr("nlp_transfer.comparison.conclusion.conclude", lambda _: [])
        compare(**asked(tiny_bert), output=tmp_path / "compare")
    assert {path.name for path in (tmp_path / "compare").iterdir()} == {"protocol.json", "data"}


def test_seeds_whose_epochs_have_different_numbers_of_steps_have_one_curve(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [{"review": "good " * (1 + i % 23), "stars": str(1 + 4 * (i % 2))} for i in range(80)]
    train = {"epochs": 2, "batch_tokens": 70}
    told = asked(tiny_bert, data=rows, train=train, methods="bitfit,full", seeds=(0, 1, 2), train_sizes=(), trials=1)
    found = compare(**told, baselines=False, forgetting=False, output=tmp_path / "compare")
    analysis = json.loads((found.folder / "analysis.json").read_text(encoding="utf-8"))
    assert [len(curve["evaluated"]) for curve in analysis["inside"]["curves"]] == [2, 2]
    assert (found.folder / "report.html").is_file()
