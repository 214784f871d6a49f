"""From the folder of a comparison to its verdict, tables and numbers."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlp_transfer import RequestError
from nlp_transfer.comparison import drawing
from nlp_transfer.comparison.analysis import analyse
from nlp_transfer.comparison.conclusion import conclude
from nlp_transfer.comparison.evidence import Evidence
from nlp_transfer.comparison.verdict import finding, headline, sentences, winner
from nlp_transfer.comparison.wording import Scale, duration, escaped, probability, size

from .conftest import MakeFolder

FULL = [0.900, 0.905, 0.895, 0.9025, 0.8975]
LORA = [0.8975, 0.905, 0.8925, 0.900, 0.900]
HEAD = [0.750, 0.760, 0.740, 0.755, 0.745]
TFIDF = "TF-IDF with logistic regression"


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 are enough for what is told apart here."""
    monkeypatch.setattr(drawing.draw, "__defaults__", (40, 0))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_verdict_says_what_is_different_what_is_not_and_what_to_choose(make_folder: MakeFolder) -> None:
    said = conclude(make_folder({"full": FULL, "lora": LORA, "head": HEAD}, {TFIDF: 0.7, "majority class": 0.4}))
    lora, head, choice, quick, baseline = said
    pattern = (
        r"No detectable difference: trained on 5,000 rows, judged on 400, lora is not distinguishable from full "
        r"\(difference -0\.10 points, "
        r"95 % -\d\.\d\d to \d\.\d\d; a difference of \d\.\d\d would have shown\); it stores 1\.3 MB instead of 87 MB and "
        r"trains in 2 min instead of 2\.5 min\."
    )
    assert re.fullmatch(pattern, lora)
    assert head.startswith(
        "Trained on 5,000 rows, judged on 400, head is worse than full by 15.00 points (difference -15.00, 95 % -"
    )
    assert choice.startswith(
        "Among full, lora, none of which is shown to be worse than the best of them, choose by cost: lora stores least (1.3 MB)"
    )
    assert quick == "head trains fastest of all (3 s), at the price of 15.00 points."
    pattern = r"full beats it \(\+20\.00 points, 95 % [^)]*\); lora beats it \(\+19\.90 points, 95 % [^)]*\)\."
    assert re.fullmatch(rf"The best baseline, {TFIDF}, reaches 70\.00: {pattern}", baseline)
    assert not any("equal" in sentence for sentence in said)


def test_where_the_reference_is_the_quickest_and_loses_its_price_is_said(make_folder: MakeFolder) -> None:
    said = conclude(make_folder({"head": HEAD, "lora": FULL}, reference="head"))
    assert "Choose lora: it alone is better." in said
    assert said[-1] == "head trains fastest of all (3 s), at the price of 15.00 points."


def test_a_baseline_beside_one_seed_has_a_difference_without_an_interval(make_folder: MakeFolder) -> None:
    said = conclude(make_folder({"full": FULL[:1], "head": HEAD[:1]}, {TFIDF: 0.7}))
    beside = f"The best baseline, {TFIDF}, reaches 70.00: full stands beside it with too few seeds for a verdict (+20.00 points)."
    assert beside in said
    assert not any("95 % -)" in each for each in said)


def test_a_candidate_that_was_stopped_before_its_first_run_is_left_out(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL, "head": []}, trials=2)
    lines = lines_of(folder)
    lines += [{**line, "learning_rate": 3e-4} for line in lines if line["kind"] == "trial"]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    conclude(folder)
    assert (folder / "report.html").is_file()


def test_too_few_seeds_are_no_verdict(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL[:3], "head": HEAD[:3]})
    (sentence,) = conclude(folder)
    expected = (
        "Too few seeds: 3 of the 5 that a verdict takes, so there is none on any method. Means: full 90.00; head 75.00."
    )
    assert sentence == expected
    assert "| head | -15.00 |" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_run_that_diverged_is_named_and_leaves_its_pair_out(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL, "lora": LORA, "head": [*HEAD[:2], None, *HEAD[3:]]})
    said = conclude(folder)
    assert any(
        each.startswith(
            "head against full: too few seeds for a verdict (4 of the 5 seeds that it takes finished for both"
        )
        for each in said
    )
    assert "head, 5,000 rows: seed 2 diverged; its figures are of the other 4." in said
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "| head | 5,000 | 2 | diverged | the loss is nan \\| after step 3 |" in text
    with (folder / "results.csv").open(encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)].count("diverged") == 1


