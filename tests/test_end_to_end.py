"""The real command and the real folder, from a file of labelled texts to answers in plain transformers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import constants
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from nlp_transfer import Recipe, RequestError, catalogue, cli, fine_tune, load_run, samples, tasks
from nlp_transfer.data.files import read
from nlp_transfer.progress import Show
from tests.processes import FRESH, start_together

TEXTS = [
    "Not a dull minute in it.",
    "The soup was cold.",
    "I would buy it again, though it costs too much for what it is.",
]


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


def command(*words: str, cwd: Path, status: int = 0) -> Done:
    """Run a command in this process, which spares the seconds of importing torch; `shell` runs the real one."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        given = cli.main(list(words))
    assert given == status, err.getvalue()
    return Done(out.getvalue(), err.getvalue())


def shell(*words: str, cwd: Path, start: Sequence[str] = ("-m", "nlp_transfer.cli"), status: int = 0) -> Done:
    """Run the real command, or another start of Python, in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *start, *words]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == status, done.stderr
    return Done(done.stdout, done.stderr)


def sample(task: str) -> str:
    return str(samples.path(task))


def quick(model: Path, output: Path, task: str = "sentiment", **parts: object) -> dict[str, object]:
    train = {"max_steps": 6, "learning_rate": 1e-3, **parts.pop("train", {})}  # type: ignore[dict-item]
    data = parts.pop("data", sample(task))
    return {"task": task, "data": data, "model": str(model), "output": output, "train": train, "silent": True, **parts}


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the command from one CSV file with columns of its own names."""
    folder = tmp_path_factory.mktemp("work")
    rows = read(samples.path("sentiment") / "train.csv").columns
    with (folder / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "what they wrote", "verdict"])
        writer.writerows(zip(range(len(rows["text"])), rows["text"], rows["label"], strict=True))
    done = command(
        *(
            "train",
            "--task",
            "sentiment",
            "--data",
            "reviews.csv",
            "--model",
            str(tiny_bert),
            "--output",
            "runs/reviews",
        ),
        *("--columns.text", "what they wrote", "--columns.label", "verdict", "--train.epochs", "2"),
        *("--train.learning_rate", "1e-3"),
        cwd=folder,
    )
    assert "accuracy" in done.stdout
    assert "rows/s" in done.stderr
    assert "left" in done.stderr
    return folder


