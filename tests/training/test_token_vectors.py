"""Training with the token vectors that texts use is training with all of them."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from nlp_transfer import experiment, fine_tune
from nlp_transfer.data.encoding import tokens_in
from nlp_transfer.data.features import Features
from nlp_transfer.errors import Stopped
from nlp_transfer.methods.full import Full
from nlp_transfer.training import token_vectors
from nlp_transfer.training.checkpoints import Checkpoints
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings
from nlp_transfer.training.token_vectors import TokenVectors, narrow
from tests.families import FAMILIES
from tests.families import tiny as of_family
from tests.test_reliability import stop_at
from tests.training.test_loop import InOrder, prepared

ROWS = 24
SETTINGS = TrainSettings(epochs=3, batch_size=8, learning_rate=5e-3, weight_decay=0.5, clip=0.05, warmup=0.2)


def used(features: Features) -> np.ndarray:
    return np.union1d(tokens_in(features.columns), features.tokenizer.all_special_ids)


@pytest.fixture(scope="module")
def made() -> dict[Path, tuple[Any, Features]]:
    """Models and features by folder, made once."""
    return {}


Training = Callable[..., tuple[Loop, Any, Callable[[], None]]]


@pytest.fixture
def training(made: dict[Path, tuple[Any, Features]]) -> Training:
    """Makes a loop over a few rows, its model, and what puts the whole matrix back."""

    def make(
        folder: Path,
        narrowed: bool = True,
        settings: TrainSettings = SETTINGS,
        method: Full | None = None,
        dropout: float = 0.0,
        precision: Any = "fp32",
    ) -> tuple[Loop, Any, Callable[[], None]]:
        if folder not in made:
            model, features = prepared(folder)
            made[folder] = model, replace(features, columns=features.columns.select(range(ROWS)))
        method, (model, features) = method or Full(), copy.deepcopy(made[folder])
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        head = [name for name, _ in model.named_parameters() if name.startswith(("classifier", "score"))]
        model = method.apply(model, head)
        put_back = narrow(model, lambda: used(features)) if narrowed else lambda: None
        assert narrowed == (held_by(model) is not None)
        loop = Loop(
            model,
            method.parameter_groups(model, head, settings),
            InOrder(ROWS, settings.rows_at_once, settings.accumulate),
            features.fetch,
            features.task.loss,
            settings,
            accelerator(precision, method.in_stages),
            begin=lambda plain, epoch: method.unfreeze(plain, head, epoch),
        )
        torch.manual_seed(7)
        return loop, model, put_back

    return make


def held_by(model: torch.nn.Module) -> TokenVectors | None:
    return next((parameter for parameter in model.parameters() if isinstance(parameter, TokenVectors)), None)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], within: float) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, atol=within, rtol=within, msg=lambda text, name=name: f"{name}: {text}"
        )


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


WAYS: dict[str, dict[str, Any]] = {
    "decay and clipping": {},
    "accumulation": {"settings": replace(SETTINGS, batch_size=4, accumulate=2)},
    "rates by depth, no clipping, cosine": {
        "method": Full(layer_decay=0.5),
        "settings": replace(SETTINGS, clip=None, schedule="cosine"),
    },
    "pull": {"method": Full(pull=3.0)},
    "gradual": {"method": Full(gradual=True), "settings": replace(SETTINGS, epochs=4)},
    "dropout": {"dropout": 0.3},
    "bf16": {"precision": "bf16"},
}
ON_A_DECODER = ("decay and clipping", "gradual", "bf16")


@pytest.mark.parametrize(
    ("folder", "way"), [*(("tiny_bert", way) for way in WAYS), *(("tiny_gpt2", way) for way in ON_A_DECODER)]
)
def test_losses_and_weights_are_those_of_the_whole_matrix(
    training: Training, request: pytest.FixtureRequest, folder: str, way: str
) -> None:
    found = []
    for narrowed in (False, True):
        loop, model, put_back = training(request.getfixturevalue(folder), narrowed, **WAYS[way])
        steps = [(float(step.loss), float(step.gradient_norm or 0)) for step in loop]
        put_back()
        assert held_by(model) is None
        found.append((np.array(steps), weights(model)))
    (expected, plain), (steps, ours) = found
    assert np.std(expected[:, 0]) > 5e-3, "nothing was learned, so nothing was compared"
    # the norm adds up other rows, and its last digit may turn a number that bf16 rounds: with 40 kinds of weights three times,
    # for losses 3e-5, norms 3e-4 and weights 8e-5 apart
    of_loss, of_norm, of_weights = (2e-4, 2e-3, 5e-4) if way == "bf16" else (1e-6, 1e-5, 1e-6)
    np.testing.assert_allclose(steps[:, 0], expected[:, 0], rtol=of_loss)
    np.testing.assert_allclose(steps[:, 1], expected[:, 1], rtol=of_norm)
    close(ours, plain, of_weights)


def test_what_no_text_uses_decays_as_adamw_has_it(training: Training, tiny_bert: Path) -> None:
    loop, model, put_back = training(tiny_bert)
    held = held_by(model)
    assert held is not None
    before, aside = held.before.clone(), np.setdiff1d(np.arange(len(held.before)), held.rows)
    assert len(aside) > 50
    left = math.prod(1 - step.learning_rate * 0.5 for step in loop)
    assert left < 0.99
    put_back()
    after = model.get_input_embeddings().weight.detach()
    torch.testing.assert_close(after[aside], before[aside] * left, atol=1e-7, rtol=2e-6)
    witness = int(held.rows[-1])
    assert torch.equal(after[witness], held.detach()[-1]), "one of them was decayed by AdamW itself"


def test_a_checkpoint_holds_the_whole_matrix_and_training_goes_on_to_the_bit(
    training: Training, tiny_bert: Path, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, writes=True, every=None)
    loop, model, put_back = training(tiny_bert, dropout=0.1)
    for step in loop:
        if step.number == 4:
            checkpoints.save(loop, {"pending": False})
            state = torch.get_rng_state()
    put_back()
    expected, name = weights(model), "bert.embeddings.word_embeddings.weight"
    stored = {kind: load_file(tmp_path / "step-00000004" / f"{kind}.safetensors") for kind in ("model", "optimizer")}
    assert {name: tensor.shape for name, tensor in stored["model"].items()} == {
        name: parameter.shape for name, parameter in model.named_parameters()
    }
    shapes = {path: tuple(stored["optimizer"][f"{path}/{name}"].shape) for path in ("exp_avg", "exp_avg_sq", "step")}
    assert shapes == {"exp_avg": (600, 32), "exp_avg_sq": (600, 32), "step": ()}

    # the weights are those of training with the whole matrix, and it goes on from them
    plain, whole, _ = training(tiny_bert, narrowed=False, dropout=0.1)
    for step in plain:
        if step.number == 4:
            break
    close(stored["model"], {name: weights(whole)[name] for name in stored["model"]}, 1e-6)

    for narrowed in (True, False):
        loop, model, put_back = training(tiny_bert, narrowed, dropout=0.1)
        Checkpoints(tmp_path, writes=True, every=None).restore(loop)
        assert torch.equal(torch.get_rng_state(), state)
        assert [step.number for step in loop] == [5, 6, 7, 8, 9]
        put_back()
        if narrowed:
            equal(weights(model), expected)
        else:
            close(weights(model), expected, 1e-6)


def test_the_best_weights_come_back_whole(training: Training, tiny_gpt2: Path, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, writes=True, every=None)
    loop, model, put_back = training(tiny_gpt2)
    for step in loop:
        if step.number == 3:
            checkpoints.save_best(loop)
    best = load_file(tmp_path / "best-00000003" / "model.safetensors")
    checkpoints.load_best(model, 3)
    put_back()
    equal({name: weights(model)[name] for name in best}, best)

    plain, whole, _ = training(tiny_gpt2, narrowed=False)
    for step in plain:
        if step.number == 3:
            break
    close({name: weights(whole)[name] for name in best}, best, 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_reads_the_same_ids_with_fewer_vectors(family: str) -> None:
    model = of_family(family).eval()
    before, ids = weights(model), torch.tensor([[0, 9, 8, 7, 2, 1, 1], [0, 20, 5, 6, 7, 30, 2]])

    def answers() -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=(ids != 1).long()).logits

    expected, names = answers(), [name for name, _ in model.named_parameters()]
    # of some tokenizers an id lies beyond the model's vectors
    put_back = narrow(model, lambda: np.union1d(ids, [64]))
    held = held_by(model)
    assert held is not None
    assert len(held) == len(np.unique(ids)) + 1
    assert torch.equal(answers(), expected)
    assert [name for name, _ in model.named_parameters()] == names
    answers_of = model(input_ids=ids, attention_mask=(ids != 1).long()).logits
    answers_of.sum().backward()
    assert held.grad is not None
    assert held.grad[:-1].abs().sum() > 0
    assert held.grad[-1].abs().sum() == 0
    # an id that was not announced is no other's vector
    with pytest.raises(IndexError):
        model(input_ids=torch.full_like(ids, 40))
    put_back()
    equal(weights(model), before)
    assert torch.equal(answers(), expected)
    assert "places" not in dict(model.named_buffers())


def test_a_model_stays_as_it_is_where_something_is_unusual(monkeypatch: pytest.MonkeyPatch, tiny_gpt2: Path) -> None:
    def stays(model: Any, ids: np.ndarray) -> bool:
        before = weights(model)
        narrow(model, lambda: ids)()
        untouched = held_by(model) is None and not dict(model.named_buffers()).keys() & {"places"}
        equal(weights(model), before)
        return untouched

    few = np.arange(10)
    tied = AutoModelForCausalLM.from_pretrained(tiny_gpt2)
    assert tied.get_output_embeddings().weight is tied.get_input_embeddings().weight
    assert stays(tied, few)
    assert stays(of_family("bert"), np.arange(63)), "most are used"
    model = of_family("bert")
    model.get_input_embeddings().weight.requires_grad_(False)
    assert stays(model, few), "they never learn"
    model = of_family("bert")
    torch.nn.init.zeros_(model.get_input_embeddings().weight[10:])
    assert stays(model, few), "nothing there could show decay"
    model = of_family("bert")
    model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: (ids[0] // 2,))
    assert stays(model, few), "ids are looked up otherwise"
    model = of_family("bert")
    monkeypatch.setattr(token_vectors, "TABLE", {})
    assert stays(model, few), "a family that nobody tried"


def test_a_run_ends_with_the_weights_and_scores_of_the_whole_matrix(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some words stand in validation and test alone, and a stopped run goes on to the same bits."""
    colours, words = ("red", "blue"), ("billing", "return", "order", "parcel", "invoice", "refund")
    rows = [{"text": f"{words[i % 6]} {colours[i % 2]}", "label": colours[i % 2]} for i in range(24)]
    new = [{"text": f"thank you {colours[i % 2]}", "label": colours[i % 2]} for i in range(6)]
    for name, split in (("train", rows), ("validation", new), ("test", new)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, split)), encoding="utf-8")
    asked: list[int] = []

    def narrowed(model: Any, ids: Callable[[], np.ndarray]) -> Callable[[], None]:
        put_back = narrow(model, ids)
        held = held_by(model)
        asked.append(0 if held is None else len(held))
        return put_back

    settings = {"epochs": 3, "batch_size": 8, "weight_decay": 0.5, "learning_rate": 5e-3, "precision": "fp32"}
    parts = {"model": str(tiny_bert), "task": "classification", "data": str(tmp_path), "train": settings}
    folders, ways = (tmp_path / "ours", tmp_path / "plain"), (narrowed, lambda *_: lambda: None)
    runs = []
    for folder, way in zip(folders, ways, strict=True):
        monkeypatch.setattr(experiment, "narrow", way)
        runs.append(fine_tune(**parts, output=folder, silent=True))
    ours, plain = runs
    assert 10 < asked[0] < 100
    close(weights(ours.model), weights(plain.model), 1e-6)
    assert ours.scores == plain.scores
    assert ours.report["parameters"] == plain.report["parameters"]
    lines = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in folders]
    losses = [[line["loss"] for line in each if "loss" in line] for each in lines]
    assert len(losses[0]) == 9
    np.testing.assert_allclose(*losses, rtol=1e-6)

    monkeypatch.undo()
    stop_at(6, monkeypatch)
    with pytest.raises(Stopped):
        fine_tune(**parts, output=tmp_path / "stopped", silent=True)
    monkeypatch.undo()
    resumed = fine_tune(output=tmp_path / "stopped", resume=True, silent=True)
    equal(weights(resumed.model), weights(ours.model))
    assert resumed.scores == ours.scores
