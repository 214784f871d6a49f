"""The page of the project's own comparison says what the files of results say."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nlp_transfer import methods
from nlp_transfer.comparison.conclusion import conclude

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's writer of the page."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("NLP_TRANSFER_CACHE", "off")
    return importlib.import_module("methods_page")


def words(drawing: str) -> list[str]:
    """What is written in a drawing; how fonts lay it out is another machine's matter."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing)


def test_the_page_and_its_plots_are_those_of_the_files(writer: Any) -> None:
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert {name for _, name, _, _ in writer.MARK.findall(page)} == {*writer.CASES, "claims", "tasks", "answers"}
    for file, text in writer.files(page, writer.results(writer.FOLDER)).items():
        there = (DOCS / file).read_text(encoding="utf-8")
        same = there == text if file.endswith(".md") else words(there) == words(text)
        assert same, f"{file}: run python benchmarks/methods_page.py"


@pytest.fixture
def kept(
    writer: Any, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the benchmark keeps of a comparison whose figures are known."""
    runs = {
        "full": [0.90, 0.91, 0.92, 0.90, 0.91],
        "lora": [0.90, 0.91, 0.915, 0.90, 0.91],
        "adapter": [0.80, 0.81, 0.80, 0.82, 0.80],
    }
    folder = make_folder(runs)
    protocol = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    places = {"source": str(tmp_path), "validation": None, "test": None}
    protocol |= {"recipe": {"data": places, "train": {"max_steps": None, "epochs": 3.0}}, "trial_rows": 1000}
    (folder / "protocol.json").write_text(json.dumps(protocol), encoding="utf-8")
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    learn = {"full": 1000, "lora": 10, "adapter": 36}
    for line in lines:
        line["costs"] = {**line.get("costs", {}), "trainable": learn[line["candidate"]], "head": 6}
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    conclude(folder)
    benchmark = importlib.import_module("methods")
    monkeypatch.setattr(benchmark, "FOLDER", tmp_path / "kept")
    benchmark.keep("trec", benchmark.CASES["trec"], folder)
    return writer.results(tmp_path / "kept")


def test_what_is_kept_of_a_comparison_has_no_paths_and_no_texts(kept: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(kept["trec"])
    assert str(tmp_path) not in text
    assert "inside" not in kept["trec"]["analysis"]
    assert len(kept["trec"]["lines"]) == 3 + 15


def test_a_page_is_made_of_what_was_kept(writer: Any, kept: dict[str, Any]) -> None:
    page = "".join(f"<!-- figures: {name} -->\nold\n<!-- end -->\n" for name in ("claims", "trec", "sst2"))
    found = writer.files(page, kept)
    assert found.keys() == {"benchmarks.md", "benchmarks/trec.svg"}
    text = found["benchmarks.md"]
    assert "old" not in text
    assert text.count("Not measured yet.") == 1
    assert "| `full` | 0.0001 | 90.80 |" in text
    assert "| `lora` | 0.0001 | 90.70 |" in text
    assert "-0.10" in text
    assert re.search(r"\| `lora` \| 1\.0% \| -0\.10 \| .* \| yes \|", text)
    assert re.search(r"\| `adapter` \| 3\.6% \| -10\.20 \| .* \| no \|", text)
    assert "1 of 2 are within 0.4 points" in text
    assert "lora" in words(found["benchmarks/trec.svg"])
    assert writer.files(text, kept)["benchmarks.md"] == text


@pytest.mark.usefixtures("writer")  # the folder of benchmarks stands on the path
def test_the_table_of_tasks_has_means_with_their_seeds_and_leaves_trials_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        ("rte", "ours", 0, {}, 0.5),
        ("rte", "ours", 1, {}, 0.6),
        ("rte", "ours", 2, {"max_steps": 3}, 0.1),
        ("rte", "trainer", 0, {}, 0.56),
        ("rte-lora", "ours", 0, {}, 0.58),
        ("mrpc-lora", "ours", 0, {}, 0.77),
    ]
    names = ("case", "contender", "seed", "settings", "figures")
    file = tmp_path / "scores.jsonl"
    usual = {
        name: {**asdict(case), "precision": "auto"}
        for name, case in importlib.import_module("task_scores").CASES.items()
    }
    lines = [
        dict(zip(names, (*run[:3], usual[run[0]] | run[3], {"scores": {"accuracy": run[4]}}), strict=True))
        for run in runs
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    table = importlib.import_module("task_table")
    monkeypatch.setattr(table, "FILE", file)
    [row] = [line for line in table.tasks_table().splitlines() if "RTE" in line or "MRPC" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [
        "accuracy",
        "0.550 (0.500 to 0.600, 2 seeds)",
        "0.560",
        "0.580",
        "",
        "",
        "",
    ]
    file.unlink()
    assert table.tasks_table() == "Not measured yet.\n"


@pytest.mark.usefixtures("writer")
def test_the_table_of_answers_has_means_over_seeds_and_no_run_of_another_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = importlib.import_module("qa_cases")
    written = importlib.import_module("qa_table")
    monkeypatch.setattr(cases, "FILE", tmp_path / "qa.jsonl")
    assert written.TITLES.keys() == cases.CASES.keys()
    assert written.answers_table() == "Not measured yet.\n"
    runs = [("wiki", 1, {}, 0.62, 0.5), ("wiki", 0, {}, 0.60, 0.4), ("wiki-lora", 0, {"epochs": 1}, 0.3, None)]
    with cases.FILE.open("w", encoding="utf-8") as file:
        for case, seed, other, f1, amazon in runs:
            figures = {"test": {"exact_match": f1 - 0.1, "f1": f1}, "cpu_seconds": 1000.0 + seed}
            figures |= {"transfer": {"f1": amazon}} if amazon else {}
            line = {"case": case, "seed": seed, "definition": asdict(cases.CASES[case]) | other, "figures": figures}
            file.write(json.dumps(line) + "\n")
    [*_, row] = written.answers_table().splitlines()
    assert row == "| new Wikipedia, `full` | 51.0 | 61.0 | 60.0, 62.0 |  |  | 45.0 | 1,000 |"
    assert "lora" not in written.answers_table()


@pytest.fixture
def method_table(writer: Any) -> Any:  # which has put the folder of benchmarks on the path
    """The benchmark's writer of the tables of methods."""
    return importlib.import_module("method_table")


def test_the_tables_of_methods_are_those_of_the_file(method_table: Any) -> None:
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert [case for _, case, _, _ in method_table.MARK.findall(text)] == ["trec", "sst2-5000", "trec-gpt"]
    runs = method_table.finished(method_table.FILE)
    assert method_table.filled(text, runs) == text, "run python benchmarks/method_table.py"


def test_a_table_of_methods_takes_the_rate_that_validation_likes_best(method_table: Any) -> None:
    costs = {"total": 2000, "stored_bytes": 1500, "cpu_seconds": 7.0}
    text = "<!-- table: trec -->\nold\n<!-- end -->\n"
    runs = {}
    for method, trainable in (("full", 2000), ("lora", 30), ("adapter-pfeiffer-relu", 10)):
        low, middle, high = method_table.trial_rates("trec", method)
        for rate, seed, validation, test in (
            (low, 0, 0.5, 0.99),
            (middle, 0, 0.7, 0.60),
            (high, 0, 0.6, 0.99),
            (middle, 1, 0.1, 0.62),
            (middle, 2, 0.1, 0.64),
        ):
            figures = {"validation": validation, "test": test, "trainable": trainable, **costs}
            runs["trec", method, rate, seed] = figures
    rate = f"{method_table.trial_rates('trec', 'lora')[1]:.0e}".replace("e-0", "e-")
    found = method_table.filled(text, runs)
    assert f"| `lora` | {rate} | 62.0 ± 2.0 | 30 (1.5 %) | 7 | 1,500 |\n" in found
    assert "| 62.0 ± 2.0 | 2,000 | 7 | 1,500 |" in found
    assert "relu" not in found
    del runs["trec", "lora", method_table.trial_rates("trec", "lora")[1], 2]
    assert "lora" not in method_table.filled(text, runs)
    assert "Not measured yet." in method_table.filled(text, {})


def test_the_table_of_all_methods_has_their_default_rates_and_what_was_measured(method_table: Any) -> None:
    """Weights that learn and bytes on disk are those of the runs on TREC, rounded."""
    runs = {
        method: figures
        for (case, method, *_), figures in method_table.finished(method_table.FILE).items()
        if case == "trec"
    }
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| ([\d.]+ [kM]) \| ([\de.-]+) \|[^|]+\|[^|]+\| ([\d.]+ [kM]B) \|", text, re.MULTILINE
    )
    assert {name for name, *_ in found} == {*methods.names()}
    for name, weights, rate, disk in found:
        assert float(rate) == methods.find(name).default_learning_rate, name
        run = runs["adapter-pfeiffer" if name == "adapter" else name]
        assert near(weights, run["trainable"]), name
        assert near(disk.removesuffix("B"), run["stored_bytes"]), name


def near(said: str, value: float) -> bool:
    """Whether a number in thousands or millions is what a value is rounded to."""
    number, unit = said.split()
    digits = len(number.partition(".")[2])
    return float(number) == round(value / {"k": 1e3, "M": 1e6}[unit], digits)
