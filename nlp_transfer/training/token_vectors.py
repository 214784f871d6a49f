"""Token vectors that no text uses stand aside while a model trains, since nothing but weight decay would move them.

In full fine-tuning of a small encoder half of the weights are token vectors, and the texts of a data set use some of these. The
others have a gradient of zero in every step. So have AdamW's moments of them, and decoupled weight decay multiplies all of
them by the same numbers. One of them stays among those that are used and shows what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlp_transfer.architectures import TABLE, body

MOST = 0.75
"""The share of the token vectors that texts may use, if leaving out the others is to be worth it. Measured with minilm: of a step
7 % where a tenth is used, 4 % where half is, nothing at this."""

PROBED = 256
"""Token vectors that are looked up in both ways, before one is taken for the other."""


class TokenVectors(nn.Parameter):
    """Some rows of a matrix of token vectors (held, width), as a model trains them; the last one is of no text."""

    rows: Tensor
    """Which rows they are (held,)."""
    before: Tensor
    """The whole matrix as it was before training (vocabulary, width)."""

    @classmethod
    def of(cls, matrix: nn.Parameter, rows: Tensor) -> TokenVectors:
        """Rows of a matrix, which keeps its own."""
        held = cls(matrix.detach()[rows], matrix.requires_grad)
        held.rows, held.before = rows, matrix.detach().cpu()
        return held


def spread(values: Tensor, parameter: nn.Parameter) -> Tensor:
    """The whole matrix of which a parameter holds some rows, on the CPU; of any other parameter the values as they are.

    Args:
        values: the weights (held, width), a moment of AdamW's, or a number for all of them.
        parameter: whose they are. Rows that it does not hold are to what they were before training as its last row is: of the
            weights what decay left of them, of the moments zero.
    """
    if not isinstance(parameter, TokenVectors) or values.ndim == 0:
        return values
    values = values.cpu()
    first, last = parameter.before[parameter.rows[-1]].double(), values[-1].double()
    left = float(first @ last / (first @ first))
    return (parameter.before * left).index_copy_(0, parameter.rows, values)


def held(values: Tensor, parameter: nn.Parameter) -> Tensor:
    """Of a whole matrix the rows that a parameter holds; of any other parameter the values as they are."""
    return values[parameter.rows] if isinstance(parameter, TokenVectors) and values.ndim else values


def narrow(model: nn.Module, used: Callable[[], np.ndarray]) -> Callable[[], None]:
    """Have a model hold only the token vectors that its texts use; gives what puts the whole matrix back, as training left it.

    What is trained so is what would be trained without, but for the rounding of sums. The model's layers, their names and the
    ids that it reads stay as they are: its embedding looks up where among the rows it holds each id is. A model stays
    as it is where its token vectors do not learn or serve for something else too, or where most of them are used.

    Args:
        model: with a method applied.
        used: gives the ids that the model may read until the matrix is whole again, asked only where it matters.
    """
    embedding = _embedding(model)
    rows = _rows(embedding, used) if embedding else None
    if embedding is None or rows is None:
        return lambda: None
    whole, padding = embedding.get_parameter("weight"), embedding.padding_idx
    probe = rows[:-1][:: max(1, len(rows) // PROBED)].to(whole.device)
    with torch.no_grad():
        expected = embedding(probe)
    places = torch.full((len(whole),), -1, dtype=torch.int32)
    places[rows[:-1]] = torch.arange(len(rows) - 1, dtype=torch.int32)
    embedding.register_buffer("places", places.to(whole.device), persistent=False)
    embedding.weight = TokenVectors.of(whole, rows)
    embedding.padding_idx = None if padding is None else int(places[padding])
    hook = embedding.register_forward_pre_hook(_look_up)

    def put_back() -> None:
        trained = embedding.get_parameter("weight")
        whole.data = spread(trained.detach(), trained).to(trained.device)
        embedding.weight = whole.requires_grad_(trained.requires_grad)
        embedding.padding_idx = padding
        hook.remove()
        del embedding.places

    with torch.no_grad():
        if not torch.equal(embedding(probe), expected):  # a lookup of a kind of its own
            put_back()
            return lambda: None
    return put_back


def _look_up(embedding: nn.Module, ids: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where each id's row is among those held; -1, at which no row can be looked up, where it is not."""
    return (embedding.places[ids[0]], *ids[1:])  # type: ignore[index]


def _embedding(model: nn.Module) -> nn.Embedding | None:
    """Where a model looks up its token vectors, if these learn and serve for nothing else."""
    inside = body(model)
    found = inside.get_input_embeddings() if inside.config.model_type in TABLE else None
    if not isinstance(found, nn.Embedding) or not found.weight.requires_grad:
        return None
    uses = [weight for _, weight in model.named_parameters(remove_duplicate=False) if weight is found.weight]
    return found if len(uses) == 1 else None


def _rows(embedding: nn.Embedding, used: Callable[[], np.ndarray]) -> Tensor | None:
    """The rows that are used, and one that is not and from which decay can be told; None where it is not worth it."""
    free, ids = np.ones(len(embedding.weight), dtype=bool), used()
    free[ids[ids < len(free)]] = False  # a tokenizer may have ids that its model has no vector for
    if embedding.padding_idx is not None:
        free[embedding.padding_idx] = False
    if free.mean() < 1 - MOST:
        return None
    norms = embedding.weight.detach().norm(dim=1).cpu().numpy()
    witness = int(np.argmax(np.where(free, norms, 0)))
    if not free[witness] or not 0 < norms[witness] < np.inf:
        return None
    return torch.from_numpy(np.append(np.flatnonzero(~free), witness))
