"""What a comparison shows: every number, the tables, and the verdict, from the runs in its folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from nlp_transfer.comparison import page, tables, verdict
from nlp_transfer.comparison.analysis import analyse
from nlp_transfer.comparison.evidence import Evidence
from nlp_transfer.comparison.inside import look
from nlp_transfer.report import write_json


def conclude(folder: str | Path) -> list[str]:
    """Write results.csv, report.md, report.html and analysis.json into a comparison's folder, and give the verdict's sentences.

    Everything is made of results.jsonl, protocol.json and what the runs kept, so it can be made again.

    Raises:
        RequestError: where the folder holds no comparison, no run of it finished, or what was judged is missing.
    """
    folder = Path(folder)
    evidence = Evidence.read(folder)
    analysis = analyse(evidence)
    sentences = verdict.sentences(analysis)
    inside = look(evidence, analysis)
    said = {"headline": verdict.headline(analysis), "verdict": sentences}
    write_json(folder / "analysis.json", {**asdict(analysis), "inside": asdict(inside), **said})
    tables.write_csv(folder / "results.csv", evidence.lines)
    (folder / "report.md").write_text(tables.report(analysis, sentences, folder), encoding="utf-8")
    page.write(folder, analysis, inside, sentences, evidence.task.asked_columns)
    return sentences
