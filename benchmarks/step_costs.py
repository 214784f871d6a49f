"""What one step of training on a CPU is made of, and what changes to it give: all ways take the same steps in turn."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import RESULTS, data_folder, describe_environment, wide_console
from peer_methods import apply
from peer_rows import Classes, load_tokenizer
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from transformers import set_seed

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.low_rank import fused_updates
from nlp_transfer.quiet import quiet
from nlp_transfer.report import write_json
from nlp_transfer.training.batch import pad
from nlp_transfer.training.kernels import CpuKernels
from nlp_transfer.training.token_vectors import narrow

Way = Callable[[Any], AbstractContextManager[Any]]

NARROW = "our kernels, token vectors of the texts alone"

PARTS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm"),
    "random numbers of dropout": ("aten::bernoulli_", "aten::random_"),
    "optimiser": ("aten::_fused_adamw_",),
    "norm of the gradient and clipping": ("aten::linalg_vector_norm", "aten::mul_"),
    "zeros for gradients": ("aten::fill_",),
}
"""Of a step, by PyTorch's names; the rest is element-wise work, copies and bookkeeping."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--steps", type=int, default=30, help="of every way")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile too, which needs a C++ compiler and minutes"
    )
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    parser.add_argument("--output", type=Path, default=RESULTS / "step-costs.json")
    arguments = parser.parse_args()
    found = {name: measured(name, arguments) for name in arguments.methods.split(",")}
    arguments.output.parent.mkdir(exist_ok=True)
    settings = {"steps": arguments.steps, "batch_size": arguments.batch_size}
    write_json(arguments.output, {**settings, "methods": found, "environment": describe_environment()})
    show(found)


def measured(method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The parts of a step as PyTorch takes it, and processor seconds of the median step of every way."""
    set_seed(0)
    folder = data_folder(arguments.data_root, "sst2")
    step, model = steps(method, folder, arguments.batch_size)
    ways: dict[str, Way] = {
        "as PyTorch has it": lambda _: nullcontext(),
        "our kernels": lambda _: CpuKernels(),
        "our kernels, eager attention": eager,
        "no dropout at all": without_dropout,
    }
    if method == "full":
        ways["no dropout, embeddings frozen"] = without_embeddings
        ways[NARROW] = lambda _: CpuKernels()
    elif method == "lora":
        ways["our kernels, a linear and its update as one"] = as_one
    trained = dict.fromkeys(ways, (step, model))
    if method == "full":
        trained[NARROW] = steps(method, folder, arguments.batch_size, narrowed=True)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.steps + 2):
        for name, way in ways.items():
            step_of_way, model_of_way = trained[name]
            with way(model_of_way):
                clock = time.process_time()
                step_of_way(number, model_of_way)
                seconds[name].append(time.process_time() - clock)
    # of the first steps memory is new
    medians = {name: median(each[2:]) for name, each in seconds.items()}
    if arguments.compile:
        compiled = torch.compile(model, dynamic=True)
        taken = []
        for number in range(arguments.steps + 2):
            with CpuKernels():
                clock = time.process_time()
                step(number, compiled)
                taken.append(time.process_time() - clock)
        medians["torch.compile"] = median(taken[2:])
    before = resource.getrusage(resource.RUSAGE_SELF)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for number in range(10):
            step(number, model)
    after = resource.getrusage(resource.RUSAGE_SELF)
    system, user = after.ru_stime - before.ru_stime, after.ru_utime - before.ru_utime
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    whole = sum(times.values())
    shares = {part: sum(times.get(name, 0) for name in names) / whole for part, names in PARTS.items()}
    return {"step_seconds": medians, "shares": shares, "share_of_system": system / (system + user)}


def steps(method: str, folder: Path, batch_size: int, narrowed: bool = False) -> tuple[Callable[[int, Any], None], Any]:
    """A function that takes the step of a number, and the model that it trains, whole or with the texts' token vectors alone."""
    location = Backbone.find(ModelSettings("minilm")).location
    with quiet():
        rows = Classes(folder, load_tokenizer(location), 128, "longest")
        features = rows.features("train").select(range(6400))
        model: Any = apply(rows.model(location), {"name": method})
    ids, labels = features["input_ids"][:], torch.tensor(features["labels"][:])
    if narrowed:
        narrow(model, lambda: np.unique([0, *chain.from_iterable(ids)]))
    plan = LengthBuckets(np.array(list(map(len, ids))), batch_size, 1, 0).epoch(0)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=5e-5, fused=True)
    model.train()

    def step(number: int, called: Any) -> None:
        (indices,) = plan[number % len(plan)]
        padded, mask = pad([ids[i] for i in indices], 0)
        logits = called(input_ids=padded, attention_mask=mask).logits
        torch.nn.functional.cross_entropy(logits, labels[indices]).backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step, model


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """Attention written out in Python."""
    model.set_attn_implementation("eager")
    with CpuKernels():
        yield
    model.set_attn_implementation("sdpa")


@contextmanager
def as_one(model: Any) -> Iterator[None]:
    """As a training of ours has it."""
    with CpuKernels(), fused_updates(model):
        yield


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """No dropout anywhere: what the best dropout could not beat."""
    model.eval()
    yield
    model.train()


@contextmanager
def without_embeddings(model: Any) -> Iterator[None]:
    """Nor gradients of token vectors, half of the weights: what not computing zeros for them could not beat."""
    words = model.get_input_embeddings().weight
    words.requires_grad_(False)
    with without_dropout(model):
        yield
    words.requires_grad_(True)


def show(found: dict[str, Any]) -> None:
    """A table of ways and one of parts."""
    for method, result in found.items():
        table = Table(title=f"{method}: processor seconds of the median step")
        for title in ("way", "ms", "as PyTorch has it / it"):
            table.add_column(title, justify="left" if title == "way" else "right")
        first = next(iter(result["step_seconds"].values()))
        for name, seconds in result["step_seconds"].items():
            table.add_row(name, f"{1000 * seconds:.0f}", f"{first / seconds:.2f}")
        wide_console().print(table)
        wide_console().print(json.dumps({name: round(share, 3) for name, share in result["shares"].items()}))


if __name__ == "__main__":
    main()
