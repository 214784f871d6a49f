"""The page of the project's own comparison says what the files of results say."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from nlp_transfer import methods
from nlp_transfer.comparison.conclusion import conclude
from nlp_transfer.training.settings import TrainSettings
from tests.conftest import shared

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
    assert {name for _, name, _, _ in writer.MARK.findall(page)} == {
        *writer.CASES,
        "claims",
        "tasks",
        "answers",
        "rates",
    }
    for file, text in writer.files(page, writer.results(writer.FOLDER)).items():
        there = (DOCS / file).read_text(encoding="utf-8")
        same = there == text if file.endswith(".md") else words(there) == words(text)
        assert same, f"{file}: run python benchmarks/methods_page.py"


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="the kernels called by hand are oneDNN's")
@pytest.mark.parametrize("tokens", [3, 13, 20])
def test_steps_by_hand_have_the_gradients_of_autograd(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    floor: Any = importlib.import_module("step_floor")
    torch.manual_seed(0)
    assert 0 < floor.furthest_gradient(rows=8, tokens=tokens) < floor.OFF


def test_no_result_names_a_folder_of_the_machine() -> None:
    files = [file for file in (ROOT / "benchmarks/results").rglob("*") if file.suffix in (".json", ".jsonl")]
    assert files
    for file in files:
        found = re.search(r'["\s(](/\w+/[^"\s]*)', file.read_text(encoding="utf-8"))
        assert found is None, f"{file}: {found and found[1]}"


Runs = dict[str, list[float | None]]

RUNS: Runs = {
    "full": [0.90, 0.91, 0.92, 0.90, 0.91],
    "lora": [0.90, 0.91, 0.915, 0.90, 0.91],
    "adapter": [0.80, 0.81, 0.80, 0.82, 0.80],
}
LEARN = {"full": 1000, "lora": 10, "adapter": 36}
METHODS = "full,lora,adapter"


@pytest.fixture
def keep(
    writer: Any, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Makes what the benchmark keeps of a comparison whose figures are known."""

    def kept(
        runs: Runs = RUNS,
        methods: str = METHODS,
        learn: dict[str, int] = LEARN,
        baselines: dict[str, float] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        folder = make_folder(runs, baselines, **more)
        protocol = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
        places = {"source": str(tmp_path), "validation": None, "test": None}
        protocol |= {"recipe": {"data": places, "train": {"max_steps": None, "epochs": 3.0}}, "trial_rows": 1000}
        protocol["candidates"] = [{"label": name, "method": {}, "model": {"name": "minilm"}} for name in runs]
        (folder / "protocol.json").write_text(json.dumps(protocol), encoding="utf-8")
        lines = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
        for line in lines:
            if line["candidate"] in learn and line["status"] == "finished":
                line["costs"] = {**line.get("costs", {}), "trainable": learn[line["candidate"]], "head": 6}
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        conclude(folder)
        benchmark = importlib.import_module("methods")
        case = replace(benchmark.CASES["trec"], methods=methods)
        monkeypatch.setitem(benchmark.CASES, "trec", case)
        monkeypatch.setattr(benchmark, "FOLDER", tmp_path / "kept")
        benchmark.keep("trec", case, folder, [2])
        return writer.results(tmp_path / "kept")

    return kept


Keep = Callable[..., dict[str, Any]]


def test_what_is_kept_of_a_comparison_has_no_paths_and_no_texts(keep: Keep, tmp_path: Path) -> None:
    kept = keep()
    text = json.dumps(kept["trec"])
    assert str(tmp_path) not in text
    assert "inside" not in kept["trec"]["analysis"]
    assert len(kept["trec"]["lines"]) == 3 + 15
    assert kept["trec"]["workers"] == [2]
    assert kept["trec"]["missing"] == {"methods": [], "seeds": []}
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", kept["trec"]["environment"].get("commit", "0" * 40))


def test_a_page_is_made_of_what_was_kept(writer: Any, keep: Keep) -> None:
    kept = keep()
    page = "".join(f"<!-- figures: {name} -->\nold\n<!-- end -->\n" for name in ("claims", "trec", "sst2"))
    found = writer.files(page, kept)
    assert found.keys() == {"benchmarks.md", "benchmarks/trec.svg"}
    text = found["benchmarks.md"]
    assert "old" not in text
    assert text.count("Not measured yet.") == 1
    assert "; 5 seeds; " in text
    assert "| `full` | 0.0001 | 5 | 90.80 |" in text
    assert "| `lora` | 0.0001 | 5 | 90.70 |" in text
    assert re.search(r"\d cores, runs at once: 2; torch", text)
    assert re.search(r"\| `lora` \| 5 \| 1\.0% \| -0\.10 \| .* \| undecided \|", text), "the mean alone is within 0.4"
    assert re.search(r"\| `adapter` \| 5 \| 3\.6% \| -10\.20 \| .* \| refuted \|", text)
    assert "of 2: 0 shown, 1 refuted, 1 undecided, 0 no score. Of those shown, 0 with 3.6 %" in text
    assert "lora" in words(found["benchmarks/trec.svg"])
    assert writer.files(text, kept)["benchmarks.md"] == text


def test_rates_from_fewer_rows_stand_beside_those_from_all(writer: Any) -> None:
    def trial(name: str, rate: float, accuracy: float) -> dict[str, Any]:
        scores = {"validation": {"accuracy": accuracy}}
        return {"kind": "trial", "candidate": name, "learning_rate": rate, "scores": scores}

    def run(name: str, rate: float) -> dict[str, Any]:
        return {"kind": "run", "candidate": name, "learning_rate": rate, "scores": {}}

    trials = [trial("full", 1e-4, 0.95), trial("full", 3e-4, 0.91), trial("lora", 1e-3, 0.94)]
    every = {"lines": [*trials, run("full", 1e-4), run("full", 1e-4), run("lora", 1e-3)]}
    fewer = {
        "case": {"methods": "full,lora,adapter"},
        "lines": [trial("full", 3e-4, 0.8), run("lora", 9e-3), run("full", 3e-4)],
        "protocol": {"trial_rows": 1000},
    }
    text = writer.rates_table({"trec": every, "trec-trials": fewer})
    assert "rate by 1,000 rows" in text
    assert "| `full` | 0.0003 | 91.0 | 0.0001 | 95.0 |" in text, "the score with all rows, at the rate from fewer"
    assert text.index("`full`") < text.index("`lora`"), "as the case has them"
    assert "| `lora` | 0.009 | - | 0.001 | 94.0 |" in text, "a rate that was not tried with all rows"
    assert writer.rates_table({"trec": every}) == "Not measured yet.\n"


def test_a_tuner_within_what_was_claimed_may_have_too_many_weights(writer: Any, keep: Keep) -> None:
    better = [0.96, 0.965, 0.97, 0.96, 0.96]
    runs = {"full": RUNS["full"], "lora": better, "adapter": better}
    text = writer.claims(keep(runs, learn={**LEARN, "lora": 200}))
    assert re.search(r"\| `lora` \| 5 \| 20\.0% \| \+5\.\d\d \| .* \| shown \|", text)
    assert re.search(r"\| `adapter` \| 5 \| 3\.6% \| \+5\.\d\d \| .* \| shown \|", text)
    assert "of 2: 2 shown, 0 refuted, 0 undecided, 0 no score. Of those shown, 1 with 3.6 %" in text


def test_what_diverged_stands_on_the_page_and_is_counted(writer: Any, keep: Keep) -> None:
    kept = keep({**RUNS, "lora": [0.90, 0.91, None, None, None], "adapter": [None] * 5})
    text = writer.section("trec", kept["trec"])
    assert "; 5 seeds, 8 of 15 runs without a score; " in text
    assert "| `lora` | 0.0001 | 2 of 5; 3 diverged | 90.50 |" in text
    assert "| `adapter` | 0.0001 | 0 of 5; 5 diverged | - |" in text
    assert text.index("`full`") < text.index("`lora`") < text.index("`adapter`")
    text = writer.claims(kept)
    assert re.search(r"\| `lora` \| 2 of 5; 3 diverged \| 1\.0% \| [^|]+ \| [^|]+ \| undecided \|", text)
    assert "| `adapter` | 0 of 5; 5 diverged |  |  |  | no score |" in text
    assert "of 2: 0 shown, 0 refuted, 1 undecided, 1 no score." in text


def test_a_page_is_made_where_full_diverged_with_every_seed(writer: Any, keep: Keep) -> None:
    kept = keep({**RUNS, "full": [None] * 5})
    assert "| `full` | 0.0001 | 0 of 5; 5 diverged | - |" in writer.section("trec", kept["trec"])
    text = writer.claims(kept)
    assert re.search(r"\| `lora` \| 5 \|  \|  \|  \| no score \|", text)
    assert "of 2: 0 shown, 0 refuted, 0 undecided, 2 no score." in text


def test_a_part_of_a_case_is_called_partial_and_no_claim_rests_on_it(writer: Any, keep: Keep) -> None:
    kept = keep({"lora": RUNS["lora"][:2]}, reference="lora", seeds=[0, 1])
    assert kept["trec"]["missing"] == {"methods": ["full", "adapter"], "seeds": [2, 3, 4]}
    found = writer.files("<!-- figures: trec --><!-- end --><!-- figures: claims -->\nold\n<!-- end -->\n", kept)
    text = writer.section("trec", kept["trec"])
    assert text.startswith("Partial; not run yet: `full`, `adapter`, seed 2, seed 3, seed 4.\n\n")
    assert "| `lora` | 0.0001 | 2 | 90.50 |" in text
    assert "Left out until all of it has been run: TREC: kinds of questions." in found["benchmarks.md"]
    assert "shown" not in found["benchmarks.md"]


def test_intervals_end_where_scores_do(writer: Any, keep: Keep) -> None:
    kept = keep({"full": [0.99, 1.0, 0.97], "lora": [0.98, 1.0, 0.99]}, methods="full,lora", rows=100)
    analysis = writer.built(writer.Analysis, kept["trec"]["analysis"])
    assert any(entry.spread.interval[1] > 1 for entry in analysis.sizes[0].entries)
    text = writer.section("trec", kept["trec"])
    assert " to 100.00 |" in text
    assert not re.search(r"to 10\d\.(?!00)", text)
    assert not re.search(r"to 10[1-9]", writer.by_size(analysis, writer.Scale.of(analysis)))


def test_workers_are_those_of_every_call_that_added_runs(
    writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = importlib.import_module("methods")
    case, folder, adds = benchmark.CASES["trec"], tmp_path / "trec", True

    def run(*_: Any, **__: Any) -> Any:
        folder.mkdir(exist_ok=True)
        with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write("{}\n" if adds else "")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    assert benchmark.compared(case, tmp_path, folder, 2) == [2]
    assert benchmark.compared(case, tmp_path, folder, 1) == [1, 2]
    adds = False
    assert benchmark.compared(case, tmp_path, folder, 4) == [1, 2]


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


@pytest.mark.usefixtures("writer")
def test_results_have_the_commit_of_the_code_that_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = importlib.import_module("common")
    monkeypatch.setattr(common, "HERE", tmp_path / "benchmarks")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    described = common.describe_environment.__wrapped__  # without its memory
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    assert "commit" not in described()
    code, result = (tmp_path / "benchmarks" / name for name in ("code.py", "results/case.json"))
    code.write_text("1\n", encoding="utf-8")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    commit = described()["commit"]
    assert re.fullmatch("[0-9a-f]{40}", commit)
    result.write_text("{}\n", encoding="utf-8")
    assert described()["commit"] == commit, "what a benchmark writes is no code"
    code.write_text("2\n", encoding="utf-8")
    assert described()["commit"] == f"{commit}-dirty"


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize("auto", [AutoModelForSequenceClassification, AutoModelForQuestionAnswering])
@pytest.mark.parametrize(
    "method",
    [{"name": "full"}, {"name": "head"}, {"name": "freeze", "lowest": 1}, {"name": "lora"}, {"name": "adapter"}],
    ids=lambda method: method["name"],
)
def test_the_peer_trains_the_weights_that_a_method_trains(auto: Any, method: dict[str, Any], tiny_bert: Path) -> None:
    peer = importlib.import_module("peer_methods")
    theirs = peer.apply(auto.from_pretrained(tiny_bert), method)
    settings = {name: value for name, value in method.items() if name != "name"}
    model = auto.from_pretrained(tiny_bert)
    head = [name for name, _ in model.named_parameters() if name.startswith(("classifier", "qa_outputs"))]
    ours = methods.find(method["name"])(**settings).settled(TrainSettings()).apply(model, head)
    assert peer.learning(theirs) == peer.learning(ours) > 0
    if method["name"] in ("lora", "adapter"):
        where = {"target_modules", "modules_to_save", "task_type", "fan_in_fan_out", "base_model_name_or_path"}
        told = [{**each.peft_config["default"].to_dict()} for each in (theirs, ours)]
        assert {name: told[0][name] for name in told[0].keys() - where} == {
            name: told[1][name] for name in told[1].keys() - where
        }


@pytest.mark.usefixtures("writer")
def test_cases_of_speed_have_the_rates_of_their_tuners() -> None:
    cases = importlib.import_module("speed_cases").CASES
    tuned = [case for case in cases.values() if case.method["name"] in ("lora", "adapter")]
    assert len(tuned) >= 3
    for case in tuned:
        assert case.learning_rate == methods.find(case.method["name"]).default_learning_rate


@pytest.mark.usefixtures("writer")
def test_the_first_rows_of_every_case_of_speed_have_several_labels() -> None:
    speed, common = importlib.import_module("speed"), importlib.import_module("common")
    data = shared("data")
    for name in speed.CASES:
        for quick in (False, True):
            asked = SimpleNamespace(quick=quick, limit=None, epochs=None, whole=False, precision="auto", rounds=None)
            _, case = speed.chosen(name, asked)
            assert not quick or case.limit <= speed.QUICK_ROWS
            if case.task == "qa":
                continue
            with common.first_rows(data / case.data, case.limit, case.judged, case.everywhere) as folder:
                lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
            assert len(lines) == case.limit
            for rows in (lines, lines[: speed.WARM_UP["limit"]]):
                assert len({json.loads(line)["label"] for line in rows}) > 1, name


@pytest.mark.usefixtures("writer")
def test_contenders_that_train_other_weights_end_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    speed = importlib.import_module("speed")
    speed.refuse_different_weights("lora-sst2", {"ours": {"trainable": 7}, "trainer-best": {"trainable": 7}})
    with pytest.raises(SystemExit):
        speed.refuse_different_weights("lora-sst2", {"ours": {"trainable": 7}, "trainer-best": {"trainable": 8}})
    assert "different numbers of weights: ours 7, trainer-best 8" in capsys.readouterr().err


@pytest.mark.usefixtures("writer")
def test_the_trainer_as_in_the_examples_is_compared_by_its_median_step() -> None:
    """Its first step, which reads everything from disk, weighs nothing."""
    speed = importlib.import_module("speed")
    rounds = [
        {
            "trainer-examples": {"samples_per_second": 1.0, "median_step_seconds": 3.2, "steps": 2},
            "trainer-best": {**best, "median_step_seconds": 0.4, "steps": 100, "command_seconds": 20.0, "score": 0.9},
            "ours": {**ours, "median_step_seconds": 0.2, "steps": 100, "command_seconds": 10.0, "score": 0.9},
        }
        for best, ours in [({"samples_per_second": 80.0}, {"samples_per_second": 160.0})]
    ]
    found = speed.ratios(rounds, rounds[0], 32)
    assert found["trainer-examples"] == {"training": 16.0, "step": pytest.approx(16.0)}
    assert found["trainer-best"] == {"training": 2.0, "step": 2.0, "command": 2.0, "score_difference": 0.0}


@pytest.mark.usefixtures("writer")
def test_speed_after_the_first_steps_leaves_them_out() -> None:
    after_first = importlib.import_module("ours").after_first
    # five steps of 32 rows in 10 s, then one a second; the last has 8 rows
    seconds = {1: 6.0, 5: 10.0, 6: 11.0, 10: 15.0}
    rows = {1: 32, 5: 160, 6: 192, 10: 296}
    lines = [{"step": step, "loss": 1.0, "rows_per_second": rows[step] / seconds[step]} for step in rows]
    found = after_first([*lines, {"step": 10, "validation": {}}], 296, 32)
    assert found == {"steps": 5, "rows": 136, "seconds": pytest.approx(5.0)}
    assert after_first(lines[:2], 296, 32) is None


@pytest.mark.usefixtures("writer")
def test_a_contender_that_answers_otherwise_ends_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    speed = importlib.import_module("predict_speed")
    assert speed.positive({"label": "negative", "probability": 0.9}) == pytest.approx(0.1)
    ours = {row: (0.1, 0.9)[row % 2] for row in range(100)}
    near = {row: ours[row] + 0.02 for row in (0, 1, 2, 3)}
    positives = {"ours": ours, "near": near, "other": {**ours, 0: 0.9, 1: 0.1}}
    found = speed.agreement("predict-bf16", "near", "bf16", positives)
    assert found["same_label_as_ours"] == 1.0
    assert found["probability_apart"] == {"median": pytest.approx(0.02), "most": pytest.approx(0.02)}
    for contender, precision in (("near", "fp32"), ("other", "bf16")):
        with pytest.raises(SystemExit):
            speed.agreement("predict", contender, precision, positives)
        assert f"{contender} answers otherwise than ours" in capsys.readouterr().err


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize(("accuracy", "ends"), [(0.55, True), (0.8, False)])
def test_a_run_that_answers_all_alike_ends_the_benchmark(
    accuracy: float, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = importlib.import_module("predict_speed")
    for split in ("train", "validation", "test"):
        lines = (json.dumps({"text": "a", "label": ("positive", "negative")[i % 2]}) for i in range(20))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def train(*_: Any, **__: Any) -> Any:
        (tmp_path / "run").mkdir()
        report = {"scores": {"validation": {"accuracy": accuracy}}}
        (tmp_path / "run" / "report.json").write_text(json.dumps(report), encoding="utf-8")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(speed.subprocess, "run", train)
    if ends:
        with pytest.raises(SystemExit):
            speed.a_run(tmp_path, tmp_path)
        assert "does not tell labels apart: accuracy 0.550, the majority 0.500" in capsys.readouterr().err
    else:
        assert speed.a_run(tmp_path, tmp_path) == tmp_path / "run" / "model"


@pytest.mark.usefixtures("writer")
def test_reuse_alternates_its_order_and_ends_where_weights_differ(capsys: pytest.CaptureFixture[str]) -> None:
    reuse = importlib.import_module("reuse")
    places = [reuse.order(number).index("without") for number in range(4)]
    assert places == [0, 2, 0, 2]
    assert all(order.index("first") < order.index("second") for order in map(reuse.order, range(2)))
    same = [{kind: {"weights": "aa"} for kind in reuse.order(number)} for number in range(2)]
    reuse.refuse_different_weights("head", same)
    with pytest.raises(SystemExit) as ended:
        reuse.refuse_different_weights("head", [*same, {"second": {"weights": "bb"}}])
    assert ended.value.code == 1
    assert "round 2, second: bb" in capsys.readouterr().err


@pytest.mark.usefixtures("writer")
def test_growth_takes_enough_steps_at_every_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = importlib.import_module("growth")
    seen = []

    def run(script: str, settings: dict[str, Any]) -> dict[str, Any]:
        rows = len((Path(settings["data"]) / "train.jsonl").read_text(encoding="utf-8").splitlines())
        seen.append(rows / settings["batch_size"])
        after = {"steps": 30, "rows": 960, "seconds": 9.6}
        return {"train_seconds": 50.0, "peak_rss_bytes": 1, "after_first_steps": after}

    monkeypatch.setattr(growth, "single_words", lambda _: [f"word{i}" for i in range(50)])
    monkeypatch.setattr(growth, "in_fresh_process", run)
    asked = SimpleNamespace(rows=[], lengths=[16, 512], steps=growth.STEPS, model="minilm", method="full")
    found = growth.measured(asked)
    assert growth.STEPS >= 30
    assert seen == [growth.FIRST + growth.STEPS] * 2
    assert [each["tokens_per_row"] for each in found["lengths"]] == [16, 512]
    assert growth.pace(found["lengths"][0]) == pytest.approx(625.0)


@pytest.mark.usefixtures("writer")
def test_answers_of_the_peer_end_where_their_window_does() -> None:
    qa_peer = importlib.import_module("qa_peer")
    pairs = [[-1, -1], [0, 3], [4, 9]]
    # a window of three tokens, in a batch of fifty
    scored = np.full(50, 7.0)
    scored[:3] = [0.0, 1.0, 2.0]
    found = {(start, end) for start, end, _ in qa_peer.pieces(scored, scored, pairs)}
    assert found == {(1, 1), (1, 2), (2, 2)}
