"""Warnings about the data stand where they are looked for: on the screen, in the report, in the model card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlp_transfer import fine_tune


def test_every_kind_is_shown_reported_and_on_the_card(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"text number {i},{'ab'[i % 2]}" for i in range(60)]
    odd = [
        "Text  number 0,a",
        "text number 1,a",
        "so,B",
        "fine,",
        "word " * 100 + ",a",
        *(f"rare {i},c" for i in range(2)),
    ]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(lines + odd), encoding="utf-8")
    (tmp_path / "validation.csv").write_text("text,label\nnew one,a\nother one,b\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text(
        "text,label\nTEXT NUMBER 2,a\nother one,d\n" + "word " * 99 + ",b\n", encoding="utf-8"
    )
    run = fine_tune(
        model=str(tiny_bert),
        task="classification",
        data={"source": str(tmp_path), "skip_bad_rows": True},
        train={"max_steps": 1},
        output=tmp_path / "run",
    )
    report = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
    warnings = report["data"]["warnings"]
    counts = {(warning["kind"], warning["message"].split()[0]): warning["count"] for warning in warnings}
    assert counts == {
        ("bad_rows", "1"): 1,
        ("duplicate_rows", "train:"): 1,
        ("seen_in_training", "test:"): 1,
        ("conflicting_answers", "2"): 2,
        ("short_texts", "train:"): 1,
        ("similar_labels", "labels"): 1,
        ("imbalance", "2"): 3,
        ("cut_texts", "train:"): 1,
        ("cut_texts", "test:"): 1,
    }
    assert sum(warning["kind"] == "bad_rows" for warning in warnings) == 2
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    shown = capsys.readouterr().err
    for warning in warnings:
        assert warning["message"] in shown
        assert warning["message"] in card
        assert 0 < len(warning["rows"]) <= 3
        assert warning["rows"][0] in card
        assert warning["rows"][0] in shown
    assert f"{tmp_path / 'train.csv'}, line 66" in card
