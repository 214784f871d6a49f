"""What the README and the pages say, done: every command and every Python block, on a tiny model in place of `minilm`."""

from __future__ import annotations

import importlib
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from rich.console import Console

from nlp_transfer import backbone, cli, demo, methods, samples, tasks
from nlp_transfer.comparison import engine
from nlp_transfer.comparison.display import Display

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "quick-start",
            "your-own-data",
            "methods",
            "adapters",
            "training",
            "prediction",
            "sentence-pairs",
            "multi-label",
            "regression",
            "question-answering",
            "compare",
            "entities",
            "long-texts",
            "scale",
        )
    ),
]
BLOCK = re.compile(r"^```(console|python|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)

ELSEWHERE = (
    "make ",
    ". .venv/bin/activate",
    "python recipes/",
    "accelerate launch recipes/",
    "accelerate launch --config_file recipes/",
    "torchrun ",
    "nlp-transfer train --processes ",
    "nlp-transfer train --trust-remote-code ",
    "nlp-transfer predict --trust-remote-code ",
    "nlp-transfer demo",
)
"""Commands that install, or that tests of their own run: the checks of a clean clone, and the tests of recipes and demo."""


@pytest.fixture
def work(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder such as the pages speak of, where `minilm` is tiny."""
    for name, split in (("reviews", "train"), ("test", "test"), ("new", "validation")):
        shutil.copy(samples.path("sentiment") / f"{split}.csv", tmp_path / f"{name}.csv")
    for name, sample in (("pairs", "sentence_pairs"), ("comments", "multi_label"), ("messages", "regression")):
        shutil.copy(samples.path(sample) / "test.csv", tmp_path / f"{name}.csv")
    flags = "".join(f"text {i},{i % 2},{i % 3 == 0:d},{i % 5 == 0:d}\n" for i in range(40))
    (tmp_path / "columns.csv").write_text(f"text,food,room,staff\n{flags}", encoding="utf-8")
    shutil.copy(samples.path("entities") / "test.jsonl", tmp_path / "notes.jsonl")
    tagged = "Ada B-PER\nNovak I-PER\nlives O\nin O\nPorto B-LOC\n. O\n\nIt O\nrained O\n\n" * 12
    (tmp_path / "news.conll").write_text(tagged, encoding="utf-8")
    shutil.copy(samples.path("qa") / "train.json", tmp_path / "squad.json")
    shutil.copy(samples.path("qa") / "test.json", tmp_path / "new.json")
    (tmp_path / "article.txt").write_text("The kiosk opens at nine. Its owner is Ada Novak.", encoding="utf-8")
    monkeypatch.setattr(backbone, "packaged", lambda _: str(tiny_bert))
    # a fresh process would know nothing of the tiny model; tests of their own start some
    monkeypatch.setitem(engine.ENGINES, "processes", engine.here)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def commands(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


def run_command(words: list[str]) -> int:
    """Run a command, with `< FILE` and `> FILE` as a shell has them; gives its exit status."""
    with ExitStack() as stack:
        for sign, name, mode in (("<", "stdin", "r"), (">", "stdout", "w")):
            if sign in words:
                at = words.index(sign)
                file = stack.enter_context(Path(words[at + 1]).open(mode, encoding="utf-8"))
                stack.enter_context(patch.object(sys, name, file))
                del words[at : at + 2]
        return cli.main(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_says(page: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page)
    assert found
    names: dict[str, object] = {"__name__": "page"}
    for kind, text in found:
        if kind == "yaml" and text.startswith("task:"):
            (work / "recipe.yaml").write_text(text, encoding="utf-8")
        elif kind == "python":
            exec(compile(text, str(page), "exec"), names)
        elif kind == "console":
            for line in commands(text):
                words = shlex.split(line, comments=True)
                if line.startswith(ELSEWHERE):
                    continue
                if words[0] == "nlp-transfer":
                    status = run_command(words[1:])
                    assert status == 0, f"{line}: {capsys.readouterr().err}"
                else:
                    assert words[0] in ("cmp", "python"), f"{page.name} says {line}, which no test runs"
                    program = sys.executable if words[0] == "python" else words[0]
                    subprocess.run([program, *words[1:]], check=True)


def example(page: str) -> tuple[str, str]:
    """The name and the text of the file that a how-to page has its reader write."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    name = re.search(r"nlp_transfer/(?:tasks|methods)/(?!__init__)(\w+)\.py", text)
    python = [code for kind, code in blocks(ROOT / "docs" / f"{page}.md") if kind == "python"]
    assert name
    return name[1], max(python, key=len)


@pytest.mark.parametrize("page", ["add-a-task", "add-a-method"])
def test_a_member_that_a_page_adds_is_found_and_works(
    page: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tasks if page == "add-a-task" else methods
    name, text = example(page)
    assert name not in package.names(), "the example has become a member: take another one"
    (work / "members").mkdir()
    (work / "members" / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(work / "members")])
    assert name in package.names()
    rows = ["text,label", *(f"row number {i},{('low', 'normal', 'high')[i % 3]}" for i in range(60))]
    (work / "urgency.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = [
        line for kind, code in blocks(ROOT / "docs" / f"{page}.md") if kind == "console" for line in commands(code)
    ]
    trained = [line for line in lines if line.startswith("nlp-transfer train")]
    assert trained
    for line in trained:
        assert cli.main([*shlex.split(line)[1:], "--train.max_steps", "2"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("task", samples.names())
def test_the_demo_ends_with_answers(task: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--task", task]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^Test (accuracy|micro f1|pearson correlation|f1) -?[0-9.]+ \(95 % ", printed, re.MULTILINE)
    assert (work / "runs" / f"demo-{task}" / "report.html").is_file()


def test_the_demo_compares_methods_and_answers(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(demo.COMPARED, "epochs", 0.5)
    assert cli.main(["demo"]) == 0
    printed = capsys.readouterr().out
    for method in demo.METHODS:
        assert re.search(
            rf"^{method} +\d+\.\d\d +\d+\.\d\d to \d+\.\d\d +[\d.]+ \w+ +[\d.]+ \w+$", printed, re.MULTILINE
        )
    lines = printed.splitlines()
    header = next(line for line in lines if "accuracy  " in line)
    [longest] = [line for line in lines if line.startswith("frozen features + logistic regression ")]
    assert len(longest) == len(header), "figures stand under their titles"
    for text in demo.TEXTS["classification"]:
        assert text in printed
    assert "runs/demo/report.html" in printed
    assert (work / "runs/demo/report.html").is_file()
    seen = Console(width=80, file=io.StringIO())
    seen.print(Display(work / "runs/demo", [*demo.METHODS, "ia3", "bitfit"], "accuracy", 5))
    assert "so far" in seen.file.getvalue()
    assert "done" not in seen.file.getvalue(), "what lay there before is not this comparison"
    display = Display(work / "runs/demo", [*demo.METHODS, "ia3", "bitfit"], "accuracy", 5)
    display.started = 0
    seen.print(display)
    assert seen.file.getvalue().count("done") == 4
    assert "getting ready" in seen.file.getvalue()


@pytest.mark.parametrize("words", [[], ["--task", "sentiment"]], ids=["methods", "sentiment"])
def test_a_demo_replaces_no_work_of_yours(
    words: list[str], work: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"--task": "sentiment", "--data": "reviews.csv", "--model": str(tiny_bert), "--output": "runs/mine"}
    flags = [word for pair in {**known, "--train.max_steps": "1"}.items() for word in pair]
    alone = ["--methods", "head", "--seeds", "0", "--trials", "1", "--no-forgetting", "--engine", "here"]
    assert cli.main(["train", *flags] if words else ["compare", *flags, *alone]) == 0
    before = {file: file.read_bytes() for file in (work / "runs").rglob("*") if file.is_file()}
    capsys.readouterr()
    assert cli.main(["demo", *words, "--output", "runs/mine"]) == 2
    said = capsys.readouterr().err
    assert "runs/mine holds a" in said
    assert "name another folder with --output" in said
    assert {file: file.read_bytes() for file in (work / "runs").rglob("*") if file.is_file()} == before


def test_a_demo_replaces_the_one_before_it_where_it_was_sent(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(demo.COMPARED, "epochs", 0.1)
    monkeypatch.setitem(demo.RECIPES, "sentiment", {"task": "sentiment", "train": {"max_steps": 1}})
    monkeypatch.setenv("HOME", str(ROOT))  # as where an environment lies in the home folder
    for _ in range(2):
        assert cli.main(["demo", "--output", "elsewhere"]) == 0, capsys.readouterr().err
        assert "elsewhere/report.html" in capsys.readouterr().out
        assert cli.main(["demo", "--task", "sentiment", "--output", "sentiment"]) == 0, capsys.readouterr().err
    assert (work / "sentiment" / "report.html").is_file()
    assert not (work / "runs").exists()
    assert cli.main(["demo", "--output", "sentiment"]) == 2
    assert "name another folder with --output" in capsys.readouterr().err


RECIPES = sorted(set((ROOT / "recipes").glob("*.py")) - {ROOT / "recipes" / "compare_methods.py"})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_answers_on_its_sample(
    recipe: Path, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(recipe), "--train.max_steps", "2", "--output", "runs/recipe"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(recipe), run_name="__main__")
    assert ended.value.code == 0
    first, *answers = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"test [\w ]+ -?\d\.\d{3}, run in runs/recipe", first)
    assert len([line for line in answers if not line.startswith("  ")]) == 2, (
        "a line each; what follows a question is set in"
    )


def test_the_recipe_of_a_comparison_prints_every_run(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "head", "--seeds", "0,1", "--trials", "1", "--train.max_steps", "2", "--no-baselines"]
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", *words, "--no-forgetting", "--output", "runs/compare"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "recipes" / "compare_methods.py"), run_name="__main__")
    assert ended.value.code == 0
    *runs, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in runs] == ["head, seed 0", "head, seed 1"]
    assert last == "all of it in runs/compare"


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_table_of_settings_is_that_of_the_program() -> None:
    from nlp_transfer.members import settings
    from nlp_transfer.training.settings import TrainSettings

    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for setting in settings(TrainSettings):
        assert re.search(rf"^\| `{setting.name}` \|.*{re.escape(' '.join(setting.help.split()))}", text, re.MULTILINE)


@pytest.fixture
def speed_table(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's writer of tables."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("speed_table")


def test_the_table_of_speeds_is_that_of_the_files(speed_table: Any) -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert speed_table.MARK.search(text)
    assert speed_table.filled(text) == text, "run python benchmarks/speed_table.py"


def test_a_table_of_speeds_says_what_files_say(speed_table: Any, tmp_path: Path) -> None:
    text = "before\n<!-- table: speed -->\nold\n<!-- end -->\nafter\n"
    assert "Not measured yet." in speed_table.filled(text, tmp_path)
    held = {"peak_rss_bytes": 2e9, "peak_device_bytes": None, "share_of_matrix_limit": 0.5, "precision": "fp32"}
    machine = {"device_name": "a chip", "threads": 2, "versions": {"torch": "2", "transformers": "5"}}
    where = {"environment": machine, "matrix_limit_flops": {"fp32": 1.5e11}}
    trained = {
        "contenders": {
            "trainer-examples": {**held, "samples_per_second": 8.0, "median_step_seconds": 3.2},
            "trainer-best": {**held, "samples_per_second": 100.0, "median_step_seconds": 0.3},
            "ours": {**held, "samples_per_second": 150.0, "median_step_seconds": 0.2},
        },
        "settings": {"batch_size": 32},
        "ratios": {
            "trainer-examples": {"training": 15.0, "step": 16.0},
            "trainer-best": {"training": 1.5, "command": 1.25, "score_difference": -0.004},
        },
    }
    predicted = {
        "contenders": {
            name: {**held, "rows_per_second": speed, "command_seconds": 600 / speed, "same_label_as_ours": 1.0}
            for name, speed in (("pipeline", 20.0), ("batched", 200.0), ("ours", 300.0))
        },
        "ratios": {"pipeline": 15.0, "batched": 1.5},
    }
    in_fp32 = {**trained, "settings": {"batch_size": 16}, "warm_up_steps": 3}
    for name, result in (("full-sst2", trained), ("full-sst2-fp32", in_fp32), ("predict", predicted)):
        (tmp_path / f"speed-{name}.json").write_text(json.dumps({**where, **result}), encoding="utf-8")
    found = speed_table.filled(text, tmp_path)
    assert found.startswith("before\n<!-- table: speed -->\n| case |")
    speeds = "10 rows/s | 100 rows/s | 150 rows/s | 3,200, 300, 200 | 15.00x | 1.50x | 1.25x"
    assert f"| `full-sst2` | {speeds} | 50% | 2.0 GB, 2.0 GB | -0.4 |" in found
    assert "Without a process to warm up: `full-sst2`." in found
    assert "| `predict` | 20 rows/s | 200 rows/s | 300 rows/s |  | 15.00x | 1.50x | 1.50x | 50% |" in found
    assert found.count("a chip, threads 2, fp32; torch 2, transformers 5; matrix limit 150 GFLOP/s.") == 1
    assert speed_table.filled(found, tmp_path) == found
    found = speed_table.filled(text.replace("speed", "fp32"), tmp_path)
    assert f"| `full-sst2` | {speeds.replace('10', '5', 1)} | 50% |" in found
    assert "predict" not in found
    assert "warm up" not in found


def test_tables_of_growth_reuse_and_steps_say_what_files_say(speed_table: Any, tmp_path: Path) -> None:
    text = "".join(f"<!-- table: {name} -->\nold\n<!-- end -->\n" for name in ("growth", "reuse", "steps", "floor"))
    assert speed_table.filled(text, tmp_path).count("Not measured yet.") == 4
    machine = {"device_name": "a chip", "threads": 2, "versions": {"torch": "2", "transformers": "5"}}
    run = {"rows": 1120, "tokens_per_row": 16, "train_seconds": 3.25, "peak_rss_bytes": 2e9, "peak_device_bytes": None}
    after = {"steps": 30, "rows": 1000, "seconds": 1.6}
    runs = {"rows": [{**run, "after_first_steps": None}], "lengths": [{**run, "after_first_steps": after}]}
    times = {
        kind: {"train_seconds": train, "total_seconds": train + 5.0}
        for kind, train in (("without", 30.0), ("first", 31.0), ("second", 20.0))
    }
    steps = {
        "full": {"step_seconds": {"as it is": 0.2, "other": 0.1}, "shares": {"products": 0.64}},
        "lora": {"step_seconds": {"as it is": 0.15}, "shares": {"products": 0.5}},
    }
    floor = {"last_third_mean": 0.025, "last_third_median": 0.02}
    files = {
        "growth": runs,
        "reuse": {"rows": 10000, "epochs": 3.0, "cases": {"freeze": times}},
        "step-costs": {"batch_size": 32, "methods": steps},
        "step-floor": {"ways": {"loop": {**floor, "seconds": 20.0}, "by hand": {**floor, "seconds": 15.0}}},
        "speed-freeze-sst2": {"contenders": {"trainer-best": {"train_seconds": 50.0}, "ours": {"train_seconds": 25.0}}},
    }
    for name, result in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**result, "environment": machine}), encoding="utf-8")
    found = speed_table.filled(text, tmp_path)
    assert "| 1,120 | 16 | 3.2 s |  | 2.0 GB |\n| 1,120 | 16 | 3.2 s | 100 | 2.0 GB |" in found
    assert "| `freeze` | 30.0 s of 35.0 s | 31.0 s of 36.0 s | 20.0 s of 25.0 s |" in found
    assert "| as it is | 200 ms | 150 ms |\n| other | 100 ms |  |\n| of PyTorch's step: products | 64% | 50% |" in found
    assert "| loop | 20.0 s | 25.0 ms | 20.0 ms |\n| by hand | 15.0 s |" in found
    assert "5.0 of 25.0, `freeze-sst2` would have 2.50 times" in found
    assert found.count("a chip, threads 2; torch 2, transformers 5.") == 4
    assert speed_table.filled(found, tmp_path) == found
