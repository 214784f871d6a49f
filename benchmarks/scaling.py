"""How training gains from more processes on this machine: seconds per step and memory of each, replicated and sharded."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
from common import RESULTS, Figures, data_folder, describe_environment, peak_rss_bytes, stop, wide_console
from rich.table import Table
from torch.optim.optimizer import register_optimizer_step_post_hook

from nlp_transfer import fine_tune
from nlp_transfer.report import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data-root", type=Path, help="folder above --dataset; unset: NLP_TRANSFER_DATA")
    parser.add_argument("--dataset", default="sst2")
    parser.add_argument("--model", default="minilm", help="a local folder, a Hub id, or minilm")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch_size", type=int, default=64, help="over all processes together")
    parser.add_argument("--max_length", type=int, default=64)
    parser.add_argument("--output", type=Path, default=RESULTS / "scaling.json")
    parser.add_argument("--folder", type=Path, help="be one of the processes, and write its figures there")
    parser.add_argument("--sharded", action="store_true", help="with --folder")
    arguments = parser.parse_args()
    if arguments.folder:
        be_one(arguments)
        return
    runs = [
        together(arguments, count, sharded)
        for count in arguments.processes
        for sharded in (False, True)
        if count > 1 or not sharded
    ]
    settings = {name: getattr(arguments, name) for name in ("dataset", "model", "steps", "batch_size", "max_length")}
    write_json(arguments.output, {"settings": settings, "runs": runs, "environment": describe_environment()})
    show(runs)


def be_one(arguments: argparse.Namespace) -> None:
    """Train as one of several processes; what it held is looked at after every step, since loading and judging hold more."""
    held: list[int] = []
    process = psutil.Process()
    register_optimizer_step_post_hook(lambda *_: held.append(process.memory_info().rss))
    train = {"max_steps": arguments.steps, "batch_size": arguments.batch_size, "precision": "fp32"}
    run = fine_tune(
        task="classification",
        data={
            "source": str(data_folder(arguments.data_root, arguments.dataset)),
            "max_length": arguments.max_length,
            "limit": max(2, arguments.steps // 2) * arguments.batch_size,
        },
        model=arguments.model,
        train={**train, "sharded": arguments.sharded},
        output=arguments.folder / "run",
        silent=True,
    )
    figures = {
        "peak_rss_bytes": peak_rss_bytes(),
        "training_rss_bytes": median(held),
        "device_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        **run.report["time"],
    }
    rank = os.environ.get("RANK", "0")
    (arguments.folder / f"{rank}.json").write_text(json.dumps(figures), encoding="utf-8")


def together(arguments: argparse.Namespace, count: int, sharded: bool) -> Figures:
    """Train in so many processes, and put together what each measured. They share the cores evenly."""
    root = ["--data-root", str(arguments.data_root)] if arguments.data_root else []
    passed_on = ("dataset", "model", "steps", "batch_size", "max_length")
    with TemporaryDirectory() as folder:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)] if count > 1 else []
        command = [sys.executable, *launcher, __file__, "--folder", folder, *["--sharded"] * sharded, *root]
        for name in passed_on:
            command += [f"--{name}", str(getattr(arguments, name))]
        threads = str(max(1, (os.cpu_count() or 1) // count))
        variables = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            stop(
                "\n".join([f"{count} processes ended with status {done.returncode}:", *done.stderr.splitlines()[-20:]])
            )
        each = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    return {"processes": count, "sharded": sharded, "each": each}


def show(runs: Sequence[dict[str, Any]]) -> None:
    """The figures as a table."""
    table = Table("processes", "weights", "s/step", "rows/s", "speed-up", "MiB while training", "peak MiB")
    alone = next((run["each"][0]["median_step_seconds"] for run in runs if run["processes"] == 1), float("nan"))
    for run in runs:
        first = run["each"][0]
        held = [max(one[name] for one in run["each"]) / 2**20 for name in ("training_rss_bytes", "peak_rss_bytes")]
        seconds = first["median_step_seconds"]
        table.add_row(
            str(run["processes"]),
            "sharded" if run["sharded"] else "whole",
            f"{seconds:.3f}",
            f"{first['samples_per_second']:,.0f}",
            f"{alone / seconds:.2f}",
            *(f"{figure:,.0f}" for figure in held),
        )
    wide_console().print(table)


if __name__ == "__main__":
    main()
