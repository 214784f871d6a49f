"""What is left to gain in the steps of `freeze` by other code round the same kernels.

As many steps of two blocks as the case of the speed benchmark has, each way in a fresh process: a loop as PyTorch's pages have
it, in bf16 with fused AdamW; the loop of nlp_transfer; and by hand, without modules, autocast and autograd (two_blocks.py),
whose gradients are held against autograd's first. All read states of as many tokens as SST-2's texts have, in the order of a
training. Written to benchmarks/results/step-floor.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from common import RESULTS, Figures, data_folder, describe_environment, in_fresh_process, stop
from peer_rows import load_tokenizer
from speed_cases import CASES
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, set_seed
from two_blocks import LOW, TwoBlocks

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.first_token import only_first
from nlp_transfer.report import write_json
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.heap import keep_code, keep_freed
from nlp_transfer.training.loop import Loop, decay_groups
from nlp_transfer.training.settings import TrainSettings

if TYPE_CHECKING:
    from transformers.models.bert.modeling_bert import BertEmbeddings

CASE = CASES["freeze-sst2"]
OFF = 0.15
"""Gradients in bf16 differ by so much at most: a bias of few numbers by the most."""

DROPOUT = 0.1
WIDTH = 384
POOL = torch.randn(CASE.batch_size * CASE.max_length, WIDTH)
"""What states are made of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--way", choices=list(WAYS), help="this one alone, in this process, as a line of JSON")
    parser.add_argument("--lengths", type=Path, help="of that way: a file with the lengths of every batch")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets, instead of NLP_TRANSFER_DATA")
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measured(arguments.way, json.loads(arguments.lengths.read_text(encoding="utf-8")))))
        return
    set_seed(0)
    off = furthest_gradient()
    if off > OFF:
        stop(f"gradients by hand are up to {off:.1%} off those of autograd: such times tell nothing.", 1)
    RESULTS.mkdir(exist_ok=True)
    lengths = RESULTS / "step-floor-lengths.json"
    lengths.write_text(json.dumps(batches(data_folder(arguments.data_root, CASE.data))), encoding="utf-8")
    try:
        rounds: list[dict[str, Figures]] = []
        for number in range(arguments.rounds):
            order = list(WAYS)[:: -1 if number % 2 else 1]
            rounds.append({way: in_fresh_process("step_floor.py", {"way": way, "lengths": lengths}) for way in order})
    finally:
        lengths.unlink()
    medians = {way: {name: median(one[way][name] for one in rounds) for name in rounds[0][way]} for way in WAYS}
    for way, figures in medians.items():
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"{way}: {told}")
    result = {"furthest_gradient": off, "ways": medians, "rounds": rounds, "environment": describe_environment()}
    write_json(RESULTS / "step-floor.json", result)


class Given(nn.Module):
    """Stands where a model's embeddings stood, and answers with states that are there already."""

    states: Tensor

    def forward(self, *_: object, **__: object) -> Tensor:
        """The states."""
        return self.states


