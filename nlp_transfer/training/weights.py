"""Weights on disk while a model trains: safetensors, only what learns."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def save(model: nn.Module, file: Path) -> None:
    """Write the weights that learn, under their names in the model."""
    file.parent.mkdir(parents=True, exist_ok=True)
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    save_file({name: parameter.detach().contiguous().cpu() for name, parameter in learning.items()}, file)


def load(model: nn.Module, file: Path) -> None:
    """Put weights that `save` wrote back into a model."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in load_file(file).items():
            parameters[name].copy_(value)
