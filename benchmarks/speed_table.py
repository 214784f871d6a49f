"""Writes the tables of docs/performance.md from the files that the benchmarks of speed, growth, reuse and steps wrote."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import RESULTS, stop
from growth import pace
from speed_cases import CASES, PREDICTIONS, examples_rate

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
MARK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
KINDS = {"without": "without a store", "first": "the first run", "second": "the second"}
NOT_MEASURED = "Not measured yet.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where the page says otherwise")
    arguments = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    written = filled(text)
    if arguments.check and written != text:
        stop(f"{PAGE} and benchmarks/results disagree: run python benchmarks/speed_table.py.", 1)
    PAGE.write_text(written, encoding="utf-8")


def filled(text: str, results: Path = RESULTS) -> str:
    """The page with the tables that belong to the files."""
    writers = {
        "speed": speeds,
        "fp32": speeds_in_fp32,
        "growth": growing,
        "reuse": reusing,
        "steps": stepping,
        "floor": flooring,
    }
    return MARK.sub(lambda found: found[1] + writers[found[2]](results) + found[4], text)


def growing(results: Path) -> str:
    """A line per run of the benchmark of growth."""
    result = read(results / "growth.json")
    if result is None:
        return NOT_MEASURED
    lines = []
    for run in (*result["rows"], *result["lengths"]):
        spent = f"{pace(run):.0f}" if run["after_first_steps"] else ""
        cells = [f"{run['rows']:,}", str(run["tokens_per_row"]), f"{run['train_seconds']:.1f} s", spent, memory(run)]
        lines.append(f"| {' | '.join(cells)} |\n")
    head = f"| rows | tokens a row | training | ms per 1,000 tokens | peak memory |\n{'|---' * 5}|\n"
    return head + "".join(lines) + f"\n{machine(result['environment'])}.\n"


def reusing(results: Path) -> str:
    """A line per method of the benchmark of reuse."""
    result = read(results / "reuse.json")
    if result is None:
        return NOT_MEASURED
    lines = []
    for name, case in result["cases"].items():
        cells = [f"{case[kind]['train_seconds']:.1f} s of {case[kind]['total_seconds']:.1f} s" for kind in KINDS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |\n")
    head = f"| {result['rows']:,} rows, {result['epochs']:g} epochs | {' | '.join(KINDS.values())} |\n{'|---' * 4}|\n"
    return head + "".join(lines) + f"\n{machine(result['environment'])}.\n"


def stepping(results: Path) -> str:
    """A line per way to take a step, a column per method; then what PyTorch's own step is made of."""
    result = read(results / "step-costs.json")
    if result is None:
        return NOT_MEASURED
    methods = result["methods"]
    ways = dict.fromkeys(way for found in methods.values() for way in found["step_seconds"])
    lines = []
    for way in ways:
        taken = [found["step_seconds"].get(way) for found in methods.values()]
        lines.append(f"| {way} | {' | '.join('' if each is None else f'{1000 * each:.0f} ms' for each in taken)} |\n")
    for part in next(iter(methods.values()))["shares"]:
        shares = [f"{found['shares'][part]:.0%}" for found in methods.values()]
        lines.append(f"| of PyTorch's step: {part} | {' | '.join(shares)} |\n")
    head = f"| a step of {result['batch_size']} rows | {' | '.join(f'`{name}`' for name in methods)} |\n"
    head += f"{'|---' * (1 + len(methods))}|\n"
    return head + "".join(lines) + f"\n{machine(result['environment'])}.\n"


def flooring(results: Path) -> str:
    """A line per way to train two blocks, and what the case of `freeze` would come to with its steps by hand."""
    result = read(results / "step-floor.json")
    if result is None:
        return NOT_MEASURED
    lines = []
    for way, found in result["ways"].items():
        mean, median = (f"{1000 * found[f'last_third_{name}']:.1f} ms" for name in ("mean", "median"))
        lines.append(f"| {way} | {found['seconds']:.1f} s | {mean} | {median} |\n")
    head = f"| the steps of `freeze` on SST-2 | all | of the last third the mean | and the median |\n{'|---' * 4}|\n"
    whole = head + "".join(lines) + f"\n{machine(result['environment'])}.\n"
    freeze = read(results / "speed-freeze-sst2.json")
    if freeze is None:
        return whole
    best, ours = (freeze["contenders"][one]["train_seconds"] for one in ("trainer-best", "ours"))
    *_, loop, by_hand = (found["seconds"] for found in result["ways"].values())
    ratio = best / (ours - loop + by_hand)
    return whole + (
        f"With so many seconds less, {loop - by_hand:.1f} of {ours:.1f}, `freeze-sst2` would have {ratio:.2f} times "
        "the rows a second of the Trainer at its best.\n"
    )


