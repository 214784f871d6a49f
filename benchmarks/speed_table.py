"""Writes the tables of docs/performance.md from the files that the benchmark of speed wrote."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from common import RESULTS, stop
from speed_cases import CASES, PREDICTIONS, examples_rate

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
MARK = re.compile(r"(<!-- table: speed -->\n)(.*?)(<!-- end -->)", re.DOTALL)


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
    """The page with the table that belongs to the files."""
    return MARK.sub(lambda found: found[1] + table(results) + found[3], text)


def table(results: Path) -> str:
    """A line per case that was measured, in the order of the cases, and on what it was measured."""
    head = (
        "| case | as the examples | Trainer at its best | ours | median steps, ms | ours / examples | ours / best |"
        " whole command | limit used | peak memory, best and ours | score, ours - best |\n"
        f"{'|---' * 11}|\n"
    )
    found = {}
    for name in (*CASES, *PREDICTIONS):
        file = results / f"speed-{name}.json"
        if file.is_file():
            found[name] = json.loads(file.read_text(encoding="utf-8"))
    if not found:
        return "Not measured yet.\n"
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
        machine, precision = result["environment"], result["contenders"]["ours"]["precision"]
        versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("torch", "transformers"))
        said = f"{machine['device_name']}, threads {machine['threads']}, {precision}; {versions}"
        limits.setdefault(said, []).append(result["matrix_limit_flops"][precision] / 1e9)
    ranges = {said: sorted({f"{min(found):.0f}", f"{max(found):.0f}"}, key=float) for said, found in limits.items()}
    return "\n".join(f"{said}; matrix limit {' to '.join(ends)} GFLOP/s." for said, ends in ranges.items())


if __name__ == "__main__":
    main()