def test_negative_transfer_is_said_where_the_interval_lies_on_the_wrong_side(make_folder: MakeFolder) -> None:
    scratch = [0.8, 0.81, 0.79, 0.80, 0.80]
    said = "\n".join(
        conclude(make_folder({"full": FULL, "head": HEAD, "full from scratch": scratch, "ia3": scratch[::-1]}))
    )
    assert re.search(
        r"^full: transfer brought something \(\+10\.00 points over full from scratch, 95 % ", said, re.MULTILINE
    )
    assert re.search(r"^head: negative transfer \(-5\.00 points over full from scratch, 95 % -", said, re.MULTILINE)
    assert re.search(r"^ia3: no detectable transfer \(", said, re.MULTILINE)


def test_a_candidate_that_is_better_is_what_to_choose(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": HEAD, "lora": FULL, "head": HEAD[::-1]})
    assert "Choose lora: it alone is better." in conclude(folder)
    analysis = analyse(Evidence.read(folder))
    assert analysis.sizes[0].recommended == ("lora",)
    best = winner(analysis, analysis.sizes[0])
    assert best is not None
    assert best.best_run == "runs/lora-5000-0", "best on validation, though seed 1 is best on the test rows"
    code = re.search(r"```python\n(.*?)```", (folder / "report.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    assert f'load_run("{folder / "runs/lora-5000-0"}")' in code[1]
    assert len(code[1].strip().splitlines()) == 3
    compile(code[1], "report.md", "exec")


def test_of_several_that_are_better_those_worse_than_the_best_are_no_choice(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": [0.6, 0.61, 0.59, 0.6, 0.6], "lora": HEAD, "adapter": FULL, "ia3": FULL[::-1]})
    said = "\n".join(conclude(folder))
    analysis = analyse(Evidence.read(folder))
    (size,) = analysis.sizes
    assert {each.finding for each in size.differences} == {"better"}
    assert size.recommended == ("adapter", "ia3")
    assert headline(analysis) == "adapter and ia3 are better than full: choose by cost."
    assert re.search(
        r"^lora is better than full, too, but worse than \w+ by 15\.00 points \(difference -15\.00", said, re.MULTILINE
    )
    assert {each.reference for each in size.against_best} <= {"adapter", "ia3"}
    assert "Among full" not in said


@pytest.mark.parametrize(
    ("baseline", "finding", "headlined"),
    [
        (0.7, "full beats it (+20.00 points", "Choose full."),
        (0.9, "full is not shown to beat it (0.00 points", "Choose full."),
        (0.99, "full is worse (-9.00 points", f"Choose full. But the baseline {TFIDF} is better than full."),
    ],
)
def test_what_is_recommended_is_held_against_the_best_baseline(
    make_folder: MakeFolder, baseline: float, finding: str, headlined: str
) -> None:
    folder = make_folder({"full": FULL, "head": HEAD}, {TFIDF: baseline, "majority class": 0.4})
    assert any(
        f"The best baseline, {TFIDF}, reaches {100 * baseline:.2f}: {finding}" in each for each in conclude(folder)
    )
    assert headline(analyse(Evidence.read(folder))) == headlined


def test_a_candidate_that_is_better_is_held_against_the_baseline_in_place_of_the_reference(
    make_folder: MakeFolder,
) -> None:
    analysis = analyse(Evidence.read(make_folder({"full": HEAD, "lora": FULL}, {TFIDF: 0.7})))
    assert [(each.candidate, each.finding) for each in analysis.sizes[0].over_baseline] == [("lora", "better")]


@pytest.mark.parametrize("runs", [[*HEAD[:2], None, *HEAD[3:]], [None] * 5])
def test_the_headline_names_who_has_no_verdict(make_folder: MakeFolder, runs: list[float | None]) -> None:
    folder = make_folder({"full": FULL, "lora": LORA, "ia3": HEAD, "head": runs})
    conclude(folder)
    analysis = analyse(Evidence.read(folder))
    expected = "Choose by cost among full and lora: none is shown to be worse. No verdict on head."
    assert headline(analysis) == expected


def test_who_has_no_verdict_is_not_said_to_be_worse(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL, "head": HEAD[:4], "ia3": HEAD})
    assert "Choose full: all others are worse, or without a verdict (head)." in conclude(folder)
    assert headline(analyse(Evidence.read(folder))) == "Choose full. No verdict on head."


def test_transfer_is_what_the_corrected_test_finds(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL, "head": HEAD, "full from scratch": LORA})
    analysis = analyse(Evidence.read(folder))
    (size,) = analysis.sizes
    spread = replace(size.transfer[0].spread, mean=0.01, interval=(0.001, 0.019))
    alone = replace(size.transfer[0], spread=spread, p=0.03, adjusted_p=0.06, finding="no detectable difference")
    said = sentences(replace(analysis, sizes=(replace(size, transfer=(alone,)),)))
    expected = (
        "full: no detectable transfer (+1.00 points over full from scratch, 95 % 0.10 to 1.90; "
        "the interval alone excludes zero, but of so many methods one does by chance)."
    )
    assert expected in said


def test_the_run_to_load_is_chosen_by_validation_and_never_by_the_test_rows(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL[:1], "lora": LORA[:1]})
    lines = lines_of(folder)
    for line in lines:
        line["scores"]["validation"]["accuracy"] = {"full": 0.5, "lora": 0.6}[line["candidate"]]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    analysis = analyse(Evidence.read(folder))
    assert analysis.sizes[0].entry("full").spread.mean > analysis.sizes[0].entry("lora").spread.mean
    chosen = winner(analysis, analysis.sizes[0])
    assert chosen is not None
    assert chosen.candidate == "lora"


def test_every_number_is_kept_and_made_again(make_folder: MakeFolder) -> None:
    folder = make_folder({5000: {"full": FULL, "lora": LORA}, 500: {"full": HEAD, "lora": HEAD}}, flags=["a | flag"])
    said = conclude(folder)
    assert said[-2:] == ["With 500 rows: lora less full 0.00 points, no detectable difference.", "a | flag"]
    texts = {name: (folder / name).read_bytes() for name in ("analysis.json", "report.md", "results.csv")}
    assert conclude(folder) == said
    assert {name: (folder / name).read_bytes() for name in texts} == texts
    found = json.loads(texts["analysis.json"])
    large, small = found["sizes"]
    assert (large["train_rows"], small["train_rows"]) == (5000, 500)
    assert large["entries"][0]["spread"]["mean"] == pytest.approx(sum(FULL) / 5)
    tests = [line["scores"]["test"]["accuracy"] for line in lines_of(folder) if line["kind"] == "run"]
    assert tests == [
        score for each in found["sizes"] for entry in each["entries"] for score in entry["spread"]["scores"]
    ]
    assert found["verdict"] == said
    assert "stores 1.3 MB instead of 87 MB" in said[0]
    text = texts["report.md"].decode()
    assert "| candidate | 500 rows | 5,000 rows |" in text
    assert text.index("## Verdict") < text.index("## Scores")
    assert "- a \\| flag" in text


def test_the_table_of_runs_is_flat_and_whole(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL, "lora": LORA})
    conclude(folder)
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines_of(folder)) == 12
    run = next(row for row in rows if (row["kind"], row["candidate"], row["seed"]) == ("run", "lora", "1"))
    assert float(run["scores.test.accuracy"]) == 0.905
    assert run["costs.stored_bytes"] == "1300000"
    assert run["environment.torch"] == "2"


