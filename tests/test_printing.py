"""What strangers write does nothing but be read: on a terminal, in a card, in a page, in a file of answers, in a message."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from nlp_transfer import Run, cli, fine_tune, predict_file
from nlp_transfer.errors import RequestError, discreet, first_line, harmless, readable

TITLE = "\x1b]0;owned\x07"
COLOUR = "\x1b[31m"
MARKUP = '<script>alert("x")</script><img src=x onerror=alert(1)>'
IMAGE = "![seen](http://evil.example/seen.png)"
COLUMN = f"{IMAGE}<b>{COLOUR}"
FORMULA = '=HYPERLINK("http://evil.example","open")'
TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose labels and texts are hostile, as the rows of others may be."""
    folder = tmp_path_factory.mktemp("run")
    labels = (f"good {TITLE}{MARKUP}", f"{FORMULA} {IMAGE}{COLOUR}")
    rows: list[dict[str, Any]] = [
        {COLUMN: f"{COLOUR}{MARKUP} {('nice', 'poor')[i % 2]} number {i}", "label": labels[i % 2]} for i in range(40)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = fine_tune(
        task="classification",
        model=str(tiny_bert),
        data=str(folder / "rows.jsonl"),
        columns={"text": COLUMN},
        output=folder / "run",
        train={"max_steps": 2, "precision": "fp32"},
        silent=True,
    )
    made.write_page()
    return made


def tame(said: str) -> bool:
    """Whether a terminal would obey none of it."""
    return all(letter in "\n\t" or letter.isprintable() for letter in said)


def test_answers_and_scores_on_a_terminal_are_only_read(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(run.folder.parent / "rows.jsonl")
    for words in (
        ["predict", str(run.folder), f"{TITLE} a text", "another"],
        ["evaluate", str(run.folder), "--data", data],
    ):
        assert cli.main(words) == 0
        said = capsys.readouterr()
        assert tame(said.out), said.out
        assert tame(said.err), said.err
        if words[0] == "predict":
            assert len(said.out.splitlines()) == 2
            assert "\\x1b]0;owned\\x07 a text" in said.out


def test_several_runs_side_by_side_with_hostile_names(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (f"one{COLOUR}", "two"):
        (tmp_path / name).symlink_to(run.folder)
    both = [str(tmp_path / name) for name in (f"one{COLOUR}", "two")]
    data = str(run.folder.parent / "rows.jsonl")
    assert cli.main(["evaluate", *both, "--data", data]) == 0
    said = capsys.readouterr()
    assert tame(said.out + said.err)
    assert "one\\x1b[31m" in said.out


def test_a_recipe_of_a_stranger_says_nothing_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"task": "classification", "data": "none.csv", "method": {"name": "lora", f"rank{TITLE}": 3}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    for command in ("train", "compare"):
        config = ["--config", str(tmp_path / "recipe.yaml")]
        words = (
            [command, *config, "--method", "full"] if command == "train" else [command, *config, "--task", "sentiment"]
        )
        assert cli.main(words) == 2
        assert tame(capsys.readouterr().err)


def test_page_and_card_hold_no_markup_of_the_rows(run: Run) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "evil.example" in page  # it is there, as text
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    before = card.partition("```yaml")[0]
    assert "<script" not in before
    assert "![seen]" not in before
    assert r"!\[seen\](http://evil.example/seen.png)\<b\>\\x1b\[31m" in before
    assert tame(before)


def test_cells_of_answers_are_written_as_they_are(run: Run, tmp_path: Path) -> None:
    """A decision: rows come back as they were, formulas too, and labels as training had them."""
    (tmp_path / "new.csv").write_text(f'text,note\n"a nice text","{FORMULA.replace(chr(34), chr(34) * 2)}"\n')
    predict_file(run, tmp_path / "new.csv", tmp_path / "answers.csv", silent=True)
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert row["note"] == FORMULA
    assert row["label"] in run.task.classes  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"401 for {TOKEN}.", "401 for ***."),
        (f"https://ada:secret@proxy.example:8080/x with {TOKEN}", "https://***@proxy.example:8080/x with ***"),
        ("secret-of-wandb is wrong", "*** is wrong"),
        ("hf_rows.csv, row 3: x@y://z", "hf_rows.csv, row 3: x@y://z"),
        ("https://huggingface.co/someone/tidy@main", "https://huggingface.co/someone/tidy@main"),
    ],
)
def test_messages_hold_no_tokens_and_no_passwords(said: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-wandb")
    monkeypatch.setenv("HF_TOKEN", "short")
    assert discreet(said) == shown
    assert readable(RequestError(said)) == shown
    assert first_line(OSError(said)) == shown


def test_a_client_of_the_hub_that_quotes_a_token_is_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    from nlp_transfer import trust

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(f"401 Client Error for https://ada:secret@hub.example (Authorization: Bearer {TOKEN})")

    monkeypatch.setattr(trust, "snapshot_download", fails)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    (tmp_path / "rows.csv").write_text("text,label\n" + "a,x\nb,y\n" * 9)
    train = [
        "train",
        "--task",
        "classification",
        "--data",
        str(tmp_path / "rows.csv"),
        "--output",
        str(tmp_path / "run"),
    ]
    for words in ([*train, "--model", "someone/private"], ["predict", "someone/private-run", "a text"]):
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert "401 Client Error" in said
        assert TOKEN not in said
        assert "secret" not in said


def test_harmless_leaves_scripts_and_emoji_alone() -> None:
    assert harmless("zażółć 文字 👩‍👩‍👧 مرحبا") == "zażółć 文字 👩‍👩‍👧 مرحبا"
    assert harmless("a\tb\nc\u202ed") == "a\\tb\\nc\\u202ed"