def test_the_run_folder_holds_what_is_promised(trained: Path) -> None:
    run = trained / "runs" / "reviews"
    names = {"recipe.yaml", "task.json", "report.json", "report.html", "README.md", "model", "log.jsonl", "predictions"}
    assert {path.name for path in run.iterdir()} == names
    assert {path.name for path in (run / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["status"] == "finished"
    assert report["data"]["rows"] == {"train": 240, "validation": 30, "test": 30}
    assert any("cut from" in note for note in report["data"]["notes"])
    assert any("polarity" in note for note in report["data"]["notes"])
    assert report["parameters"]["total"] == report["parameters"]["trainable"] > 1000
    assert report["parameters"]["added"] == 0
    assert report["parameters"]["stored_bytes"] == (run / "model" / "model.safetensors").stat().st_size
    assert report["time"]["samples_per_second"] > 0
    assert report["memory"]["peak_rss_bytes"] > 10**7
    assert report["training"]["steps"] == 16
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum("loss" in line for line in lines) == 16
    assert sum("validation" in line for line in lines) == 2
    assert yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")) == report["recipe"]


def test_every_figure_can_be_rebuilt_from_the_predictions(trained: Path) -> None:
    run = load_run(trained / "runs" / "reviews")
    for split in ("validation", "test"):
        lines = (run.folder / "predictions" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        accuracy = sum(row["label"] == row["gold"] for row in rows) / len(rows)
        assert accuracy == pytest.approx(run.scores[split]["accuracy"])
        low, high = run.report["intervals"][split]["accuracy"]
        assert low <= accuracy <= high


def test_plain_transformers_gives_the_same_answers(trained: Path) -> None:
    run = load_run(trained / "runs" / "reviews")
    answers = run.predict(TEXTS)
    AutoModelForSequenceClassification.from_pretrained(run.folder / "model")
    classify = pipeline("text-classification", model=str(run.folder / "model"), top_k=None)
    for answer, theirs in zip(answers, classify(TEXTS), strict=True):
        assert theirs[0]["label"] == answer.label
        for one in theirs:
            assert one["score"] == pytest.approx(answer.probabilities[one["label"]], abs=1e-5)
    assert AutoTokenizer.from_pretrained(run.folder / "model").model_max_length == 64


def test_a_decoder_gives_the_same_answers_in_plain_transformers(tiny_gpt2: Path, tmp_path: Path) -> None:
    run = fine_tune(**quick(tiny_gpt2, tmp_path / "run"))
    answers = run.predict(TEXTS)
    classify = pipeline("text-classification", model=str(tmp_path / "run" / "model"), top_k=None)
    for answer, theirs in zip(answers, classify(TEXTS, batch_size=3), strict=True):
        assert {one["label"]: pytest.approx(one["score"], abs=1e-5) for one in theirs} == answer.probabilities


def test_predict_prints_one_line_per_text(trained: Path) -> None:
    done = command("predict", "runs/reviews", *TEXTS, cwd=trained)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[2] for line in lines] == TEXTS
    assert {line[0] for line in lines} <= {"negative", "positive"}


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_predict_keeps_the_columns_of_a_file_and_their_order(trained: Path, form: str) -> None:
    command("predict", "runs/reviews", "--input", "reviews.csv", "--output", f"answers.{form}", cwd=trained)
    before, after = read(trained / "reviews.csv"), read(trained / f"answers.{form}")
    added = ["label", "probability", "probability_negative", "probability_positive"]
    assert list(after.columns) == [*before.columns, *added]
    assert [str(cell) for cell in after.columns["id"]] == before.columns["id"]
    run = load_run(trained / "runs" / "reviews")
    alone = run.predict(before.columns["what they wrote"][7])[0]
    assert float(after.columns["probability"][7]) == pytest.approx(alone.probability, abs=1e-5)
    assert not list(trained.glob("*.part"))


def test_evaluate_judges_a_file(trained: Path) -> None:
    done = command("evaluate", "runs/reviews", "--data", "reviews.csv", "--output", "scores.json", cwd=trained)
    scores = json.loads((trained / "scores.json").read_text(encoding="utf-8"))
    assert f"{scores['scores']['accuracy']:.4f}" in done.stdout
    matrix = scores["details"]["confusion_matrix"]["rows"]
    assert sum(map(sum, matrix)) == 300


def test_a_run_repeats_from_its_recipe_to_the_byte(trained: Path) -> None:
    command("train", "--config", "runs/reviews/recipe.yaml", "--output", "runs/again", "--quiet", cwd=trained)
    assert weights(trained / "runs" / "again") == weights(trained / "runs" / "reviews")
    command("train", "--config", "runs/reviews/recipe.yaml", "--seed", "1", "--output", "runs/other", cwd=trained)
    assert weights(trained / "runs" / "other") != weights(trained / "runs" / "reviews")


def test_a_finished_run_is_replaced_only_when_asked(trained: Path, tiny_bert: Path) -> None:
    before = weights(trained / "runs" / "reviews")
    options = ["train", "--task", "sentiment", "--data", sample("sentiment"), "--model", str(tiny_bert)]
    options += ["--train.max_steps", "1", "--output", "runs/copy", "--quiet"]
    command(*options, cwd=trained)
    refused = command(*options, cwd=trained, status=2)
    assert "--overwrite" in refused.stderr
    assert weights(trained / "runs" / "reviews") == before
    command(*options, "--overwrite", cwd=trained)


def test_a_run_can_be_the_backbone_of_another(trained: Path, tmp_path: Path) -> None:
    run = fine_tune(**quick(trained / "runs" / "reviews", tmp_path / "next", task="classification"))
    assert len(run.task.classes) == 6
    assert run.report["backbone"]["id"].startswith("tiny-bert")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--task", "sentimant", "--data", "reviews.csv"], ["sentimant", "Did you mean", "sentiment"]),
        (["train", "--task", "sentiment", "--data", "nothing.csv"], ["nothing.csv", "does not exist"]),
        (["train", "--task", "sentiment"], ["--data"]),
        (["train", "--data", "reviews.csv"], ["--task"]),
        (["train", "--task", "sentiment", "--data", "reviews.csv", "--train.epoch", "1"], ["train", "epochs"]),
        (
            ["train", "--task", "sentiment", "--data", "reviews.csv", "--train.epochs", "-1"],
            ["train.epochs", "above 0"],
        ),
        (["train", "--task", "sentiment", "--data", "reviews.csv", "--columns.text", "words"], ["words", "verdict"]),
        (["train", "--task", "sentiment", "--data", "reviews.csv"], ["--columns.text"]),
        (["trian"], ["trian", "train"]),
        (["predict", "runs/nothing", "a text"], ["runs/nothing"]),
        (["predict", "runs/reviews"], ["texts"]),
        (["predict", "runs/reviews", " "], ["empty"]),
        (["predict", "runs/reviews", "--input", "reviews.csv", "--output", "answers.xyz"], ["answers.xyz", ".csv"]),
        (["evaluate", "runs/reviews", "--date", "reviews.csv"], ["--data"]),
        (["list", "tusks"], ["tasks"]),
        (["demo", "--task", "nothing"], ["nothing", "sentiment"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_wrong_requests_are_answered_with_one_message(trained: Path, words: Sequence[str], said: Sequence[str]) -> None:
    before = sorted(trained.rglob("*"))
    done = command(*words, cwd=trained, status=2)
    assert not done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    for part in said:
        assert part in done.stderr
    assert sorted(trained.rglob("*")) == before


def test_wrong_data_is_refused_before_a_model_is_loaded(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\ngood,positive\n,negative\n", encoding="utf-8")
    with pytest.raises(RequestError, match=r"reviews\.csv, line 3, .*empty"):
        fine_tune(**quick(tiny_bert, tmp_path / "run", data=str(tmp_path / "reviews.csv")))
    assert not (tmp_path / "run").exists()


def test_the_best_epoch_is_the_one_that_is_saved(tiny_bert: Path, tmp_path: Path) -> None:
    run = fine_tune(**quick(tiny_bert, tmp_path / "run", train={"max_steps": None, "epochs": 5, "learning_rate": 5e-3}))
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = {line["epoch"]: line["validation"]["accuracy"] for line in lines if "validation" in line}
    assert len(scores) == 5
    assert run.scores["validation"]["accuracy"] == pytest.approx(max(scores.values()))
    assert scores[run.report["training"]["best_epoch"]] == max(scores.values())


@pytest.mark.parametrize("task", tasks.names())
def test_the_best_epoch_goes_by_the_score_that_is_reported(task: str, tiny_bert: Path, tmp_path: Path) -> None:
    """With the thresholds that are chosen at the end, where a task has some."""
    run = fine_tune(
        task=task,
        model=str(tiny_bert),
        data={"source": str(samples.path(task)), "limit": 60},
        train={"epochs": 3, "learning_rate": 5e-3, "precision": "fp32"},
        output=tmp_path / "run",
        silent=True,
    )
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    reached = {line["epoch"]: line["validation"] for line in lines if "validation" in line}
    best = reached[run.report["training"]["best_epoch"]]
    assert best == pytest.approx(dict(run.scores["validation"]), abs=1e-5)
    metric, higher = run.task.primary
    chosen = max if higher else min
    assert best[metric] == chosen(each[metric] for each in reached.values())


def test_patience_ends_training_early(tiny_bert: Path, tmp_path: Path) -> None:
    run = fine_tune(
        **quick(tiny_bert, tmp_path / "run", train={"max_steps": None, "epochs": 50, "patience": 2, "clip": None})
    )
    assert run.report["training"]["epochs"] < 50


def test_max_minutes_ends_training_with_a_usable_model(tiny_bert: Path, tmp_path: Path) -> None:
    run = fine_tune(**quick(tiny_bert, tmp_path / "run", train={"max_steps": 10**6, "max_minutes": 1e-4}))
    assert run.report["training"]["steps"] < 10
    assert len(run.predict(TEXTS)) == 3


def test_a_pooled_classifier_is_refused_by_plain_transformers_and_loads_with_ours(
    tiny_bert: Path, tmp_path: Path
) -> None:
    run = fine_tune(**quick(tiny_bert, tmp_path / "run", head={"pooling": "mean"}))
    expected = run.predict(TEXTS)
    code = """
from transformers import AutoModelForSequenceClassification as Auto
try:
    Auto.from_pretrained("run/model")
except ValueError as error:
    print("nlp_transfer_pooled" in str(error))
import nlp_transfer
print(type(Auto.from_pretrained("run/model")).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", FRESH + code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["True", "PooledClassifier"], done.stderr
    assert [answer.label for answer in load_run(tmp_path / "run").predict(TEXTS)] == [
        answer.label for answer in expected
    ]


def test_from_scratch_forgets_the_weights(tiny_bert: Path, tmp_path: Path) -> None:
    model = {"name": str(tiny_bert), "from_scratch": True}
    run = fine_tune(**{**quick(tiny_bert, tmp_path / "run"), "model": model})
    assert run.report["backbone"]["from_scratch"] is True
    plain = fine_tune(**quick(tiny_bert, tmp_path / "plain"))
    assert weights(run.folder) != weights(plain.folder)


def test_dropout_is_set_everywhere(tiny: Path, tmp_path: Path) -> None:
    run = fine_tune(**quick(tiny, tmp_path / "run", train={"dropout": 0.0}))
    assert all(
        value in (0.0, None)
        for name, value in run.model.config.to_dict().items()
        if "drop" in name and "layer" not in name
    )


def test_trackers_are_asked_through_accelerate(tiny_bert: Path, tmp_path: Path) -> None:
    fine_tune(**quick(tiny_bert, tmp_path / "run", train={"trackers": ("tensorboard",)}))
    assert list((tmp_path / "run").rglob("events.out.tfevents*"))


def test_push_to_hub_uploads_the_model_at_the_top(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil

    import huggingface_hub

    def upload(
        self: object,
        *,
        repo_id: str,
        folder_path: Path,
        allow_patterns: list[str] | None = None,
        delete_patterns: list[str] | None = None,
        **_: object,
    ) -> None:
        for pattern in delete_patterns or ():  # as the Hub's client does it
            for path in tmp_path.glob(pattern):
                path.unlink()
        for path in Path(folder_path).iterdir():
            if path.is_file() and (allow_patterns is None or path.name in allow_patterns):
                shutil.copy(path, tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda _, repo_id, **__: f"hub/{repo_id}")
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    for left in ("adapter_config.json", "adapter_model.safetensors", "model-00001-of-00002.safetensors"):
        (tmp_path / left).touch()  # of an earlier run there
    run = load_run(trained / "runs" / "reviews")
    assert run.push_to_hub("me/reviews").endswith("me/reviews")
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    assert not (tmp_path / "adapter_config.json").exists()
    assert {path.name for path in tmp_path.iterdir()} >= {"model.safetensors", "config.json", "task.json", "README.md"}
    assert not list(tmp_path.glob("*.jsonl"))
    downloaded = load_run(tmp_path)
    assert [answer.label for answer in downloaded.predict(TEXTS)] == [answer.label for answer in run.predict(TEXTS)]


@pytest.mark.parametrize("kind", [[], ["tasks"], ["methods"], ["models"], ["metrics"]])
def test_list_names_what_there_is(kind: list[str], tmp_path: Path) -> None:
    done = command("list", *kind, cwd=tmp_path)
    if kind in ([], ["tasks"]):
        assert "--task.class_weights" in done.stdout
    if kind in ([], ["methods"]):
        assert "full" in done.stdout


def test_doctor_and_help_and_version(tmp_path: Path) -> None:
    assert "precision" in command("doctor", cwd=tmp_path).stdout
    assert "train" in command("--help", cwd=tmp_path).stdout
    for words in (["--task", "sentiment", "--help"], ["-h"], ["--processes", "2", "--help"], ["--help", "--quiet"]):
        assert "--train.epochs" in command("train", *words, cwd=tmp_path).stdout
    assert "0." in command("--version", cwd=tmp_path).stdout


def test_doctor_says_what_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "onnxruntime (export --format onnx)" in catalogue.doctor()
    for offline, said in ((True, "Hub: offline"), (False, "Hub: used when")):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        assert said in catalogue.doctor()


def test_more_than_a_day_that_is_left_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    step = SimpleNamespace(number=1, total=11, epoch=0.1, rows=32)
    Show().step(step, 0.5, 9000.0)  # type: ignore[arg-type]
    assert "25:00:00 left" in capsys.readouterr().err


LAUNCHERS = {
    "accelerate": ["accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"],
    # on CPUs alone `accelerate launch` starts several processes only through MPI
    "torchrun": ["torch.distributed.run", "--nproc_per_node", "2"],
}


@pytest.mark.parametrize(
    ("recipe", "launcher", "processes"),
    [
        pytest.param("sentiment", "accelerate", 1, marks=pytest.mark.slow),
        ("classification", "torchrun", 2),
        pytest.param("question_answering", "torchrun", 2, marks=pytest.mark.slow),
    ],
)
def test_recipes_run_unchanged_under_launchers(
    recipe: str, launcher: str, processes: int, tiny_bert: Path, tmp_path: Path
) -> None:
    script = str(Path(__file__).parent.parent / "recipes" / f"{recipe}.py")
    flags = ["--model", str(tiny_bert), "--train.max_steps", "3", "--output", "run"]
    # all of validation is one batch: a process that has none must not be waited for
    flags += ["--train.batch_size", "100"] if recipe == "classification" else []
    done = shell(script, *flags, cwd=tmp_path, start=["-m", *LAUNCHERS[launcher]])
    report = load_run(tmp_path / "run").report
    assert report["environment"]["processes"] == processes
    assert report["training"]["rows"] == 3 * report["recipe"]["train"]["batch_size"]
    assert done.stdout.count("test F1" if recipe == "question_answering" else "test accuracy") == 1


def test_a_slow_process_does_not_take_its_own_run_for_anothers(tiny_bert: Path, tmp_path: Path) -> None:
    words = ["train", "--task", "classification", "--data", sample("classification"), "--model", str(tiny_bert)]
    words += ["--method", "head", "--train.max_steps", "1", "--output", str(tmp_path / "run")]
    processes = start_together([words], tmp_path / "printed.txt", 2, slow="folder")
    for process in processes:
        process.join(240)
    said = (tmp_path / "printed.0").read_text(encoding="utf-8")
    assert [process.exitcode for process in processes] == [0, 0], said
    report = load_run(tmp_path / "run").report
    assert report["training"]["steps"] == 1
    assert report["environment"]["processes"] == 2
    assert "ran once over 372 rows" in said


def test_a_recipe_made_in_python_is_the_one_of_the_flags() -> None:
    made = Recipe.make(task="sentiment", data="reviews.csv", train={"epochs": 2})
    assert made == Recipe.from_flags(["--task", "sentiment", "--data", "reviews.csv", "--train.epochs", "2"])


def test_a_recipe_without_a_test_split_is_judged_by_validation(tiny_bert: Path, tmp_path: Path) -> None:
    rows = str(samples.path("sentiment") / "train.csv")
    words = ("--task", "sentiment", "--data", rows, "--model", str(tiny_bert), "--train.max_steps", "1")
    done = command("train", *words, "--data.test_fraction", "0", "--output", "run", cwd=tmp_path)
    assert done.stdout.startswith("validation:\n  accuracy")
    run = load_run(tmp_path / "run")
    assert run.report["data"]["rows"] == {"train": 270, "validation": 30}
    assert run.scores.keys() == {"validation"}
    assert "Validation accuracy: **" in (run.folder / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in (run.folder / "predictions").iterdir()} == {
        "validation.jsonl",
        "validation.safetensors",
    }
    done = command("train", *words, "--data.test_fraction", "-0.1", "--output", "no", cwd=tmp_path, status=2)
    assert "data.test_fraction is -0.1: expected a share, 0 or more and below 1" in done.stderr
