"""What the README and the pages say, done: every command and every Python block, on a tiny model in place of `minilm`."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest

from nlp_transfer import backbone, cli, methods, samples, tasks
from nlp_transfer.comparison import engine

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
    monkeypatch.setattr(backbone, "_packaged", lambda _: str(tiny_bert))
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
    assert (work / "runs" / f"demo-{task}" / "report.json").is_file()


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
