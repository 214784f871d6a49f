"""What a run does not read of rows that it answers is said: when it judges them, and when it answers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlp_transfer import Run, cli, fine_tune, load_run, predict_file, samples
from nlp_transfer.data import streams
from nlp_transfer.data.inspection import _without_limit

PAIRS = samples.path("sentence_pairs")
TEST = str(PAIRS / "test.csv")


@pytest.fixture(scope="module")
def runs(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs that read 12 tokens, 24, and all of them in windows."""
    folder = tmp_path_factory.mktemp("unread")
    for name, limit, reading in (("short", 12, "truncate"), ("more", 24, "truncate"), ("all", 12, "windows")):
        fine_tune(
            task={"name": "classification", "long_texts": reading},
            data={"source": str(PAIRS), "max_length": limit},
            model=str(tiny_bert),
            train={"max_steps": 1},
            output=folder / name,
            silent=True,
        )
    return folder


def counts(run: Run) -> dict[str, int]:
    """As training counted them for the test rows, which are those of `TEST`."""
    return run.report["data"]["tokens"]["test"]


def test_evaluate_says_it_and_writes_it(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = counts(load_run(runs / "short"))
    assert cli.main(["evaluate", str(runs / "short"), "--data", TEST, "--output", str(tmp_path / "s.json")]) == 0
    written = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert written["tokens"] == expected
    [sentence] = written["warnings"]
    assert f"{expected['not_read']:,} of {expected['tokens']:,} tokens" in sentence
    assert "longer than 12 tokens" in sentence
    assert "--task.long_texts windows" in sentence
    assert sentence.endswith("line 2; line 3; line 4.")
    assert f"warning: {sentence}\n" in capsys.readouterr().err

    monkeypatch.chdir(runs)
    assert cli.main(["evaluate", "short", "more", "--data", TEST, "--output", str(tmp_path / "both.json")]) == 0
    both = json.loads((tmp_path / "both.json").read_text(encoding="utf-8"))["runs"]
    assert both["more"]["tokens"] == counts(load_run("more"))
    said = capsys.readouterr().err
    for name, limit in (("short", 12), ("more", 24)):
        assert f"warning: {name}: {TEST}: " in said
        assert f"longer than {limit} tokens" in both[name]["warnings"][0]


def test_where_all_is_read_nothing_is_said(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judgement = load_run(runs / "all").evaluate(TEST)
    assert judgement.warnings == []
    assert judgement.tokens["not_read"] == 0 < judgement.tokens["tokens"]
    words = ["predict", str(runs / "all"), "--input", TEST, "--output", str(tmp_path / "a.csv")]
    assert cli.main(words) == 0
    assert "warning" not in capsys.readouterr().err


def test_predict_counts_over_the_windows_of_a_file(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(streams, "ROWS", 7)
    _without_limit.cache_clear()
    run = load_run(runs / "short")
    done = predict_file(run, TEST, tmp_path / "a.csv")
    assert done.tokens == counts(run)
    assert _without_limit.cache_info().misses == 1, "the tokenizer is copied once, not for every window"
    [sentence] = done.warnings
    assert "line" not in sentence, "counts only"
    assert cli.main(["predict", str(runs / "short"), "--input", TEST, "--output", str(tmp_path / "b.csv")]) == 0
    assert capsys.readouterr().err.count(f"warning: {sentence}\n") == 1


def test_predict_says_it_of_single_texts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(runs / "short"), "a text " * 20, "another"]) == 0
    said = capsys.readouterr()
    assert "warning: data: 1 row of 1 longer than 12 tokens; " in said.err
    assert "warning" not in said.out
    warnings: list[str] = []
    load_run(runs / "short").predict([("a", "b"), ("a text " * 20, "b")], warnings=warnings)
    assert warnings[0].endswith("That is: data, row 2.")
    assert cli.main(["predict", str(runs / "short"), "a", "b"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_questions_that_are_cut_are_counted(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"source": str(samples.path("qa")), "max_length": 64, "limit": 20}
    run = fine_tune(
        task="qa", data=data, model=str(tiny_bert), train={"max_steps": 1}, output=tmp_path / "run", silent=True
    )
    rows = [{"question": "Who " * words, "context": "Ada came."} for words in (3, 200)]
    warnings: list[str] = []
    run.predict(rows, warnings=warnings)
    [sentence] = warnings
    assert "data: 1 row of 2 with a question of which only the beginning is read. That is: data, row 2." in sentence
    assert cli.main(["predict", str(run.folder), "--question", "Who " * 200, "--context", "Ada came."]) == 0
    assert "only the beginning is read" in capsys.readouterr().err
