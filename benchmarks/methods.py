"""The project's own comparison: methods on questions, phrases, pairs, entities and answers, by `nlp-transfer compare`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from common import RESULTS, SPLITS, data_folder, describe_environment, stop, wide_console
from rich.table import Table
from scores import GPT, model_path

from nlp_transfer.configurations import read_json

FOLDER = RESULTS / "methods"
KINDS = "full,head,freeze,lora,adapter,adapter:placement=houlsby,bitfit,layernorm"
FEW = "full,lora,adapter"


@dataclass(frozen=True)
class Case:
    """One comparison: its rows, its task and what is compared."""

    title: str
    data: str
    methods: str
    task: str = "classification"
    seeds: str = "0,1,2,3,4"
    rows: Mapping[str, int] = field(default_factory=dict)
    """The first so many rows of a split; unset: all."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of compare and of the recipe, as flags."""
    model: str = "minilm"


CASES = {
    "trec": Case("TREC: kinds of questions", "trec", KINDS),
    "trec-trials": Case("TREC: rates from 1,000 rows", "trec", KINDS, seeds="0", settings={"trial-rows": 1000}),
    "sst2": Case("SST-2: phrases, 5,000 rows", "sst2", KINDS, "sentiment", rows={"train": 5000, "validation": 1000}),
    "sst2-seeds": Case(
        "SST-2: ten seeds",
        "sst2",
        "full,lora,adapter,adapter:placement=houlsby",
        "sentiment",
        "0,1,2,3,4,5,6,7,8,9",
        {"train": 5000, "validation": 1000},
    ),
    "rte": Case("RTE: pairs of sentences", "rte", KINDS),
    "conll2003": Case("CoNLL 2003: entities, 2,000 rows", "conll2003", FEW, "entities", "0,1,2", {"train": 2000}),
    "squad_wiki": Case(
        "SQuAD, new Wikipedia: answers, 2,000 rows",
        "squad_wiki",
        FEW,
        "qa",
        "0,1,2",
        {"train": 2000},
        {"task.stride": 64, "data.max_length": 256},
    ),
    "trec-sizes": Case(
        "TREC by training rows",
        "trec",
        "full,head,lora",
        seeds="0,1,2",
        settings={"train-sizes": "50,200,1000,4952", "from-scratch": True, "train.epochs": 6, "train.batch_size": 16},
    ),
    "trec-gpt": Case(
        "TREC with a small decoder", "trec", FEW, seeds="0,1,2", settings={"from-scratch": True}, model=GPT
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", help=f"of {','.join(CASES)}; unset: all")
    parser.add_argument(
        "--methods",
        help="these alone for now: the page calls the case partial until a later call, with others or without it, adds them",
    )
    parser.add_argument("--seeds", help="these alone for now, in the same way; unset: those of each case")
    parser.add_argument("--workers", type=int, default=1, help="runs at once; they share the cores")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/methods"), help="where the comparisons lie; goes on there"
    )
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    arguments = parser.parse_args()
    names = arguments.cases.split(",") if arguments.cases else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        stop(f"there is no case {unknown[0]}: expected some of {', '.join(CASES)}.")
    for name in names:
        folder = arguments.folder / name
        case = replace(
            CASES[name],
            methods=arguments.methods or CASES[name].methods,
            seeds=arguments.seeds or CASES[name].seeds,
        )
        data = data_folder(arguments.data_root, case.data)
        rows = cut(data, case.rows, arguments.folder / "rows" / name)
        describe_environment()  # now, since the code may be another when the last run ends
        workers = compared(case, rows, folder, arguments.workers)
        show(case, keep(name, case, folder, workers))


def cut(data: Path, rows: Mapping[str, int], folder: Path) -> Path:
    """The data folder itself, or another with the first rows of some splits."""
    if not rows:
        return data
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        lines = (data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{split}.jsonl").write_text("".join(lines[: rows.get(split)]), encoding="utf-8")
    return folder


def compared(case: Case, data: Path, folder: Path, workers: int) -> list[int]:
    """Begin a comparison, or go on with it.

    Returns:
        The workers of every call that added runs: how many ran at once is part of what their times say.
    """
    noted, results = folder.with_name(f"{folder.name}-workers.json"), folder / "results.jsonl"
    before = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() and results.is_file() else []
    known = results.read_bytes() if results.is_file() else b""
    noted.parent.mkdir(parents=True, exist_ok=True)
    noted.write_text(json.dumps(sorted({*before, workers})), encoding="utf-8")
    settings = {
        "task": case.task,
        "data": data,
        "model": model_path(case.model),
        "methods": case.methods,
        "seeds": case.seeds,
        "no-forgetting": True,
        "workers": workers,
        "output": folder,
        **case.settings,
    }
    words = [
        word
        for name, value in settings.items()
        for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])
    ]
    # runs share what never changes, and each counts it as its own
    shared = {**os.environ, "NLP_TRANSFER_CACHE": str(folder.parent.resolve() / "cache")}
    done = subprocess.run([sys.executable, "-m", "nlp_transfer.cli", "compare", *words], env=shared, check=False)
    if done.returncode:
        stop(f"compare ended with status {done.returncode}; the same command goes on.", done.returncode)
    if results.read_bytes() == known:
        noted.write_text(json.dumps(before), encoding="utf-8")
    return json.loads(noted.read_text(encoding="utf-8"))


