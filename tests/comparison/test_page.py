"""The report of a comparison as a page: every number founded, every text escaped, readable on a phone and on a desk."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html import escape, unescape
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nlp_transfer import load_run, pages
from nlp_transfer.comparison import curves, drawing, plots
from nlp_transfer.comparison.analysis import analyse
from nlp_transfer.comparison.conclusion import conclude
from nlp_transfer.comparison.evidence import Evidence
from nlp_transfer.comparison.inside import front, look
from nlp_transfer.comparison.wording import Scale
from nlp_transfer.pages import MARKS, drawings, kept
from nlp_transfer.pages.plots import MARKERS, standalone
from nlp_transfer.report import titled
from tests.browser import started
from tests.pages import OVERFLOWING, faults, shown, unfounded

from .conftest import MakeFolder, maker

FULL = [0.900, 0.905, 0.895, 0.9025, 0.8975]
LORA = [0.8975, 0.905, 0.8925, 0.900, 0.900]
HEAD = [0.750, 0.760, None, 0.755, 0.745]
HOSTILE = "adapter:x=<script>alert(1)</script>"
LONG = "adapter:placement=houlsby,reduction_factor=16,activation=gelu"
TFIDF = "TF-IDF + logistic regression"
BROKEN = """
const broken = [];
for (const each of document.querySelectorAll('.confusion th bdi')) {
    const text = each.firstChild, range = document.createRange();
    for (const word of text.data.matchAll(/[^ ]+/g)) {
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) broken.push(word[0]);
    }
}
return broken;
"""
"""Words of a confusion matrix that stand on several lines."""

LABELS = [
    "</script><img src=x onerror=alert(1)>",
    "سلام",
    '$x_1$ & "quotes"',
    *(f"label number {i}" for i in range(17)),
]
TEXT = "<b>Not bold</b> &amp; not an entity </style><script src='http://example.org/x.js'></script>"


@pytest.fixture(scope="module", autouse=True)
def fewer_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drawing.draw, "__defaults__", (40, 0))
        yield


def keep(folder: Path, details: dict[str, Any] | None = None) -> None:
    """Give every run of a made comparison what a run keeps: a report and a log; and three trials to every candidate."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    more = []
    for line in lines:
        if line["kind"] == "trial":
            for rate, score in ((1e-5, 0.5), (1e-3, 0.7)):
                more.append({**line, "learning_rate": rate, "scores": {"validation": {"accuracy": score}}})
        if line["status"] != "finished" or line["kind"] != "run":
            continue
        (folder / line["folder"]).mkdir(parents=True, exist_ok=True)
        found = details or classes(line["scores"]["test"]["accuracy"])
        warning = {
            "kind": "same",
            "message": f"a text twice: {TEXT}",
            "count": 2,
            "rows": [f"{folder}/data/train.jsonl, line 3", "runs/old/data/train.jsonl, line 5"],
        }
        data: dict[str, Any] = {"warnings": [warning], "notes": ["column 'a' read as text."]}
        data["origins"] = {"train": "runs/old/data/train.jsonl"}
        report = kept.read(folder / line["folder"] / "report.json")
        data["columns"] = {"text": "text", "label": "label"}
        (folder / line["folder"] / "report.json").write_text(
            json.dumps({**report, "status": "finished", "details": {"test": found}, "data": data}), encoding="utf-8"
        )
        log = [{"step": step, "loss": 2 / step + 0.01 * line["seed"]} for step in range(1, 200)]
        judged = [{"step": step, "validation": {"accuracy": 0.5 + step / 1000}} for step in (66, 132, 199)]
        (folder / line["folder"] / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in log + judged))
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines + more), encoding="utf-8")


def classes(right: float) -> dict[str, Any]:
    """Details of a classifier of 20 labels."""
    scores = {
        name: {"precision": right, "recall": right, "f1": right - i / 100, "support": 20}
        for i, name in enumerate(LABELS)
    }
    rows = [[18 if i == j else int(j == (i + 1) % 20) * 2 for j in range(20)] for i in range(20)]
    wrong = {"place": 7, "text": TEXT, "gold": LABELS[1], "answer": LABELS[0], "confidence": 0.987}
    lengths = [
        {"characters": [1, 40], "rows": 200, "accuracy": right},
        {"characters": [41, 90], "rows": 200, "accuracy": 0.5},
    ]
    errors = {"wrong": 40, "most_confident": [wrong], "by_length": lengths}
    return {"per_class": scores, "confusion_matrix": {"labels": LABELS, "rows": rows}, "errors": errors}