def test_labels_and_messages_cannot_break_the_report(make_folder: MakeFolder) -> None:
    name = "adapter:x=[a,b]|<script>alert(1)</script>"
    folder = make_folder({"full": FULL, name: LORA})
    conclude(folder)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert r"| adapter:x=\[a,b\]\|\<script\>" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    heads = [i for i, line in enumerate(tables) if line.startswith("| ---")]
    assert all(cells[i] == cells[i - 1] == cells[i + 1] for i in heads)


def test_a_folder_that_is_no_comparison_is_refused(tmp_path: Path, make_folder: MakeFolder) -> None:
    with pytest.raises(RequestError, match=r"holds no comparison: protocol\.json is missing"):
        conclude(tmp_path)
    folder = make_folder({"full": FULL, "lora": LORA})
    results = folder / "results.jsonl"
    text = results.read_text(encoding="utf-8")
    results.write_text(text + '{"kind": "ru', encoding="utf-8")
    conclude(folder)  # a last line that was cut off is what a crash leaves
    protocol = (folder / "protocol.json").read_text(encoding="utf-8")
    (folder / "protocol.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RequestError, match=r"protocol\.json does not say task, metric, "):
        conclude(folder)
    (folder / "protocol.json").write_text(protocol, encoding="utf-8")
    results.write_text('{"kind": "ru\n' + text, encoding="utf-8")
    with pytest.raises(RequestError, match=r"results\.jsonl, line 1: no JSON"):
        conclude(folder)
    results.write_text(text, encoding="utf-8")
    (folder / "runs/lora-5000-3/judged.safetensors").write_bytes(b"nothing")
    with pytest.raises(RequestError, match=r"is missing or damaged .*remove its line \(lora, seed 3\)"):
        conclude(folder)


def test_where_no_run_finished_that_is_said(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL})
    failed = [
        {**line, "status": "failed", "message": "no memory"} for line in lines_of(folder) if line["kind"] == "run"
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in failed), encoding="utf-8")
    with pytest.raises(
        RequestError, match=r"no run of this comparison finished.*The first that failed said: no memory"
    ):
        conclude(folder)


