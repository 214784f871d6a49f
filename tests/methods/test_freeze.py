"""Partial freezing: which blocks learn."""

from __future__ import annotations

import pytest

from nlp_transfer import RequestError
from nlp_transfer.architectures import blocks, embeddings
from nlp_transfer.methods.adapter import Adapter
from nlp_transfer.methods.freeze import Freeze
from tests.families import tiny

HEAD = ["classifier.weight", "classifier.bias"]


def learning_blocks(method: Freeze, layers: int = 6) -> list[int]:
    model = method.apply(tiny("bert", num_hidden_layers=layers), HEAD)
    assert not any(weight.requires_grad for module in embeddings(model) for weight in module.parameters())
    assert model.classifier.weight.requires_grad
    found = [{weight.requires_grad for weight in block.parameters()} for block in blocks(model)]
    assert all(len(kinds) == 1 for kinds in found), "a block learns whole or not at all"
    return [number for number, kinds in enumerate(found) if True in kinds]


@pytest.mark.parametrize(
    ("settings", "learning", "frozen"),
    [
        ({}, [4, 5], 4),
        ({"lowest": 0}, [0, 1, 2, 3, 4, 5], 0),
        ({"lowest": 6}, [], 6),
        ({"top": 1}, [5], 5),
        ({"top": 6}, [0, 1, 2, 3, 4, 5], 0),
        ({"blocks": (0, 3)}, [1, 2, 4, 5], 1),
    ],
)
def test_the_blocks_that_learn(settings: dict, learning: list[int], frozen: int) -> None:
    assert learning_blocks(Freeze(**settings)) == learning
    method = Freeze(**settings)
    assert method.frozen_blocks(method.apply(tiny("bert", num_hidden_layers=6), HEAD)) == frozen


def test_the_default_is_two_thirds() -> None:
    assert len(learning_blocks(Freeze(), layers=12)) == 4


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lowest": 1, "top": 1}, "expected one of them"),
        ({"lowest": -1}, r"method\.lowest is -1"),
        ({"blocks": ()}, r"method\.blocks"),
        ({"lowest": 7}, r"lowest 7: the model has 6 blocks"),
        ({"top": 7}, r"top 7: the model has 6 blocks"),
        ({"blocks": (6,)}, "numbered 0 to 5"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Freeze(**settings).apply(tiny("bert", num_hidden_layers=6), HEAD)


def test_a_new_pooler_below_the_head_learns() -> None:
    model = tiny("bert")
    head = [*HEAD, "bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    Freeze(top=1).apply(model, head)
    assert model.bert.pooler.dense.weight.requires_grad


def test_adapters_in_upper_blocks_leave_the_lower_ones_frozen() -> None:
    method = Adapter(layers=(3, 5), bottleneck_size=4)
    assert method.frozen_blocks(method.apply(tiny("bert", num_hidden_layers=6), HEAD)) == 3
