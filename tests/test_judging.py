"""Judging: several runs side by side, the wrong answers, and probabilities that were calibrated."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
from collections import Counter
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from datasets import Dataset

from nlp_transfer import Run, cli, environment, fine_tune, load_run, samples, tasks
from nlp_transfer.data import files
from nlp_transfer.data.features import Features
from nlp_transfer.data.files import read
from nlp_transfer.evaluation import outputs
from nlp_transfer.evaluation.errors import CHARACTERS, by_length
from nlp_transfer.evaluation.outputs import outputs_of
from nlp_transfer.metrics.expected_calibration_error import expected_calibration_error
from nlp_transfer.report import write_json
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.tasks.multi_label import MultiLabel
from nlp_transfer.tasks.sentiment import Sentiment
from nlp_transfer.temperature import best_temperature, uncalibrated

TEST = str(samples.path("sentiment") / "test.csv")


def train(model: Path, output: Path, **parts: object) -> Run:
    task = parts.pop("task", "sentiment")
    data = parts.pop("data", str(samples.path("sentiment")))
    settings = {"max_steps": 3, "learning_rate": 1e-3}
    return fine_tune(task=task, data=data, model=str(model), output=output, train=settings, silent=True, **parts)


@pytest.fixture(scope="module")
def runs(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `one` and `two`, of two seeds, and `topics`, of another task."""
    folder = tmp_path_factory.mktemp("judging")
    train(tiny_bert, folder / "one")
    train(tiny_bert, folder / "two", seed=1, task={"name": "sentiment", "calibration": "temperature"})
    train(tiny_bert, folder / "topics", task="classification", data=str(samples.path("classification")))
    return folder


