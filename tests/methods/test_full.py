"""Full fine-tuning: rates by depth, gradual unfreezing, blocks that begin anew, and the pull to where weights began."""

from __future__ import annotations

import copy
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import set_seed

from nlp_transfer import RequestError
from nlp_transfer.architectures import blocks, embeddings
from nlp_transfer.data.encoding import tokens_in
from nlp_transfer.methods.full import Full
from nlp_transfer.training.checkpoints import Checkpoints
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.optimizer import adamw
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings
from nlp_transfer.training.token_vectors import TokenVectors, narrow
from tests.families import tiny
from tests.processes import CONTEXT
from tests.training.test_loop import InOrder, prepared

HEAD = ("classifier.weight", "classifier.bias")
SETTINGS = TrainSettings(epochs=4, batch_size=8, learning_rate=1e-2, precision="fp32")


def loop(method: Full, model: torch.nn.Module, features: object, rows: int = 16) -> Loop:
    model = method.apply(model, HEAD)
    return Loop(
        model,
        method.parameter_groups(model, HEAD, SETTINGS),
        InOrder(rows, SETTINGS.batch_size),
        features.fetch,
        features.task.loss,
        SETTINGS,
        accelerator("fp32", method.in_stages),
        begin=lambda plain, epoch: method.unfreeze(plain, HEAD, epoch),
    )


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Parts of the model in which anything changed: embeddings, a block's number, pooler, classifier."""
    names = [name for name in before if not torch.equal(before[name], after[name])]
    return {
        name.split(".layer.")[1][0] if ".layer." in name else name.removeprefix("bert.").split(".")[0] for name in names
    }


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2"])
def test_every_weight_is_in_one_group_and_lower_blocks_learn_more_slowly(family: str) -> None:
    model = tiny(family, num_hidden_layers=3)
    head = [name for name, _ in model.named_parameters() if name.startswith(("classifier", "score"))]
    groups = Full(layer_decay=0.5).parameter_groups(Full(layer_decay=0.5).apply(model, head), head, SETTINGS)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert groups[0]["lr"] == 1e-2, "the rate that is logged is the head's"

    def of(module: torch.nn.Module) -> set[float]:
        return {rates[id(parameter)] for parameter in module.parameters()}

    assert [of(block) for block in blocks(model)] == [{2.5e-3}, {5e-3}, {1e-2}]
    assert set.union(*(of(module) for module in embeddings(model))) == {1.25e-3}
    assert {rates[id(model.get_parameter(name))] for name in head} == {1e-2}


def test_gradual_unfreezing_lets_one_block_more_learn_in_every_epoch(tiny_bert: Path) -> None:
    model, features = prepared(tiny_bert)
    training = loop(Full(gradual=True), model, features)
    found, steps, before = [], [], state(model)
    for step in training:
        if step.ends_epoch:
            found.append(moved(before, state(model)))
            before = state(model)
            steps.append(int(training.optimizer.state[model.classifier.weight]["step"]))
    assert found == [
        {"classifier"},
        {"classifier", "pooler", "1"},
        {"classifier", "pooler", "1", "0"},
        {"classifier", "pooler", "1", "0", "embeddings"},
    ]
    assert steps == [2, 4, 6, 8], "the optimiser goes on with what already learned"


def test_the_best_weights_of_an_early_epoch_come_back_whole(tiny_bert: Path, tmp_path: Path) -> None:
    """What was frozen at the best evaluation and learned afterwards must be frozen again."""
    model, features = prepared(tiny_bert)
    training = loop(Full(gradual=True), model, features)
    checkpoints = Checkpoints(tmp_path, writes=True, every=None)
    best = None
    for step in training:
        if step.number == 2:
            checkpoints.save_best(training)
            best = state(model)
    assert best is not None
    assert moved(best, state(model)) == {"classifier", "pooler", "1", "0", "embeddings"}
    checkpoints.load_best(model, 2)
    assert moved(best, state(model)) == set()


