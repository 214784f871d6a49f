"""One padded batch: what the model reads, and what its answers are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """`inputs` are the model's keyword arguments, `targets` stay with the task; every tensor has the rows first."""

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        return Batch(moved(self.inputs), moved(self.targets))

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))
