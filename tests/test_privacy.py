"""What stays here: tokens, the environment, whose machine it is, and texts; and nothing is asked of any network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nlp_transfer import cli, fine_tune, load_run
from nlp_transfer.environment import homely
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import without_texts

ROOT = Path(__file__).parent.parent
TOKEN = "hf_neverToBeWrittenDown"
WHO = "ada-at-home"
TEXT = "the grey heron of Tuesday"
BLOCK = """
import os, socket, sys

def _refuse(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        if arguments[0].family == socket.AF_UNIX:
            return
        if event == "socket.bind" and arguments[1][0] in ("::1", "127.0.0.1"):
            raise OSError("no network")  # urllib3 tries, as it is imported, whether there are addresses of the newer kind
    elif event not in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        return
    with open(os.environ["ASKED_OF_THE_NETWORK"], "a") as file:
        file.write(f"{event} {arguments[1:]}\\n")
    raise OSError(f"no network: {event}")

sys.addaudithook(_refuse)
"""
"""A sitecustomize that lets neither this process nor its children ask anything of a network, and writes down who tries."""


def rows(count: int = 40) -> str:
    return "text,label\n" + "".join(
        f"{TEXT} {('good', 'bad')[i % 2]} {i},{('pos', 'neg')[i % 2]}\n" for i in range(count)
    )


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_nothing_says_who_or_where_or_what(
    method: str, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / WHO
    shutil.copytree(tiny_bert, home / "models" / "bert")
    (home / "rows.csv").write_text(rows() + f"{TEXT} good 0,pos\n")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "MY_SECRET"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    words = ["--task", "classification", "--data", str(home / "rows.csv"), "--model", str(home / "models" / "bert")]
    train = ["train", *words, "--method", method, "--train.max_steps", "2", "--train.trackers", "tensorboard"]
    assert cli.main([*train, "--output", "run"]) == 0
    assert cli.main(["evaluate", "run", "--data", str(home / "rows.csv"), "--output", "scores.json"]) == 0
    said = capsys.readouterr()
    found = {**written(tmp_path / "run"), "scores": (tmp_path / "scores.json").read_bytes(), "said": str(said).encode()}
    assert len(found) > 10
    for name, content in found.items():
        assert TOKEN.encode() not in content, name
        if name not in ("said", "scores"):  # where the person's own words are said again
            assert WHO.encode() not in content, name
            assert os.fsencode(tmp_path) not in content, name
    # texts stand where answers to them are, and nowhere else
    with_texts = {name for name, content in found.items() if TEXT.encode() in content}
    assert with_texts <= {
        "report.html",
        "report.json",
        "predictions/test.jsonl",
        "predictions/validation.jsonl",
        "scores",
    }
    assert TEXT not in json.dumps(without_texts(load_run("run").report))
    # and what was written down still leads there
    recipe = Recipe.read("run/recipe.yaml")
    assert (recipe.data.source, recipe.model.name) == ("~/rows.csv", "~/models/bert")
    assert cli.main(["train", "--config", "run/recipe.yaml", "--output", "again"]) == 0
    assert load_run("again").scores == load_run("run").scores


def test_where_a_run_lies_is_said_without_whose_home_it_is(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / WHO
    home.mkdir()
    (home / "rows.csv").write_text(rows())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    words = ["--task", "classification", "--data", "~/rows.csv", "--model", str(tiny_bert), "--train.max_steps", "1"]
    assert cli.main(["train", *words, "--output", str(home / "run")]) == 0
    assert WHO not in (home / "run" / "report.html").read_text(encoding="utf-8")
    # and where no shell expands it, the same words mean the same place
    assert cli.main(["train", *words, "--output=~/other"]) == 0
    assert load_run("~/other").folder == home / "other"
    assert cli.main(["predict", "~/other", "--input", "~/rows.csv", "--output", "~/answers.csv"]) == 0
    assert (home / "answers.csv").is_file()
    assert not (tmp_path / "~").exists()


def test_what_was_left_out_is_not_shared(tiny_bert: Path, tmp_path: Path) -> None:
    good = [{"text": f"Ada left {i}.", "entities": [{"start": 0, "end": 3, "label": "PER"}]} for i in range(40)]
    bad = {"text": TEXT, "entities": [{"start": 0, "end": len(TEXT), "label": "PER", "text": "Ada"}]}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*good, bad]), encoding="utf-8")
    run = fine_tune(
        task="entities",
        data={"source": str(file), "skip_bad_rows": True},
        model=str(tiny_bert),
        train={"max_steps": 1},
        output=tmp_path / "run",
        silent=True,
    )
    (left,) = [each for each in run.report["data"]["warnings"] if each["kind"] == "bad_rows"]
    assert left["rows"] == [f"{file}, line 41"]
    assert TEXT[:20] in left["reasons"][0]
    assert TEXT[:20] not in json.dumps(without_texts(run.report))
    assert TEXT[:20] not in (run.folder / "README.md").read_text(encoding="utf-8")


def test_how_a_run_failed_says_neither(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nlp_transfer import experiment

    home = tmp_path / WHO
    home.mkdir()
    (home / "rows.csv").write_text(rows())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def fails(*_: Any) -> None:
        raise OSError(f"{home}/rows.csv has gone")

    monkeypatch.setattr(experiment, "_train", fails)
    words = ["--task", "classification", "--data", str(home / "rows.csv"), "--model", str(tiny_bert)]
    with pytest.raises(OSError, match="has gone"):
        cli.main(["train", *words, "--output", str(tmp_path / "run")])
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["message"] == "OSError: ~/rows.csv has gone"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/home/ada/rows.csv", "~/rows.csv"),
        ("/home/ada", "~"),
        ("/home/adam/rows.csv", "/home/adam/rows.csv"),
        ("rows.csv", "rows.csv"),
        ("../rows.csv", "../rows.csv"),
        ("owner/model", "owner/model"),
    ],
)
def test_the_home_folder_is_written_as_everybody_writes_it(
    path: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert homely(path) == said
    assert os.path.expanduser(said) == path


def blocked(words: list[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """A command, and its children, without a network; and what they asked of one."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(BLOCK)
    asked = folder / "asked"
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    given = {**os.environ, "PYTHONPATH": path, "ASKED_OF_THE_NETWORK": str(asked), "OMP_NUM_THREADS": "1"}
    given.pop("HF_HUB_OFFLINE", None)  # nothing may lean on it
    # a network of its own without a way out, where the system lets us have one, stops what is no Python as well
    alone = ["unshare", "--net"] if shutil.which("unshare") else []
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        alone = []
    done = subprocess.run(
        [*alone, sys.executable, *words],
        cwd=folder,
        env=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    return done, asked.read_text() if asked.exists() else ""


@pytest.mark.slow
def test_the_demo_asks_nothing_of_a_network(tmp_path: Path) -> None:
    done, asked = blocked(["-m", "nlp_transfer.cli", "demo"], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert asked == ""
    assert "accuracy" in done.stdout.lower()


@pytest.mark.slow
def test_what_blocks_the_network_does_block_it(tmp_path: Path) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    done, asked = blocked(
        ["-c", f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {code!r}]))"], tmp_path
    )
    assert done.returncode == 1
    assert "socket." in asked


def test_no_library_tells_anybody() -> None:
    code = (
        "import nlp_transfer, huggingface_hub.constants as hub, os; "
        "print(hub.HF_HUB_DISABLE_TELEMETRY, os.environ['DO_NOT_TRACK'], os.environ['RAY_USAGE_STATS_ENABLED'])"
    )
    given = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    given["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1", "0"]