def test_costs_that_read_the_same_are_not_set_side_by_side(make_folder: MakeFolder) -> None:
    said = conclude(make_folder({"ia3": FULL, "bitfit": LORA}, reference="ia3"))
    assert "not distinguishable from ia3" in said[0]
    assert "instead of" not in said[0]
    assert len(said) == 1, "no cost is less, so there is nothing to choose by"


def test_an_interval_that_alone_excludes_zero_is_no_verdict_and_is_explained(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": FULL, "lora": LORA})
    found = analyse(Evidence.read(folder)).sizes[0].differences[0]
    spread = replace(found.spread, mean=-0.01, interval=(-0.019, -0.001))
    said = finding(replace(found, spread=spread, p=0.03, adjusted_p=0.12), Scale(True), "judged on 400")
    assert "difference -1.00 points, 95 % -1.90 to -0.10; " in said
    assert said.startswith("no detectable difference: ")
    assert "the interval alone excludes zero, but of so many methods one does by chance" in said


def test_where_less_is_better_less_is_said_to_be_better(make_folder: MakeFolder) -> None:
    folder = make_folder({"full": HEAD, "lora": FULL}, metric="accuracy", higher_is_better=False)
    said = conclude(folder)
    assert said[0].startswith(
        "Trained on 5,000 rows, judged on 400, lora is worse than full by 0.15 (difference +0.15, 95 % "
    )
    assert said[1] == "Choose full: all others are worse."


def test_a_reference_without_a_run_leaves_no_verdict(make_folder: MakeFolder) -> None:
    said = conclude(make_folder({"full": [None] * 5, "lora": LORA}))
    assert said[0] == "No verdict: full, which all are held against, has no finished run. Means: full -; lora 89.90."


def test_rows_that_differ_between_runs_are_refused(make_folder: MakeFolder) -> None:
    from safetensors.numpy import save_file

    from .conftest import answers

    folder = make_folder({"full": FULL, "lora": LORA})
    save_file(answers(0.9, 2, rows=399), folder / "runs/lora-5000-2/judged.safetensors")
    with pytest.raises(RequestError, match="lora, seed 2: its arrays do not have the 400 rows that others have"):
        conclude(folder)


def test_numbers_as_a_person_reads_them() -> None:
    assert [size(count) for count in (999, 12_345, 1_300_000, 87e6, 2.5e9, None)] == [
        *("999 bytes", "12.3 kB", "1.3 MB", "87 MB", "2.5 GB", "-"),
    ]
    assert [duration(seconds) for seconds in (0.0123, 45, 250, 7200)] == ["0.0123 s", "45 s", "4.17 min", "2 h"]
    assert [probability(p) for p in (0.00001, 0.0123, 0.5, None)] == ["< 0.0001", "0.012", "0.50", "-"]
    points, unit = Scale(True), Scale(False)
    assert (points.signed(0.01234), points.signed(-0.00001), unit.signed(12.3456)) == ("+1.23", "0.00", "+12.35")
    assert escaped("a|b *c*\n<d>") == r"a\|b \*c\* \<d\>"
