"""One padded batch: what the model reads, and what its answers are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """`inputs` are the model's keyword arguments, `targets` stay with the task; every tensor has the rows first."""

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    counts: Sequence[int] | None = None
    """How many of the inputs, one behind the other, belong to each row of the targets; None: one to each."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        return Batch(moved(self.inputs), moved(self.targets), self.counts)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def pad(sequences: Sequence[Sequence[int]], value: int) -> tuple[Tensor, Tensor]:
    """Token ids (rows, longest) padded on the right with `value`, and the mask of real tokens, both int64."""
    longest = max(len(sequence) for sequence in sequences)
    ids = np.full((len(sequences), longest), value, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = sequence
        mask[i, : len(sequence)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)