def test_one_run_writes_what_it_always_wrote(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "scores.json"
    assert cli.main(["evaluate", str(runs / "one"), "--data", TEST, "--output", str(written)]) == 0
    scores = json.loads(written.read_text(encoding="utf-8"))
    assert list(scores) == ["scores", "intervals", "details", "warnings", "tokens"]
    assert f"{scores['scores']['accuracy']:.4f}" in capsys.readouterr().out


def test_several_runs_stand_side_by_side(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert cli.main(["evaluate", "one", "two", "--data", TEST, "--output", str(tmp_path / "scores.json")]) == 0
    written = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert written["data"] == TEST
    assert list(written["runs"]) == ["one", "two"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["one", "two"]
    for line, name in zip(lines[2:], written["runs"]["one"]["scores"], strict=True):
        assert line.strip().startswith(name.replace("_", " "))
        for run, column in (("one", 30), ("two", 30 + 30)):
            low, high = written["runs"][run]["intervals"][name]
            expected = f"{written['runs'][run]['scores'][name]:.4f} ({low:.4f} to {high:.4f})"
            assert line[column:].startswith(expected)
    alone = load_run("two").evaluate(TEST)
    assert written["runs"]["two"]["scores"] == alone.scores


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one", "topics"], ["one is a run of sentiment", "topics one of classification"]),
        (["one", "three"], ["other labels", "neutral"]),
        (["one", "two", "one"], ["one is named twice"]),
        (["one", "two", "--errors", "wrong.csv"], ["--errors", "one run"]),
        (["one", "--errors", "wrong.xyz"], ["wrong.xyz"]),
        (["one", "--output", "nowhere/scores.json"], ["nowhere/scores.json cannot be written"]),
        (["one", "--output", ""], [". cannot be written: it is a folder"]),
        (["one", "none"], ["none"]),
    ],
    ids=lambda value: " ".join(value)[:50],
)
def test_runs_that_do_not_compare_are_refused(
    runs: Path, words: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    if "three" in words and not Path("three").exists():
        Path("three").mkdir()
        for name in ("report.json", "task.json"):
            values = json.loads(Path("one", name).read_text(encoding="utf-8"))
            values |= {"classes": ["negative", "neutral", "positive"]} if name == "task.json" else {}
            Path("three", name).write_text(json.dumps(values), encoding="utf-8")
    assert cli.main(["evaluate", *words, "--data", TEST]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    for part in said:
        assert part in captured.err


def test_runs_that_read_the_answers_otherwise_are_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, positive_from in (("strict", 4.0), ("mild", 3.0)):
        (tmp_path / name).mkdir()
        report = (runs / "one" / "report.json").read_text(encoding="utf-8")
        (tmp_path / name / "report.json").write_text(report, encoding="utf-8")
        task = json.loads((runs / "one" / "task.json").read_text(encoding="utf-8"))
        task |= {"scale_read": "stars", "grades": "two", "positive_from": positive_from}
        (tmp_path / name / "task.json").write_text(json.dumps(task), encoding="utf-8")
        for part in (runs / "one").iterdir():
            if part.name == "model":
                shutil.copytree(part, tmp_path / name / "model")
    (tmp_path / "stars.csv").write_text("text,label\na,1\nb,5\nc,3\nd,5\n", encoding="utf-8")
    words = [str(tmp_path / "strict"), str(tmp_path / "mild"), "--data", str(tmp_path / "stars.csv")]
    assert cli.main(["evaluate", *words]) == 2
    assert "stars.csv, line 4" in capsys.readouterr().err


def test_labels_that_two_runs_list_in_another_order_are_the_same(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["food", "room", "staff"]
    rows = [{"text": f"text {i}", "labels": names[i % 3 :][:2]} for i in range(30)]
    for labels in (names, names[::-1]):
        train(tiny_bert, tmp_path / labels[0], task=MultiLabel(labels=tuple(labels)), data=rows)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [str(tmp_path / "food"), str(tmp_path / "staff"), "--data", str(tmp_path / "rows.jsonl")]
    assert cli.main(["evaluate", *words]) == 0
    assert "food" in capsys.readouterr().out


@pytest.mark.parametrize("form", [".csv", ".jsonl", ".parquet", ".tsv.gz"])
def test_the_wrong_answers_are_written_the_surest_first(
    runs: Path, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read(Path(TEST))
    lines = [f'{i},"{text}",{label}' for i, (text, label) in enumerate(zip(*before.columns.values(), strict=True))]
    (tmp_path / "test.csv").write_text("\n".join(["id,text,label", *lines]) + "\n", encoding="utf-8")
    words = ["evaluate", str(runs / "one"), "--data", str(tmp_path / "test.csv")]
    assert cli.main([*words, "--errors", str(tmp_path / f"wrong{form}")]) == 0
    run = load_run(runs / "one")
    answers = run.predict(tmp_path / "test.csv")
    expected = {str(i) for i, answer in enumerate(answers) if answer.label != before.columns["label"][i]}
    assert expected
    wrong = read(tmp_path / f"wrong{form}").columns
    assert {str(cell) for cell in wrong["id"]} == expected
    assert list(wrong)[:6] == ["id", "text", "label", "place", "gold", "predicted_label"]
    surest = [float(cell) for cell in wrong["probability"]]
    assert surest == sorted(surest, reverse=True)
    for i, place, text, gold, label in zip(
        *(wrong[name] for name in ("id", "place", "text", "gold", "predicted_label")), strict=True
    ):
        assert int(place) == int(i) + 2
        assert text == before.columns["text"][int(i)]
        assert (gold, label) == (before.columns["label"][int(i)], answers[int(i)].label)
    assert f"{len(expected)} of {len(answers)} rows are wrong" in capsys.readouterr().err


def test_the_rows_are_read_once(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(files, "read", lambda path: (opened.append(str(path)), read(path))[1])
    words = ["evaluate", str(runs / "one"), "--data", TEST, "--errors", str(tmp_path / "wrong.csv")]
    assert cli.main(words) == 0
    assert cli.main(["evaluate", str(runs / "one"), str(runs / "two"), "--data", TEST]) == 0
    assert opened == [TEST, TEST]


def test_warnings_are_printed_and_written_as_sentences(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"text {i},{(1, 5)[i % 2]}\n" for i in range(40))
    (tmp_path / "stars.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    (tmp_path / "test.csv").write_text("text,label\na,1\nb,3\nc,5\n", encoding="utf-8")
    train(tiny_bert, tmp_path / "run", task={"name": "sentiment", "grades": "two"}, data=str(tmp_path / "stars.csv"))
    words = [
        "evaluate",
        str(tmp_path / "run"),
        "--data",
        str(tmp_path / "test.csv"),
        "--output",
        str(tmp_path / "s.json"),
    ]
    assert cli.main(words) == 0
    [sentence] = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["warnings"]
    assert sentence.startswith("1 of 3 rows of ")
    assert sentence.endswith("test.csv, line 3.")
    assert f"warning: {sentence}\n" in capsys.readouterr().err


def test_of_several_processes_one_speaks(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "speaks", lambda: False)
    words = [
        str(runs / "one"),
        "--data",
        TEST,
        "--errors",
        str(tmp_path / "a.csv"),
        "--output",
        str(tmp_path / "a.json"),
    ]
    assert cli.main(["evaluate", *words]) == 0
    assert cli.main(["predict", str(runs / "one"), "a text"]) == 0
    assert not capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_no_wrong_answer_is_a_file_with_a_header_alone(runs: Path, tmp_path: Path) -> None:
    label = load_run(runs / "one").predict("a text")[0].label
    other = {"negative": "positive", "positive": "negative"}[label]
    (tmp_path / "test.csv").write_text(f"text,label\na text,{label}\n", encoding="utf-8")
    words = ["evaluate", str(runs / "one"), "--data", str(tmp_path / "test.csv")]
    for form in (".csv", ".jsonl", ".parquet"):
        assert cli.main([*words, "--errors", str(tmp_path / f"wrong{form}")]) == 0
    header = (tmp_path / "wrong.csv").read_text(encoding="utf-8")
    names = f"predicted_label,probability,probability_{min(label, other)},probability_{max(label, other)}"
    assert header == f"text,label,place,gold,{names}\n"


def test_columns_keep_their_types_beside_wrong_answers(runs: Path, tmp_path: Path) -> None:
    label = load_run(runs / "one").predict("a text")[0].label
    other = {"negative": "positive", "positive": "negative"}[label]
    columns = {
        "text": pyarrow.array(["a text"]),
        "label": pyarrow.array([other]),
        "id": pyarrow.array([2**63 + 1], pyarrow.uint64()),
        "at": pyarrow.array([1577836800123456789], pyarrow.timestamp("ns")),
        "share": pyarrow.array([0.1], pyarrow.float32()),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "test.parquet")
    words = [str(runs / "one"), "--data", str(tmp_path / "test.parquet"), "--errors", str(tmp_path / "wrong.parquet")]
    assert cli.main(["evaluate", *words]) == 0
    wrong = pyarrow.parquet.read_table(tmp_path / "wrong.parquet")
    assert {name: wrong.column(name).combine_chunks() for name in columns} == columns


def test_the_report_says_what_goes_wrong(runs: Path) -> None:
    run = load_run(runs / "one")
    for split in ("validation", "test"):
        lines = (run.folder / "predictions" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        wrong = [row for row in map(json.loads, lines) if row["label"] != row["gold"]]
        errors = run.report["details"][split]["errors"]
        assert errors["wrong"] == len(wrong) > 0
        shown = sorted(wrong, key=lambda row: -row["probability"])[:10]
        assert [each["place"] for each in errors["most_confident"]] == [row["place"] for row in shown]
        assert set(errors["most_confident"][0]) == {"place", "text", "gold", "answer", "confidence"}
        counts = {(each["gold"], each["answer"]): each["count"] for each in errors["confusions"]}
        assert counts == Counter((row["gold"], row["label"]) for row in wrong)
        bins = errors["by_length"]
        assert 1 <= len(bins) <= 4
        assert sum(each["rows"] for each in bins) == len(lines)
        right = sum(each["accuracy"] * each["rows"] for each in bins)
        assert right == pytest.approx(len(lines) - len(wrong))
        assert all(one["characters"][1] < two["characters"][0] for one, two in pairwise(bins))


def test_long_texts_are_cut_in_the_report_alone(runs: Path) -> None:
    run = load_run(runs / "one")
    text = "word " * 200
    other = {"negative": "positive", "positive": "negative"}[run.predict(text)[0].label]
    shown = run.evaluate([{"text": text, "label": other}]).details["errors"]["most_confident"][0]
    assert shown["text"] == text[:CHARACTERS] + "…"


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [([5], [1]), ([1, 2], [1, 1]), ([3] * 9, [9]), (list(range(8)), [2, 2, 2, 2]), ([1] * 6 + [2, 9], [6, 1, 1])],
)
def test_bins_of_length_hold_every_row_once(lengths: list[int], rows: list[int]) -> None:
    task = SimpleNamespace(
        primary=SimpleNamespace(metric="mean"), metrics=lambda judged: {"mean": float(judged["x"].mean())}
    )
    found = by_length(task, {"x": np.array(lengths)}, np.array(lengths))  # type: ignore[arg-type]
    assert sum(each["rows"] for each in found) == len(lengths)
    assert sum(each["rows"] * each["mean"] for each in found) == pytest.approx(sum(lengths))
    assert len(found) <= 4
    if rows != [6, 1, 1]:
        assert [each["rows"] for each in found] == rows


def test_what_is_shared_holds_no_texts_of_the_data(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    import huggingface_hub

    def upload(self: object, *, folder_path: Path, **_: object) -> None:
        shutil.copytree(folder_path, tmp_path, dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda _, repo_id, **__: repo_id)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    load_run(runs / "one").push_to_hub("me/reviews")
    shared = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert shared["details"]["test"]["errors"]["confusions"]
    held = read(Path(TEST)).columns["text"]
    everything = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.[jmy]*"))
    assert not [text for text in held if text in everything]


def test_what_a_process_keeps_for_the_others_holds_nothing_else(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class FirstOnly(Classification):
        def keep(self, outputs: object, batch: object) -> torch.Tensor:
            return outputs.logits.expand(1000, -1, -1)[0, :, :1]  # type: ignore[attr-defined]

    run = load_run(runs / "one")
    rows = Dataset.from_dict({"text": ["a text", "another"]})
    features = replace(Features.of(rows, run.task, run.tokenizer), task=FirstOnly())
    alone, sent = outputs_of(run.model, features, batch_size=1), []

    def gathered(shares: list[Any]) -> list[Any]:
        sent.extend(shares)
        return [(np.array([i]), alone[i : i + 1]) for i in range(2)]

    first = SimpleNamespace(process_index=0, num_processes=2, device=torch.device("cpu"))
    monkeypatch.setattr(outputs, "processes", lambda: first)
    monkeypatch.setattr(outputs, "gather_object", gathered)
    assert np.array_equal(outputs_of(run.model, features, batch_size=1), alone)
    [(indices, kept)] = sent
    assert np.array_equal(kept, alone[indices])
    assert kept.base is None


# calibration


def drawn(temperature: float, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn by their softmax after division by a temperature: that temperature calibrates them."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=3.0, size=(rows, 4)).astype(np.float32)
    noise = generator.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    assert best_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_where_every_row_is_right_there_is_nothing_to_learn() -> None:
    logits, _ = drawn(1.0, 50)
    assert best_temperature(logits, logits.argmax(1)) == 1.0


def test_a_hopeless_model_ends_at_the_edge() -> None:
    logits, _ = drawn(1.0, 50)
    assert 1 < best_temperature(logits, logits.argmin(1)) <= 20.0


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_calibration_lowers_the_error_and_changes_no_label(temperature: float) -> None:
    logits, references = drawn(temperature)
    classes = ("a", "b", "c", "d")
    task = Classification(calibration="temperature", classes=classes)
    rows = Dataset.from_dict({"label": [classes[i] for i in references]})
    fitted = task.calibrate(logits, rows, rows)
    assert task.calibrate(logits, rows, rows) == fitted
    assert tasks.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted
    plain, answers = task.decode(logits, rows, rows), fitted.decode(logits, rows, rows)
    assert [answer.label for answer in plain] == [answer.label for answer in answers]
    details = fitted.details(answers, rows, fitted.judged(answers, rows))["calibration"]
    assert details["temperature"] == fitted.temperature
    assert details["ece_after"] == fitted.score(answers, rows)["expected_calibration_error"]
    assert details["ece_before"] == pytest.approx(task.score(plain, rows)["expected_calibration_error"], abs=1e-6)
    assert details["ece_after"] < 0.02 < 0.05 < details["ece_before"]


def test_uncalibrated_undoes_a_temperature() -> None:
    logits, references = drawn(1.0, 1000)
    plain = torch.from_numpy(logits).double().softmax(-1).numpy()
    for temperature in (0.05, 0.7, 20.0):
        divided = (torch.from_numpy(logits).double() / temperature).softmax(-1).numpy()
        np.testing.assert_allclose(uncalibrated(divided, temperature), plain, atol=1e-9)
    assert expected_calibration_error(plain, references) < 0.1


def test_calibration_is_off_unless_asked_for() -> None:
    logits, references = drawn(3.0, 100)
    task = Classification(classes=("a", "b", "c", "d"))
    rows = Dataset.from_dict({"label": [task.classes[i] for i in references]})
    assert task.calibrate(logits, rows, rows) is task
    answers = task.decode(logits, rows, rows)
    assert "calibration" not in task.details(answers, rows, task.judged(answers, rows))


def test_a_calibrated_run_remembers_its_temperature(runs: Path) -> None:
    run = load_run(runs / "two")
    assert isinstance(run.task, Sentiment)
    assert run.report["recipe"]["task"]["calibration"] == "temperature"
    assert json.loads((run.folder / "task.json").read_text(encoding="utf-8"))["temperature"] != 1.0
    for split in ("validation", "test"):
        calibration = run.report["details"][split]["calibration"]
        assert calibration["temperature"] == run.task.temperature
        assert calibration["ece_after"] == run.scores[split]["expected_calibration_error"]
    hidden = replace(run, task=replace(run.task, temperature=1.0))
    texts = read(Path(TEST)).columns["text"]
    for answer, plain in zip(run.predict(texts), hidden.predict(texts), strict=True):
        assert answer.label == plain.label
        logits = np.log(list(plain.probabilities.values())) / run.task.temperature
        expected = np.exp(logits) / np.exp(logits).sum()
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-5)


def test_what_is_judged_is_not_written_over(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "gold"
    folder.mkdir()
    gold = folder / "gold.csv"
    shutil.copy(TEST, gold)
    before = gold.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(gold)
    for words in (["--errors", gold], ["--output", gold], ["--errors", link], ["--output", folder / "." / "gold.csv"]):
        assert cli.main(["evaluate", str(runs / "one"), "--data", str(gold), *map(str, words)]) == 2
        assert "is what is read" in capsys.readouterr().err
    twice = str(tmp_path / "twice.jsonl")
    assert cli.main(["evaluate", str(runs / "one"), "--data", str(gold), "--output", twice, "--errors", twice]) == 2
    assert "is named twice" in capsys.readouterr().err
    assert gold.read_bytes() == before


def test_scores_may_go_into_a_pipe_or_through_a_link(tmp_path: Path) -> None:
    pipe, target, link = tmp_path / "pipe", tmp_path / "target.json", tmp_path / "link.json"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: target.write_text(pipe.read_text(encoding="utf-8"), encoding="utf-8"))
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join(10)
    assert pipe.is_fifo()
    assert json.loads(target.read_text(encoding="utf-8")) == {"a": 1}
    link.symlink_to(target)
    write_json(link, {"a": 2})
    assert link.is_symlink()
    assert json.loads(target.read_text(encoding="utf-8")) == {"a": 2}


def test_a_score_that_one_split_cannot_have_is_left_open(tiny_bert: Path, tmp_path: Path) -> None:
    def asked(i: int, answered: bool) -> dict[str, Any]:
        answers = {"text": ["Ada"], "answer_start": [0]} if answered else {"text": [], "answer_start": []}
        return {"question": f"Who is number {i}?", "context": f"Ada is number {i}.", "answers": answers}

    mixed = [asked(i, i % 3 > 0) for i in range(24)]
    data = {"source": mixed, "validation": [asked(i, True) for i in range(30, 36)], "test": mixed[:9]}
    run = train(tiny_bert, tmp_path / "run", task="qa", data=data)
    run.write_page()
    assert "answerable_f1" in run.scores["test"]
    assert "answerable_f1" not in run.scores["validation"]
    assert "| answerable f1 | - |" in (run.folder / "README.md").read_text(encoding="utf-8")


def test_of_equal_evaluations_the_last_is_kept(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [{"text": f"number {i}", "target": float(i)} for i in range(30)]
    same = [{"text": f"number {i}", "target": 5.0} for i in range(6)]
    said = io.StringIO()
    with redirect_stderr(said):
        run = fine_tune(
            task="regression",
            data={"source": rows, "validation": same, "test": rows[:5]},
            model=str(tiny_bert),
            output=tmp_path / "run",
            train={"epochs": 3},
        )
    primary = run.task.primary.metric
    assert run.scores["validation"][primary] == 0
    assert run.report["training"]["best_epoch"] == 3
    assert f"every evaluation has the same {primary}, 0" in said.getvalue()
    page = run.write_page().read_text(encoding="utf-8")
    assert "the last: every evaluation had the same score" in page
    assert "liked best" not in page
    # and nobody is told that the recipe alone repeats what rows in memory made
    for said_there in (page, (run.folder / "README.md").read_text(encoding="utf-8")):
        assert "The rows were in memory" in said_there
        assert "It repeats the run" not in said_there
