"""What the matrix units of this machine give at most, and the weights of a model that they multiply."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

from nlp_transfer import environment
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.quiet import quiet

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def matrix_limits(seconds: float = 1.0) -> dict[str, float]:
    """Floating-point operations per second of torch.mm on large square matrices, by precision."""
    device = torch.device(environment.describe()["device"])
    width = 1024 if device.type == "cpu" else 8192
    return {name: _limit(dtype, width, device, seconds) for name, dtype in PRECISIONS.items()}


def _limit(dtype: torch.dtype, width: int, device: torch.device, seconds: float) -> float:
    left, right = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        # reading one number waits for a device that works on its own
        torch.mm(left, right)[0, 0].item()

    product()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        product()
        count += 1
    return 2 * width**3 * count / (time.perf_counter() - started)


def multiplying_weights(model: str) -> int:
    """Weights of a backbone that multiply every token: all but those of its embeddings."""
    with quiet(), torch.device("meta"):
        built = AutoModel.from_config(Backbone.find(ModelSettings(model)).config)
    embeddings = {id(module.weight) for module in built.modules() if isinstance(module, nn.Embedding)}
    return sum(parameter.numel() for parameter in built.parameters() if id(parameter) not in embeddings)


def tokens_per_row(model: str, file: Path, max_length: int) -> float:
    """Mean tokens of a file's rows, special ones included, without padding."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [row["text"] if "text" in row else f"{row['question']} {row['context']}" for row in rows]
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(Backbone.find(ModelSettings(model)).location)
        encoded = tokenizer(texts, truncation=True, max_length=max_length)
    return sum(map(len, encoded["input_ids"])) / len(rows)