@pytest.fixture(scope="module")
def rich(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that has everything: sizes, searches, baselines, long and hostile names, a run that diverged."""
    candidates = {"full": FULL, LONG: LORA, "head": HEAD, HOSTILE: LORA[::-1]}
    folder = maker(fitted, tmp_path_factory.mktemp("rich") / "compare")(
        {5000: candidates, 500: candidates}, {TFIDF: 0.7, "majority class": 0.4}, flags=["a flag of 3"]
    )
    keep(folder)
    conclude(folder)
    return folder


@pytest.fixture
def poor(make_folder: MakeFolder) -> Path:
    """A comparison of one seed, whose run folders hold next to nothing."""
    folder = make_folder({"full": FULL[:1], "head": HEAD[:1]})
    conclude(folder)
    return folder


def test_every_number_is_founded_and_every_text_escaped(rich: Path) -> None:
    page = rich / "report.html"
    assert unfounded(page, rich / "analysis.json", rich / "results.jsonl") == []
    source, texts = page.read_text(encoding="utf-8"), " ".join(shown(page).texts)
    assert "<script" not in source
    assert "<img" not in source
    assert source.count("</style>") == 1
    for each in (HOSTILE, LONG, TEXT, *LABELS, "a flag of 3", "the loss is nan | after step 3"):
        assert each in texts
    assert "data/train.jsonl, line 3" in texts
    assert "data/train.jsonl, line 5" in texts, "read when the folder was elsewhere"
    assert "· data/test.jsonl, line" in " ".join(texts.split())
    assert "are the comparison's own" in texts
    assert str(rich) not in texts
    assert f"load_run(&#34;{rich / 'runs'}" in source


def test_an_unfounded_number_would_be_seen(rich: Path, tmp_path: Path) -> None:
    source = (rich / "report.html").read_text(encoding="utf-8")
    page = tmp_path / "report.html"
    for old, new in (
        ("<h2", "<p>in 77 of 78 runs</p><h2"),
        (">90.00</data>", ">90.01</data>"),
        ('="0.9"', '="0.9001"'),
    ):
        assert old in source
        page.write_text(source.replace(old, new, 1), encoding="utf-8")
        assert unfounded(page, rich / "analysis.json", rich / "results.jsonl")


@pytest.mark.parametrize(
    ("old", "new"), [(" 15.00 points", " 15.37 points"), ("judged on 400", "judged on 401"), ("87 MB", "86 MB")]
)
def test_an_invented_number_in_the_verdict_would_be_seen(make_folder: MakeFolder, old: str, new: str) -> None:
    folder = make_folder({"full": FULL, "lora": LORA, "head": [*HEAD[:2], 0.74, *HEAD[3:]]}, {TFIDF: 0.7})
    conclude(folder)
    page, file, lines = folder / "report.html", folder / "analysis.json", folder / "results.jsonl"
    assert unfounded(page, file, lines) == []
    said = json.loads(file.read_text(encoding="utf-8"))
    assert old in str(said["verdict"])
    said["verdict"] = [each.replace(old, new) for each in said["verdict"]]
    file.write_text(json.dumps(said), encoding="utf-8")
    source = page.read_text(encoding="utf-8")
    page.write_text(
        source.replace(old, new).replace(old.replace(" p", "\u00a0p").replace(" M", "\u00a0M"), new), "utf-8"
    )
    assert unfounded(page, file, lines)


def test_the_same_figures_make_the_same_page(poor: Path) -> None:
    source = (poor / "report.html").read_bytes()
    conclude(poor)
    assert (poor / "report.html").read_bytes() == source


@pytest.fixture
def single(fitted: Path, tmp_path: Path) -> Path:
    """The page of a single run, of many labels and hostile texts."""
    folder = shutil.copytree(fitted, tmp_path / "single")
    report = kept.read(folder / "report.json")
    report["details"]["test"] = classes(0.9)
    report["data"]["origins"] = {"test": "rows/test.csv"}
    report["details"]["test"]["errors"]["unit"] = "line"
    report["data"]["warnings"] = [{"kind": "same", "message": TEXT, "count": 1, "rows": ["a.csv, line 3"]}]
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return load_run(folder).write_page()


def test_the_page_of_a_single_run_is_founded_and_escaped(single: Path, fitted: Path) -> None:
    assert unfounded(single, single.with_name("report.json"), single.with_name("log.jsonl")) == []
    source, texts = single.read_text(encoding="utf-8"), " ".join(shown(single).texts)
    assert "<script" not in source
    assert "<img" not in source
    assert all(each in texts for each in (TEXT, *LABELS, "By length of the text"))
    assert "Loss" in texts
    assert "· rows/test.csv, line" in " ".join(texts.split())
    assert f"load_run(&#34;{single.parent}&#34;)" in source


def test_a_browser_finds_nothing_wrong(rich: Path, poor: Path, single: Path, tmp_path: Path) -> None:
    with started(tmp_path) as browser:
        assert faults(browser, rich / "report.html") == []
        assert faults(browser, single, themes=(True,)) == []
        assert faults(browser, poor / "report.html", themes=(False,)) == []
        bad = tmp_path / "bad.html"
        source = (poor / "report.html").read_text(encoding="utf-8")
        added = "<h4></h4><div style='width: 5000px; color: #999'>wide</div><img src='http://127.0.0.1:9/x.png'>"
        bad.write_text(source.replace("<main", f"{added}<main"), encoding="utf-8")
        said = str(faults(browser, bad, themes=(False,)))
        for each in ("pixels too wide", "2.8", "what a data set brought", "Content Security Policy"):
            assert each in said, "it would have been seen"


def test_words_of_a_confusion_matrix_stay_whole_on_a_phone(fitted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fitted, tmp_path / "few")
    report = kept.read(folder / "report.json")
    labels = ["a label of very many words that somebody wrote", "technical & co", "delivery", "billing <b>", "returns"]
    matrix = {"labels": labels, "rows": [[4] * 5] * 5}
    report["details"]["test"] = {**classes(0.9), "confusion_matrix": matrix}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    page = load_run(folder).write_page()
    with started(tmp_path) as browser:
        browser.resize(390)
        browser.open(page)
        assert browser.run("return document.querySelectorAll('.confusion th bdi').length") == 10
        assert browser.run(BROKEN) == []
        assert browser.run(OVERFLOWING)[0] <= 0


def test_names_are_broken_between_their_settings() -> None:
    assert pages.name("adapter:placement=houlsby,dropout=0.1") == (
        "adapter:<wbr>placement=<wbr>houlsby,<wbr>dropout=<wbr>0.1"
    )
    assert pages.name("<b>:full:") == "&lt;b&gt;:<wbr>full:"


def test_on_paper_no_table_is_cut(make_folder: MakeFolder, tmp_path: Path) -> None:
    """Thirty labels, as many as a confusion matrix has, and twelve candidates beside each other."""
    labels = [f"label{i:02}" for i in range(30)]
    score = {"precision": 0.5, "recall": 0.5, "support": 20}
    folder = make_folder(
        {f"method{i}:placement=houlsby": FULL[:1] for i in range(12)}, reference="method0:placement=houlsby"
    )
    matrix = {"labels": labels, "rows": [[*range(100 + i, 129 + i), 5000 + i] for i in range(30)]}
    for i, file in enumerate(sorted(folder.glob("runs/*"))):
        scores = {name: {**score, "f1": 0.1 + 0.01 * i + 0.0001 * j} for j, name in enumerate(labels)}
        report = {
            **kept.read(file / "report.json"),
            "details": {"test": {"per_class": scores, "confusion_matrix": matrix}},
        }
        (file / "report.json").write_text(json.dumps(report), encoding="utf-8")
    conclude(folder)
    with started(tmp_path) as browser:
        browser.open(folder / "report.html")
        words = Counter(browser.on_paper(tmp_path / "report.pdf").split())
    assert [name for name in labels if words[name] < 3] == [], "down, across, and by class"
    assert [i for i in range(30) if not words[str(5000 + i)]] == [], "the last column"
    (breakdown,) = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))["inside"]["breakdowns"]
    scores = [f"{100 * each:.2f}" for group in breakdown["groups"] for each in group["scores"].values()]
    assert len(scores) == 12 * 30
    assert [each for each in scores if not words[each]] == []


def test_run_folders_that_hold_next_to_nothing_have_a_page(poor: Path) -> None:
    found = shown(poor / "report.html")
    assert "No verdict yet." in found.texts
    assert unfounded(poor / "report.html", poor / "analysis.json", poor / "results.jsonl") == []


def test_the_front_holds_those_of_which_none_is_better_at_no_higher_cost() -> None:
    costs = {"dear": 9.0, "cheap": 1.0, "middle": 3.0, "as dear and worse": 3.0, "dear and worse": 10.0}
    scores = {"dear": 0.9, "cheap": 0.5, "middle": 0.8, "as dear and worse": 0.7, "dear and worse": 0.9}
    assert front(costs, scores, higher_is_better=True) == ["cheap", "middle", "dear"]
    lower = {name: 1 - score for name, score in scores.items()}
    assert front(costs, lower, higher_is_better=False) == ["cheap", "middle", "dear"]


def test_a_drawing_is_a_file_of_its_own_with_its_colours(rich: Path) -> None:
    evidence = Evidence.read(rich)
    analysis = analyse(evidence)
    (first, *_) = look(evidence, analysis).prices
    written = standalone(plots.price(first, analysis, Scale.of(analysis)).wide)
    ElementTree.fromstring(written)
    used = set(re.findall(r"var\((--\w+)\)", written))
    assert {"--soft", "--s0", "--line"} <= used
    assert all(written.count(f"{name}:") == 2 for name in used), "one for light, one for dark"


def test_what_runs_keep_is_put_together(rich: Path) -> None:
    evidence = Evidence.read(rich)
    analysis = analyse(evidence)
    inside = look(evidence, analysis)
    curve = next(curve for curve in inside.curves if curve.candidate == "full")
    assert curve.evaluated == (66, 132, 199)
    assert len(curve.steps) == len(curve.loss) == kept.POINTS
    assert curve.loss[0] == pytest.approx(sum(2 / step for step in range(1, 5)) / 4 + 0.02), (
        "the mean over steps and seeds"
    )
    by_class = inside.breakdowns[0]
    assert (by_class.by, by_class.metric) == ("class", "f1")
    assert by_class.groups[3].scores["full"] == pytest.approx(sum(FULL) / 5 - 0.03)
    prices = {price.cost: price for price in inside.prices}
    assert prices["train_seconds"].front[0] == "head"
    assert prices["train_seconds"].costs["full"] == 150.0
    assert list(plots.series(analysis)) == ["full", LONG, "head", HOSTILE]


def test_parts_of_the_rows_have_a_key_and_no_mark_hides_another(rich: Path) -> None:
    source = (rich / "report.html").read_text(encoding="utf-8")
    section = source[source.index('<section id="parts"') : source.index('<section id="errors"')]
    keys = re.findall(r'<p class="key">(.*?)</p>', section)
    assert len(keys) == section.count("<figure>") == 2
    for name in ("full", escape(LONG), "head", escape(HOSTILE)):
        assert all(re.search(rf'<span class="mark s\d".*?</span>&nbsp;{re.escape(name)}</span>', key) for key in keys)
    # of the longer half of the rows all have the same score
    drawn = next(each for each in re.findall(r"<svg.*?</svg>", section, re.DOTALL) if "41 to 90 characters" in each)
    marks = re.findall(r'<use [^>]*?x="([\d.]+)" y="([\d.]+)" style="fill: var\(--s\d\)', drawn)
    places = [(float(x), float(y)) for x, y in marks]
    assert len(places) == 8
    assert max(Counter(x for x, _ in places).values()) == 4
    assert all(max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 6.5 for one, other in combinations(places, 2))


def test_scores_by_type_are_of_entities_and_not_of_rows(make_folder: MakeFolder, fitted: Path, tmp_path: Path) -> None:
    folder = make_folder({"full": FULL[:1], "head": HEAD[:1]})
    score = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 900}
    keep(folder, {"per_type": {"PER": score}, "errors": {"by_entities": [{"group": "1", "rows": 40, "accuracy": 0.5}]}})
    conclude(folder)
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert '<th scope="col">type of entity</th><th scope="col">test entities</th>' in source
    assert "by type of entity, mean over seeds; the number of entities in the test rows in brackets." in source
    assert '<th scope="col">entities</th><th scope="col">test rows</th>' in source
    alone = shutil.copytree(fitted, tmp_path / "alone")
    report = kept.read(alone / "report.json")
    report["details"]["test"] = {"per_type": {"PER": score}}
    (alone / "report.json").write_text(json.dumps(report), encoding="utf-8")
    source = load_run(alone).write_page().read_text(encoding="utf-8")
    assert '<th scope="col">recall</th><th scope="col">entities</th>' in source


def section(page: Path, name: str) -> str:
    """The texts of a section."""
    source = page.read_text(encoding="utf-8")
    inside = source[source.index(f'<section id="{name}"') :].partition("</section>")[0]
    return " ".join(unescape(re.sub("<[^>]+>", "", inside)).split())


def test_doubts_and_notes_of_the_reading_are_on_the_page_with_those_of_the_run(make_folder: MakeFolder) -> None:
    found = {"kind": "left_out", "message": "3 bad rows were left out", "count": 3, "rows": ["mine.csv, line 7"]}
    data = {
        "fingerprint": "abc",
        "rows": {"train": 5000, "validation": 500, "test": 400},
        "notes": ["read as latin-1."],
    }
    folder = make_folder(
        {"full": FULL[:1], "head": HEAD[:1]}, data={**data, "warnings": [found]}, notes=["no baselines: it has none."]
    )
    keep(folder)
    for file in folder.glob("runs/*/report.json"):
        report = kept.read(file)
        warning = report["data"]["warnings"][0]
        report["data"]["origins"]["test"] = str(folder / "data" / "test.jsonl")
        more = {**warning, "kind": "overlap", "message": f"a test row (as {folder}/data/test.jsonl, line 87)"}
        report["data"]["warnings"] = [more, {**warning, "kind": "left_out", "message": "said twice"}]
        file.write_text(json.dumps(report), encoding="utf-8")
    conclude(folder)
    said = section(folder / "report.html", "data")
    assert "3 bad rows were left out (mine.csv, line 7)" in said
    assert "a test row (as data/test.jsonl, line 87) (data/train.jsonl, line 3; data/train.jsonl, line 5)" in said
    assert "read as latin-1." in said
    assert "said twice" not in said
    assert "no baselines: it has none." in section(folder / "report.html", "protocol")
    assert "- no baselines: it has none." in (folder / "report.md").read_text(encoding="utf-8")


def test_learning_rates_are_on_the_page_of_runs_without_logs(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL[:1], "head": HEAD[:1]})
    keep(folder)
    for file in folder.glob("runs/*/log.jsonl"):
        file.unlink()
    conclude(folder)
    assert 'href="#learning"' in (folder / "report.html").read_text(encoding="utf-8")
    assert "1e−5: 50.00" in section(folder / "report.html", "learning")


def test_batches_of_a_single_run_are_what_its_recipe_says(fitted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fitted, tmp_path / "alone")
    report = kept.read(folder / "report.json")
    for settings, said in (
        ({}, "batches of 32 rows."),
        ({"accumulate": 2}, "batches of 32 rows, 2 to a step."),
        ({"batch_tokens": 4096}, "batches of 4,096 tokens."),
        ({"batch_size": "auto"}, "batches of as many rows as fit."),
    ):
        recipe = {**report["recipe"], "train": {**report["recipe"]["train"], **settings}}
        (folder / "report.json").write_text(json.dumps({**report, "recipe": recipe}), encoding="utf-8")
        assert said in section(load_run(folder).write_page(), "learning")


def test_numbers_are_not_answered_wrongly_but_off_by_more_than_the_tolerance(
    make_folder: MakeFolder, fitted: Path, tmp_path: Path
) -> None:
    details = {"errors": {"wrong": 27}, "tolerance": 0.53}
    folder = make_folder({"full": FULL[:1], "head": HEAD[:1]})
    keep(folder, details)
    conclude(folder)
    assert "27 of 400 test rows are off by more than 0.53 (the tolerance" in section(folder / "report.html", "errors")
    alone = shutil.copytree(fitted, tmp_path / "alone")
    report = kept.read(alone / "report.json")
    report["details"]["test"] = details
    (alone / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert "test rows are off by more than 0.53 (the tolerance" in section(load_run(alone).write_page(), "errors")


def test_least_memory_is_that_of_the_device_where_there_is_one(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL, "lora": LORA})
    file = folder / "results.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["kind"] == "run":
            line["costs"]["peak_device_bytes"] = {"full": 1e9, "lora": 2e9}[line["candidate"]]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    said = conclude(folder)
    assert any("full needs least memory (1 GB)" in each for each in said)
    inside = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))["inside"]
    (price,) = (each for each in inside["prices"] if each["cost"] == "peak_bytes")
    assert price["costs"] == {"full": 1e9, "lora": 2e9}


def test_marks_of_a_line_are_piled_where_they_would_hide_each_other() -> None:
    assert drawings.piled([10.0, 50.0, 90.0]) == [0, 0, 0]
    assert drawings.piled([10.0, 10.0, 12.0, 30.0, 10.0]) == [0, 1, 2, 0, 3]


def test_of_one_seed_plots_show_the_interval_over_rows_and_say_so(poor: Path) -> None:
    source = (poor / "report.html").read_text(encoding="utf-8")
    evidence = Evidence.read(poor)
    analysis = analyse(evidence)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", source)
    with_intervals = [each for each in captions if "95 %" in each]
    assert [re.findall("<strong>(.*?)</strong>", each)[0] for each in with_intervals] == [
        *("Differences from full", "Scores"),
    ]
    assert all("over the test rows alone, since there is one seed" in each for each in with_intervals)
    assert "intervals over the test rows alone, since there is one seed" in source, "of the plots of costs"
    assert "every seed" not in str(with_intervals)
    scores = plots.scores(analysis, analysis.sizes[0], Scale.of(analysis)).wide
    assert scores.count("stroke-opacity: 0.45") == 2, "a bar for each"


def test_a_baseline_far_off_does_not_hide_how_candidates_differ(make_folder: MakeFolder) -> None:
    baselines = {"near": 0.85, "majority class": 0.2}
    folder = make_folder({"full": [0.9, 0.91, 0.92], "lora": [0.88, 0.89, 0.9]}, baselines)
    analysis = analyse(Evidence.read(folder))
    plot = plots.scores(analysis, analysis.sizes[0], Scale.of(analysis))
    assert plot.described.endswith("An arrow at the edge: farther off than the axis goes (majority class).")
    ticks = [float(tick) for tick in re.findall(r"<text[^>]*>(\d+(?:\.\d)?)</text>", plot.wide)]
    assert ticks
    assert min(ticks) > 70
    assert "20.00" in plot.wide, "its score stands beside it all the same"


def test_a_baseline_as_far_off_as_a_candidate_stands_where_it_is(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": [0.9, 0.91], "lora": [0.3, 0.31]}, {"majority class": 0.2})
    analysis = analyse(Evidence.read(folder))
    assert "arrow" not in plots.scores(analysis, analysis.sizes[0], Scale.of(analysis)).described


def test_intervals_of_one_seed_among_others_are_told_apart(rich: Path) -> None:
    said = shown(rich / "report.html").texts
    (scores,) = (each for each in said if "a small dot for every seed" in each)
    assert "95 % interval over seeds and rows; a thin one of one seed over the test rows alone; " in scores
    (differences,) = (each for each in said if each.startswith("Difference of every candidate from full, with "))
    assert "95 % interval over seeds and rows. " in differences


def test_eight_candidates_have_eight_shapes_and_further_ones_other_pairs(make_folder: MakeFolder) -> None:
    names = [f"lora:rank={rank}" for rank in range(1, 10)]
    folder = make_folder({name: [0.9 - i / 20] for i, name in enumerate(names)}, reference=names[0])
    keep(folder)
    conclude(folder)
    source = (folder / "report.html").read_text(encoding="utf-8")
    table = source[source.index('<section id="scores"') :].partition("</table>")[0]
    marks = re.findall(r'<span class="mark (s\d)" aria-hidden="true">(.)</span>', table)
    assert len({mark for _, mark in marks[:8]}) == len({colour for colour, _ in marks[:8]}) == 8
    assert len(set(marks)) == 9
    assert len(MARKS) == len(set(MARKERS)) == 8
    evidence = Evidence.read(folder)
    (found, *_) = look(evidence, analyse(evidence)).breakdowns
    drawn = curves.breakdown(found, analyse(evidence), Scale(True), "parts").wide
    outlines = re.findall(r'<path id="\w+" d="([^"]+)" style="stroke: var\(--s', drawn)
    assert len(outlines) == len({re.sub(r"\s+", " ", each) for each in outlines[:8]}) + 1 == 9


def test_a_page_names_backbone_data_task_and_how_long_was_trained(make_folder: MakeFolder) -> None:
    model = {"name": "org/small<b>", "revision": "abc", "from_scratch": False}
    train = {"epochs": 3.0, "max_steps": None, "batch_size": 16, "batch_tokens": None, "accumulate": 2}
    folder = make_folder(
        {500: {"full": FULL[:2], "head": HEAD[:2]}, 50: {"full": FULL[:2], "head": HEAD[:2]}},
        candidates=[{"label": "full", "model": model}, {"label": "head", "model": {"name": "bert", "revision": None}}],
        recipe={"data": {"source": "rows/reviews.csv", "max_length": 64}, "train": train},
    )
    conclude(folder)
    page = folder / "report.html"
    assert unfounded(page, folder / "analysis.json", folder / "results.jsonl") == []
    source = page.read_text(encoding="utf-8")
    header, protocol = source.partition("</header>")[0], source[source.index('<section id="protocol"') :]
    text = " ".join(re.sub(r"<[^>]+>", "", header.partition("<h1>")[2].partition("<nav")[0]).split())
    assert text.startswith(
        "Comparison: classification Backbones org/small&lt;b&gt;@abc, bert, data rows/reviews.csv: "
        "50 or 500 of 5,000 train, 500 validation, 400 test rows. 5 seeds, 3 epochs each. Judged by accuracy "
    )
    said = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", re.sub(r"</?data[^>]*>", "", protocol)))
    assert said["task"] == "classification"
    assert said["backbones"] == "org/small&lt;b&gt;@abc, bert"
    assert (said["data"], said["training rows"]) == ("rows/reviews.csv", "50 or 500 of 5,000")
    assert (said["training"], said["batches"]) == ("3 epochs each", "16 rows, 2 to a step")
    assert said["texts are read to"] == "64 tokens"
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "Data: rows/reviews.csv. Rows: 5,000 train, 500 validation, 400 test. Trained on 50 or 500 of them." in text
    assert "- each run: 3 epochs, in batches of 16 rows" in text


def test_tasks_are_called_what_people_call_them() -> None:
    assert [titled(name) for name in ("qa", "multi_label", "entities")] == [
        *("question answering", "multi-label classification", "entities"),
    ]


def test_weights_that_learn_are_the_same_in_table_and_plot(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL[:1], "head": HEAD[:1]})
    file = folder / "results.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["costs"] = {**line.get("costs", {}), "trainable": 0 if line["candidate"] == "head" else 7000, "head": 132}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    conclude(folder)
    source = (folder / "report.html").read_text(encoding="utf-8")
    table = source[source.index('<table class="costs dense">') :].partition("</table>")[0]
    titles = re.findall(r'<th scope="col">(.*?)</th>', table)
    at = titles.index("weights that learn") - 1
    rows = [re.findall(r'<td><data value="([^"]*)"', row) for row in re.findall("<tr><th.*?</tr>", table)[1:]]
    inside = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))["inside"]
    (price,) = (each for each in inside["prices"] if each["cost"] == "learning_weights")
    assert [float(row[at]) for row in rows] == [price["costs"]["full"], price["costs"]["head"]] == [7132.0, 132.0]


def test_intervals_of_scores_are_cut_where_no_score_can_be_and_kept_whole(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": [0.95, 0.75], "head": [0.5, 0.52]}, rows=40)
    conclude(folder)
    (size,) = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))["sizes"]
    assert size["entries"][0]["spread"]["interval"][1] > 1
    page = folder / "report.html"
    table = page.read_text(encoding="utf-8").partition('<section id="scores"')[2].partition("</table>")[0]
    assert ' to <data value="1.0">100.00</data>' in table
    assert max(float(each) for each in re.findall('<data value="([^"]+)"', table)) <= 2
    assert unfounded(page, folder / "analysis.json", folder / "results.jsonl") == []
    assert " to 100.00 |" in (folder / "report.md").read_text(encoding="utf-8")
    unit, points = Scale(False), Scale(True, (-1.0, 1.0))
    assert (unit.within((-3.0, 4.0)), points.within((-3.0, 0.5)), points.within(None)) == (
        (-3.0, 4.0),
        (-1.0, 0.5),
        None,
    )


def test_steps_are_whole_numbers_and_no_line_runs_through_a_name() -> None:
    drawn = drawings.curves([drawings.Line("one", 0, [8.0], [0.5])], "steps", "said", "step", "loss")
    across = drawn[drawn.index('class="axis"') :].partition(">step<")[0]
    assert re.findall(r">([\d.]+)</text>", across) == ["8"]
    row = drawings.rows_of_dots([drawings.Dots("a name", {0: 1.0, 1: 2.0})], "rows", "said", "f1", 340)
    assert re.search(r'style="fill: var\(--paper\)" />\s*</g>\s*<text [^>]*>a name<', row)