def speeds_in_fp32(results: Path) -> str:
    """The cases of training that were measured with `--precision fp32`."""
    return speeds(results, {name: f"{name}-fp32" for name in CASES})


def speeds(results: Path, files: Mapping[str, str] | None = None) -> str:
    """A line per case that was measured, in the order of the cases, and on what it was measured.

    Args:
        results: the folder.
        files: what follows `speed-` in the name of a case's file; None: the case's name, of every case.
    """
    head = (
        "| case | as the examples | Trainer at its best | ours | median steps, ms | ours / examples | ours / best |"
        " whole command | limit used | peak memory, best and ours | score, ours - best |\n"
        f"{'|---' * 11}|\n"
    )
    files = files or {name: name for name in (*CASES, *PREDICTIONS)}
    every = {name: read(results / f"speed-{file}.json") for name, file in files.items()}
    found = {name: result for name, result in every.items() if result is not None}
    if not found:
        return NOT_MEASURED
    lines = [trained(name, result) if name in CASES else predicted(name, result) for name, result in found.items()]
    return head + "".join(lines) + f"\n{machines(list(found.values()))}{cold(found)}\n"


def cold(found: dict[str, dict[str, Any]]) -> str:
    """The cases of training that were measured before contenders had a process to warm up."""
    names = [f"`{name}`" for name, result in found.items() if name in CASES and "warm_up_steps" not in result]
    return f"\nWithout a process to warm up: {', '.join(names)}." if names else ""


def trained(name: str, result: dict[str, Any]) -> str:
    """The line of a case of training."""
    runs, ratios = result["contenders"], result["ratios"]
    examples, best, ours = (runs.get(one) for one in ("trainer-examples", "trainer-best", "ours"))
    against = ratios["trainer-best"]
    padded = examples_rate(result["settings"]["batch_size"], examples) if examples else None
    steps = (f"{1000 * one['median_step_seconds']:,.0f}" for one in (examples, best, ours) if one)
    cells = [
        f"`{name}`",
        speed(padded),
        speed(best["samples_per_second"]),
        speed(ours["samples_per_second"]),
        ", ".join(steps),
        times(ratios.get("trainer-examples", {}).get("training")),
        times(against["training"]),
        times(against.get("command")),
        f"{ours['share_of_matrix_limit']:.0%}",
        f"{memory(best)}, {memory(ours)}",
        f"{100 * against['score_difference']:+.1f}" if "score_difference" in against else "",
    ]
    return f"| {' | '.join(cells)} |\n"


def predicted(name: str, result: dict[str, Any]) -> str:
    """The line of a case of prediction: the pipeline stands under the examples, batches under the best."""
    runs, ratios = result["contenders"], result["ratios"]
    pipeline, best, ours = (runs[one] for one in ("pipeline", "batched", "ours"))
    cells = [
        f"`{name}`",
        *(speed(one["rows_per_second"]) for one in (pipeline, best, ours)),
        "",
        times(ratios["pipeline"]),
        times(ratios["batched"]),
        times(best["command_seconds"] / ours["command_seconds"]),
        f"{ours['share_of_matrix_limit']:.0%}",
        f"{memory(best)}, {memory(ours)}",
        f"{best['same_label_as_ours']:.2%} same labels",
    ]
    return f"| {' | '.join(cells)} |\n"


def speed(rows: float | None) -> str:
    return "" if rows is None else f"{rows:,.0f} rows/s"


def times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"


def memory(figures: dict[str, Any]) -> str:
    return f"{(figures['peak_device_bytes'] or figures['peak_rss_bytes'] or 0) / 1e9:.1f} GB"


def machines(results: list[dict[str, Any]]) -> str:
    """On what the figures were measured, a line for each machine and precision, with the range of the matrix limits found."""
    limits: dict[str, list[float]] = {}
    for result in results:
        precision = result["contenders"]["ours"]["precision"]
        said = machine(result["environment"], precision)
        limits.setdefault(said, []).append(result["matrix_limit_flops"][precision] / 1e9)
    ranges = {said: sorted({f"{min(found):.0f}", f"{max(found):.0f}"}, key=float) for said, found in limits.items()}
    return "\n".join(f"{said}; matrix limit {' to '.join(ends)} GFLOP/s." for said, ends in ranges.items())


def machine(environment: dict[str, Any], precision: str | None = None) -> str:
    """What something was measured on, and with what."""
    versions = ", ".join(f"{name} {environment['versions'][name]}" for name in ("torch", "transformers"))
    known = [environment["device_name"], f"threads {environment['threads']}", *([precision] if precision else [])]
    return f"{', '.join(known)}; {versions}"


def read(file: Path) -> dict[str, Any] | None:
    """What a benchmark wrote; None where it has not."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


if __name__ == "__main__":
    main()