def two_blocks(dropout: float) -> BertForSequenceClassification:
    """A classifier of minilm's width (Wang 2020) with two blocks, which reads what its `Given` has."""
    config = BertConfig(
        vocab_size=2,
        hidden_size=384,
        num_attention_heads=12,
        intermediate_size=1536,
        num_hidden_layers=2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = BertForSequenceClassification(config)
    model.bert.embeddings = cast("BertEmbeddings", Given())
    return model


def furthest_gradient(rows: int = 32, tokens: int = 13) -> float:
    """How far gradients by hand are from those of autograd in bf16, without dropout, on texts of several lengths.

    Returns:
        Of the parameter that is furthest off the norm of the difference, by the norm of its gradient, or by 0.001 if that is
        less: a bias of keys has none but for rounding.
    """
    model = two_blocks(dropout=0.0)
    by_hand = TwoBlocks(model, dropout=0.0)
    states, labels = torch.randn(rows, tokens, model.config.hidden_size), torch.arange(rows) % 2
    mask = (torch.arange(tokens) < tokens - torch.arange(rows)[:, None] % tokens).long()
    cast("Given", model.bert.embeddings).states = states
    with torch.autocast("cpu", LOW):
        logits = model(input_ids=mask, attention_mask=mask).logits
    functional.cross_entropy(logits.float(), labels).backward()
    by_hand.backpropagate(states, mask, labels)
    found = by_hand.gradients()
    off = []
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            true: Any = parameter.grad
            off.append(float((found[module, kind] - true).norm() / true.norm().clamp(min=1e-3)))
    return max(off)


def batches(folder: Path) -> list[list[int]]:
    """The numbers of tokens of the texts of every step of the case."""
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[: CASE.limit]
    tokenizer = load_tokenizer(Backbone.find(ModelSettings(CASE.model)).location)
    texts = [json.loads(line)["text"] for line in lines]
    lengths = np.array([len(ids) for ids in tokenizer(texts, truncation=True, max_length=CASE.max_length)["input_ids"]])
    plan = LengthBuckets(lengths, CASE.batch_size, 1, 0)
    return [lengths[batch].tolist() for epoch in range(int(CASE.epochs)) for (batch,) in plan.epoch(epoch)]


def measured(way: str, lengths: list[list[int]]) -> Figures:
    """Seconds of all steps, each shape being met for the first time once, and of a step when most have been met."""
    set_seed(0)
    seconds = WAYS[way](lengths)
    last = seconds[-len(seconds) // 3 :]
    return {"seconds": sum(seconds), "last_third_mean": mean(last), "last_third_median": median(last)}


def read(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """States (rows, tokens, width) for texts of these lengths, which are no padding, and labels."""
    tokens = torch.tensor(lengths)
    mask = (torch.arange(max(lengths)) < tokens[:, None]).long()
    return POOL[: mask.numel()].view(*mask.shape, WIDTH), mask, tokens % 2


def as_pytorch(lengths: list[list[int]]) -> list[float]:
    """The model as it is."""
    model = two_blocks(dropout=DROPOUT).train()
    given = cast("Given", model.bert.embeddings)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=CASE.learning_rate, weight_decay=0.0, fused=True)

    def step(states: Tensor, mask: Tensor, labels: Tensor) -> None:
        given.states = states
        with torch.autocast("cpu", LOW):
            logits = model(input_ids=mask, attention_mask=mask).logits
        functional.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return timed(step, lengths)


def by_hand(lengths: list[list[int]]) -> list[float]:
    """The same kernels one after the other."""
    keep_code()
    keep_freed()
    blocks = TwoBlocks(two_blocks(dropout=DROPOUT), DROPOUT)
    return timed(lambda states, mask, labels: blocks.step(states, mask, labels, CASE.learning_rate), lengths)


def timed(step: Callable[[Tensor, Tensor, Tensor], object], lengths: list[list[int]]) -> list[float]:
    """The seconds of every step."""
    seconds = []
    for of_rows in lengths:
        started = time.perf_counter()
        step(*read(of_rows))
        seconds.append(time.perf_counter() - started)
    return seconds


class InOrder:
    """One epoch of steps, one batch in each, whose one index is the step's number."""

    by_rows = False

    def __init__(self, count: int) -> None:
        self.count = count

    def steps(self, epochs: float) -> int:
        """All of them."""
        return int(self.count * epochs)

    def epoch(self, number: int) -> list[list[np.ndarray]]:  # noqa: ARG002
        """A batch for each."""
        return [[np.array([step])] for step in range(self.count)]


def by_loop(lengths: list[list[int]]) -> list[float]:
    """The loop of nlp_transfer."""
    keep_code()
    keep_freed()
    model = two_blocks(dropout=DROPOUT)
    given = cast("Given", model.bert.embeddings)

    def fetch(indices: np.ndarray) -> Batch:
        given.states, mask, labels = read(lengths[int(indices[0])])
        return Batch({"input_ids": mask, "attention_mask": mask}, {"labels": labels})

    def loss(outputs: Any, batch: Batch) -> tuple[Tensor, float]:
        found = functional.cross_entropy(outputs.logits.float(), batch.targets["labels"], reduction="sum")
        return found, float(len(outputs.logits))

    settings = TrainSettings(epochs=1.0, learning_rate=CASE.learning_rate, weight_decay=0.0, warmup=0.0)
    groups = decay_groups(dict(model.named_parameters()), settings)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    with only_first(model):
        loop = Loop(model, groups, InOrder(len(lengths)), fetch, loss, settings, accelerator)
        return [step.seconds for step in loop]


WAYS = {"as PyTorch has it": as_pytorch, "the loop of nlp_transfer": by_loop, "by hand": by_hand}


if __name__ == "__main__":
    main()