def _losses(rank: int, port: int, folder: Path, written: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    model, features = prepared(folder)
    # all the while with the token vectors of these rows alone
    narrow(model, lambda: np.union1d(tokens_in(features.columns.select(range(16))), features.tokenizer.all_special_ids))
    assert isinstance(model.get_input_embeddings().weight, TokenVectors)
    training = loop(Full(gradual=True, layer_decay=0.9, pull=2.0), model, features)
    assert training.accelerator.num_processes == 2
    losses = [float(step.loss) for step in training]
    if rank == 0:
        torch.save(losses, written)
    # no `destroy_process_group`: DDP still holds the group, and its end would keep the GIL from the thread that it waits for
    os._exit(0)


def test_two_processes_unfreeze_as_one_does(tiny_bert: Path, tmp_path: Path) -> None:
    model, features = prepared(tiny_bert)
    alone = [float(step.loss) for step in loop(Full(gradual=True, layer_decay=0.9, pull=2.0), model, features)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    written = tmp_path / "losses"
    processes = [CONTEXT.Process(target=_losses, args=(rank, port, tiny_bert, written)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert torch.load(written, weights_only=True) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2", "llama"])
def test_blocks_from_the_top_begin_anew_and_the_others_do_not(family: str) -> None:
    model = tiny(family, num_hidden_layers=3)
    for parameter in model.parameters():
        parameter.data.add_(1.0)
    head = [name for name, _ in model.named_parameters() if name.startswith(("classifier", "score"))]
    before = copy.deepcopy(model)
    set_seed(5)
    Full(reinitialize=2).apply(model, head)
    same = [
        all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
        for one, two in zip(blocks(model), blocks(before), strict=True)
    ]
    assert same == [True, False, False]
    for module, other in zip(embeddings(model), embeddings(before), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(model.get_parameter(name), before.get_parameter(name)) for name in head)
    for name, parameter in blocks(model)[2].named_parameters():
        expected = 1.0 if "norm" in name.lower() or "ln_" in name else 0.0
        wanted = expected if name.endswith("weight") else 0.0
        assert float(parameter.detach().mean()) == pytest.approx(wanted, abs=0.01), name
        assert float(parameter.detach().std()) < 0.03, name
    again = copy.deepcopy(before)
    set_seed(5)
    Full(reinitialize=2).apply(again, head)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_pull_is_weight_decay_towards_the_first_weights() -> None:
    torch.manual_seed(0)
    start = torch.randn(3, 4)
    pulled, plain = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    ours = adamw([{"params": [pulled], "lr": 0.1, "weight_decay": 0.0, "pull": 3.0}])
    theirs = torch.optim.AdamW([plain], lr=0.1, weight_decay=0.0)
    for step in range(5):
        gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(step))
        pulled.grad, plain.grad = gradient, gradient.clone()
        ours.step()
        theirs.step()
        with torch.no_grad():
            plain += 0.1 * 3.0 * (start - plain)
        torch.testing.assert_close(pulled, plain)


def test_a_pulled_model_stays_nearer_to_its_backbone_and_its_head_does_not(tiny_bert: Path) -> None:
    far = {}
    for pull in (0.0, 30.0):
        model, features = prepared(tiny_bert)
        before = state(model)
        for _ in loop(Full(pull=pull), model, features):
            pass
        far[pull] = {name: float((weight - before[name]).norm()) for name, weight in state(model).items()}
    backbone = [name for name in far[0.0] if name not in HEAD and far[0.0][name] > 0]
    assert sum(far[30.0][name] for name in backbone) < 0.7 * sum(far[0.0][name] for name in backbone)
    assert far[30.0]["classifier.weight"] > 0.7 * far[0.0]["classifier.weight"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer_decay": 0.0}, r"method.layer_decay is 0.0: expected above 0"),
        ({"layer_decay": 1.1}, r"method.layer_decay is 1.1"),
        ({"reinitialize": -1}, r"method.reinitialize is -1"),
        ({"pull": -1.0}, r"method.pull is -1.0"),
    ],
)
def test_settings_that_no_model_could_have_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Full(**settings)


def test_more_blocks_than_there_are_cannot_begin_anew() -> None:
    with pytest.raises(RequestError, match=r"method.reinitialize is 3: the model has 2 blocks"):
        Full(reinitialize=3).apply(tiny("bert"), HEAD)


def test_hooks_of_others_run_once_a_step() -> None:
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # torch wraps the step of a class when it is first used
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer, seen = adamw([{"params": [weight], "lr": 0.1, "pull": 1.0}]), []
    optimizer.register_step_pre_hook(lambda *_: seen.append(1))
    weight.grad = torch.ones(3)
    optimizer.step()
    assert seen == [1]