def keep(name: str, case: Case, folder: Path, workers: Sequence[int]) -> dict[str, Any]:
    """Keep of a comparison's folder the protocol, the lines and the analysis; no texts, no paths, and no weights."""
    analysis = read_json(folder / "analysis.json")
    # what its best run was sure of and wrong has texts of the data
    analysis.pop("inside")
    analysis["setting"]["source"] = None
    protocol = read_json(folder / "protocol.json")
    source = str(protocol["recipe"]["data"]["source"])
    for place in ("source", "validation", "test"):
        protocol["recipe"]["data"][place] = None
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    kept = {
        "case": asdict(CASES[name]),
        "missing": missing(CASES[name], protocol),
        "workers": list(workers),
        "protocol": protocol,
        "analysis": analysis,
        "lines": [json.loads(line) for line in lines],
        "environment": describe_environment(),
    }
    text = json.dumps(kept, indent=1, ensure_ascii=False).replace(model_path(case.model), case.model)
    # warnings name files of the data
    text = text.replace(f"{source}/", f"{case.data}/")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return json.loads(text)


def missing(case: Case, protocol: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What of a case has not been asked for yet: a comparison of the rest is partial."""
    labels = {each["label"] for each in protocol["candidates"]}
    seeds = map(int, case.seeds.split(","))
    return {
        "methods": [name for name in case.methods.split(",") if name not in labels],
        "seeds": [seed for seed in seeds if seed not in protocol["seeds"]],
    }


def show(case: Case, kept: Mapping[str, Any]) -> None:
    """Every candidate of every training size, a line each."""
    analysis = kept["analysis"]
    table = Table(title=f"{case.title}: test {analysis['metric']}")
    for column in ("candidate", "rows", "rate", "mean", "95 %", "weights that learn", "seconds"):
        table.add_column(column, justify="left" if column == "candidate" else "right")
    for size in analysis["sizes"]:
        for entry in size["entries"]:
            spread, costs = entry["spread"], entry["costs"]
            table.add_row(
                entry["candidate"],
                f"{size['train_rows']:,}",
                f"{entry['learning_rate']:g}" if entry["learning_rate"] else "",
                "" if spread["mean"] is None else f"{100 * spread['mean']:.2f}",
                " to ".join(f"{100 * end:.1f}" for end in spread["interval"] or ()),
                f"{costs['trainable']:,.0f}" if "trainable" in costs else "",
                f"{costs['train_seconds']:.0f}" if "train_seconds" in costs else "",
            )
    wide_console().print(table)


if __name__ == "__main__":
    main()
