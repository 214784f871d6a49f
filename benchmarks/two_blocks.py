"""A step of two trained blocks of BERT and their classifier, written by hand: what could be had without modules.

Attention, feed-forward, their gradients, clipping and AdamW are calls of PyTorch's kernels one after the other, without modules,
autocast or autograd. Weights, gradients and both moments lie in one tensor each, weights are converted to bf16 in one pass
and gradients back in another, queries, keys and values are one product; in the upper block, whose first token alone is read,
keys and values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForSequenceClassification

from nlp_transfer.training.attention import LANES
from nlp_transfer.training.dropout import factors

LOW = torch.bfloat16

aten: Any = torch.ops.aten
linear: Any = torch.ops.mkldnn._linear_pointwise

SIDES = {
    "out": ("attention.output.dense",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
    "norm1": ("attention.output.LayerNorm",),
    "norm2": ("output.LayerNorm",),
}
BLOCKS = (
    {"qkv": ("attention.self.query", "attention.self.key", "attention.self.value"), **SIDES},
    {"q": ("attention.self.query",), "kv": ("attention.self.key", "attention.self.value"), **SIDES},
)
"""Names here, by block, and whose weights lie there one behind the other."""


@dataclass
class Kept:
    """What the backward pass of a block reads."""

    states: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor
    dropped: Tensor
    factors: Tensor | None
    context: Tensor
    factors1: Tensor | None
    sum1: tuple[Tensor, Tensor, Tensor]
    normed: Tensor
    wide: Tensor
    activated: Tensor
    factors2: Tensor | None
    sum2: tuple[Tensor, Tensor, Tensor]


class TwoBlocks:
    """A classifier's two blocks, pooler and head, reading states instead of token ids."""

    def __init__(self, model: BertForSequenceClassification, dropout: float) -> None:
        config = model.config
        self.heads, self.width, self.dropout = config.num_attention_heads, config.hidden_size, dropout
        self.scale = (self.width // self.heads) ** -0.5
        layers: list[Any] = list(model.bert.encoder.layer)
        parts = {
            (name, i): [layer.get_submodule(path) for path in paths]
            for i, layer in enumerate(layers)
            for name, paths in BLOCKS[i].items()
        }
        parts["pool", 0], parts["head", 0] = [model.get_submodule("bert.pooler.dense")], [model.classifier]
        self.parts = parts
        pieces = [
            (of, kind, [getattr(module, kind) for module in parts[of]]) for of in parts for kind in ("weight", "bias")
        ]
        # norms last: theirs alone are read, and get their gradients, in fp32
        pieces.sort(key=lambda piece: piece[0][0].startswith("norm"))
        self.flat = torch.cat([each.detach().reshape(-1) for *_, tensors in pieces for each in tensors])
        self.low = torch.empty_like(self.flat, dtype=LOW)
        self.gradient, self.low_gradient = torch.zeros_like(self.flat), torch.zeros_like(self.low)
        self.moments, self.step_number = [torch.zeros_like(self.flat) for _ in range(2)], torch.zeros(())
        self.products = sum(
            each.numel() for of, _, each_of in pieces for each in each_of if not of[0].startswith("norm")
        )
        self.w, self.g = self._views(pieces, self.low), self._views(pieces, self.low_gradient)
        self.norms, self.norm_gradients = self._views(pieces, self.flat), self._views(pieces, self.gradient)

    @staticmethod
    def _views(
        pieces: list[tuple[tuple[str, int], str, list[Tensor]]], flat: Tensor
    ) -> dict[tuple[str, int, str], Tensor]:
        found, start = {}, 0
        for (name, i), kind, tensors in pieces:
            rows = sum(len(each) for each in tensors)
            count = sum(each.numel() for each in tensors)
            found[name, i, kind] = flat[start : start + count].view(rows, *tensors[0].shape[1:])
            start += count
        return found

    def gradients(self) -> dict[tuple[nn.Module, str], Tensor]:
        """The gradients of the model's own parameters, by module and name."""
        found = {}
        for (name, i), modules in self.parts.items():
            for kind in ("weight", "bias"):
                parts = self.norm_gradients[name, i, kind].chunk(len(modules))
                found.update({(module, kind): part for module, part in zip(modules, parts, strict=True)})
        return found

    @torch.no_grad()
    def step(self, states: Tensor, mask: Tensor, labels: Tensor, rate: float, clip: float = 1.0) -> float:
        """Train on states (rows, tokens, width), and tell the loss."""
        loss = self.backpropagate(states, mask, labels)
        norm = torch.dot(self.gradient, self.gradient).sqrt()
        cut = ((norm + 1e-6) / clip).clamp(min=1.0)
        one, other = self.moments
        self.step_number += 1
        torch._fused_adamw_(
            [self.flat],
            [self.gradient],
            [one],
            [other],
            [],
            [self.step_number],
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
            grad_scale=cut,
        )
        return loss

    @torch.no_grad()
    def backpropagate(self, states: Tensor, mask: Tensor, labels: Tensor) -> float:
        """Find the gradients of the mean loss."""
        self.low.copy_(self.flat)
        rows, tokens, _ = states.shape
        bias = torch.zeros(mask.shape, dtype=LOW).masked_fill_(mask == 0, torch.finfo(LOW).min)[:, None, None]
        lower, kept0 = self._block(0, states.reshape(rows * tokens, -1), bias, rows, first=False)
        first, kept1 = self._block(1, lower, bias, rows, first=True)

        low_first = first.to(LOW)
        pooled = linear(low_first, self.w["pool", 0, "weight"], self.w["pool", 0, "bias"], "none", [], "").tanh_()
        some = self._factors(pooled)
        read = pooled if some is None else pooled * some
        logits = linear(read, self.w["head", 0, "weight"], self.w["head", 0, "bias"], "none", [], "").float()
        likely = logits.log_softmax(-1)
        loss = -likely.gather(1, labels[:, None]).mean().item()

        back = likely.exp_()
        back[torch.arange(rows), labels] -= 1
        back = self._linear_back("head", 0, back.div_(rows).to(LOW), read)
        if some is not None:
            back = back.mul_(some)
        back = self._linear_back("pool", 0, aten.tanh_backward(back, pooled), low_first)
        gradient = self._block_back(1, back.float(), kept1, rows, first=True)
        self._block_back(0, gradient, kept0, rows, first=False)
        self.gradient[: self.products].copy_(self.low_gradient[: self.products])
        return loss

    def _factors(self, numbers: Tensor) -> Tensor | None:
        return factors(numbers, self.dropout) if self.dropout else None

    def _block(self, i: int, states: Tensor, bias: Tensor, rows: int, *, first: bool) -> tuple[Tensor, Kept]:
        """States (rows times tokens, width) above block i, of the first token alone if asked, and what its gradient needs."""
        low, tokens = states.to(LOW), len(states) // rows
        if first:
            (query,) = self._heads(self._linear("q", i, self._first(low, rows)), rows)
            key, value = self._heads(self._linear("kv", i, low), rows)
            states = self._first(states, rows)
        else:
            query, key, value = self._heads(self._linear("qkv", i, low), rows)
        query.mul_(self.scale)
        scores = torch.bmm(query, key.transpose(1, 2))
        scores.view(rows, self.heads, -1, tokens).add_(bias)
        weights = self._softmax(scores.float()).to(LOW)
        some = self._factors(weights)
        dropped = weights if some is None else weights * some
        context = self._together([torch.bmm(dropped, value)], rows)
        found = self._linear("out", i, context)
        some1 = self._factors(found)
        normed, sum1 = self._normed("norm1", i, (found if some1 is None else found.mul_(some1)) + states)
        low_normed = normed.to(LOW)
        wide = self._linear("up", i, low_normed)
        activated = aten.gelu(wide)
        found = self._linear("down", i, activated)
        some2 = self._factors(found)
        result, sum2 = self._normed("norm2", i, (found if some2 is None else found.mul_(some2)) + normed)
        kept = (
            low,
            query,
            key,
            value,
            weights,
            dropped,
            some,
            context,
            some1,
            sum1,
            low_normed,
            wide,
            activated,
            some2,
            sum2,
        )
        return result, Kept(*kept)

    def _block_back(self, i: int, back: Tensor, kept: Kept, rows: int, *, first: bool) -> Tensor:
        """The gradient of what block i read, from that of what it gave; with block 0 nobody needs it, and it is none."""
        back = self._norm_back("norm2", i, back, kept.sum2)
        low = back.to(LOW)
        wide = self._linear_back("down", i, low if kept.factors2 is None else low.mul_(kept.factors2), kept.activated)
        back = back.add_(self._linear_back("up", i, aten.gelu_backward(wide, kept.wide), kept.normed))
        back = self._norm_back("norm1", i, back, kept.sum1)
        low = back.to(LOW)
        context = self._linear_back("out", i, low if kept.factors1 is None else low.mul_(kept.factors1), kept.context)

        (context,) = self._heads(context, rows)
        values = torch.bmm(kept.dropped.transpose(1, 2), context)
        weights = torch.bmm(context, kept.value.transpose(1, 2))
        if kept.factors is not None:
            weights = weights.mul_(kept.factors)
        scores = self._softmax_back(weights.float(), kept.weights.float()).to(LOW)
        queries = torch.bmm(scores, kept.key).mul_(self.scale)
        keys = torch.bmm(scores.transpose(1, 2), kept.query)
        if not first:
            found = self._linear_back(
                "qkv", i, self._together([queries, keys, values], rows), kept.states, further=i > 0
            )
            return back.add_(found) if i > 0 else found
        asked = self._linear_back("q", i, self._together([queries], rows), self._first(kept.states, rows))
        found = self._linear_back("kv", i, self._together([keys, values], rows), kept.states).float()
        found.view(rows, -1, self.width)[:, 0].add_(back.add_(asked))
        return found

    def _heads(self, found: Tensor, rows: int) -> list[Tensor]:
        """Of each product that lies in one (rows times tokens, products times width): rows times heads, tokens, their width."""
        parts = found.view(rows, len(found) // rows, -1, self.heads, self.width // self.heads).permute(2, 0, 3, 1, 4)
        return [each.contiguous().view(rows * self.heads, *each.shape[2:]) for each in parts]

    def _together(self, parts: list[Tensor], rows: int) -> Tensor:
        """The way back of `_heads`."""
        tokens = parts[0].shape[1]
        together = torch.empty(rows, tokens, len(parts), self.heads, self.width // self.heads, dtype=LOW)
        for place, part in zip(together.permute(2, 0, 3, 1, 4), parts, strict=True):
            place.copy_(part.view(place.shape))
        return together.view(rows * tokens, -1)

    @staticmethod
    def _first(states: Tensor, rows: int) -> Tensor:
        """Of the states (rows times tokens, width) those of the first token."""
        return states.view(rows, len(states) // rows, -1)[:, 0].contiguous()

    def _linear(self, name: str, i: int, states: Tensor) -> Tensor:
        found: Tensor = linear(states, self.w[name, i, "weight"], self.w[name, i, "bias"], "none", [], "")
        return found

    def _linear_back(self, name: str, i: int, back: Tensor, states: Tensor, *, further: bool = True) -> Tensor:
        torch.mm(back.t(), states, out=self.g[name, i, "weight"])
        torch.sum(back, 0, out=self.g[name, i, "bias"])
        return torch.mm(back, self.w[name, i, "weight"]) if further else back

    def _normed(self, name: str, i: int, states: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        weight, bias = self.norms[name, i, "weight"], self.norms[name, i, "bias"]
        normed, mean, spread = aten.native_layer_norm(states, [self.width], weight, bias, 1e-12)
        return normed, (states, mean, spread)

    def _norm_back(self, name: str, i: int, back: Tensor, kept: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        states, mean, spread = kept
        weight, bias = self.norms[name, i, "weight"], self.norms[name, i, "bias"]
        found: Tensor
        found, *of_norm = aten.native_layer_norm_backward(
            back, states, [self.width], mean, spread, weight, bias, [True, True, True]
        )
        for kind, gradient in zip(("weight", "bias"), of_norm, strict=True):
            self.norm_gradients[name, i, kind].copy_(gradient)
        return found

    @staticmethod
    def _softmax(scores: Tensor) -> Tensor:
        count = scores.shape[-1]
        if count >= LANES:
            return scores.softmax(-1)
        return functional.pad(scores, (0, LANES - count), value=-math.inf).softmax(-1)[..., :count]

    @staticmethod
    def _softmax_back(back: Tensor, weights: Tensor) -> Tensor:
        count = back.shape[-1]
        more = (0, max(0, LANES - count))
        found: Tensor = aten._softmax_backward_data(
            functional.pad(back, more), functional.pad(weights, more), -1, torch.float32
        )
        return found[..., :count]
