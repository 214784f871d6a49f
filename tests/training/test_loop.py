"""The loop against `transformers.Trainer`, and what accumulation and clipping promise."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments, set_seed

from nlp_transfer import samples
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.batches import LengthBuckets
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.heads import load_with_head
from nlp_transfer.methods.full import Full
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings

STEPS = 20
BATCH = 8
RATE = 5e-3


@dataclass(frozen=True)
class InOrder:
    """Rows as they stand, in batches."""

    rows: int
    batch_size: int
    accumulate: int = 1

    by_rows = False

    def steps(self, epochs: float) -> int:
        return round(epochs * -(-self.rows // (self.batch_size * self.accumulate)))

    def epoch(self, number: int) -> list[list[np.ndarray]]:
        batches = [np.arange(i, min(i + self.batch_size, self.rows)) for i in range(0, self.rows, self.batch_size)]
        return [batches[i : i + self.accumulate] for i in range(0, len(batches), self.accumulate)]


def prepared(folder: Path, task: Classification | None = None) -> tuple[torch.nn.Module, Features]:
    """A model without dropout and the features of a sample's training rows, both always the same."""
    data = load(DataSettings(str(samples.path("classification"))), {}, task or Classification(), seed=0)
    backbone = Backbone.find(ModelSettings(str(folder)))
    set_seed(1)
    model = load_with_head(backbone, *data.task.head(), "own", dropout=0.0).model
    rows = data.splits["train"].rows.select(range(STEPS * BATCH))
    return model, Features.of(rows, data.task, backbone.tokenizer())


def losses(model: torch.nn.Module, features: Features, plan: object, settings: TrainSettings) -> list[float]:
    model = copy.deepcopy(model)
    settings = replace(settings, learning_rate=RATE)
    groups = Full().parameter_groups(model, (), settings)
    loop = Loop(model, groups, plan, features.fetch, features.task.loss, settings, accelerator("fp32"))
    return [float(step.loss) for step in loop]


def weights_after(model: torch.nn.Module, features: Features, plan: object, settings: TrainSettings) -> torch.Tensor:
    model = copy.deepcopy(model)
    settings = replace(settings, learning_rate=RATE)
    groups = Full().parameter_groups(model, (), settings)
    for _ in Loop(model, groups, plan, features.fetch, features.task.loss, settings, accelerator("fp32")):
        pass
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_losses_are_those_of_the_trainer(tiny: Path, tmp_path: Path) -> None:
    model, features = prepared(tiny)
    settings = TrainSettings(epochs=1, batch_size=BATCH, warmup=0.1, weight_decay=0.01, clip=1.0)
    ours = losses(model, features, InOrder(len(features), BATCH), settings)

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        batch = features.task.collate({name: [row[name] for row in rows] for name in rows[0]}, features.tokenizer)
        return {**batch.inputs, "labels": batch.targets["label"]}

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        warmup_steps=0.1,
        weight_decay=0.01,
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(copy.deepcopy(model), arguments, data_collator=collate, train_dataset=features.columns)
    trainer.train()
    theirs = [line["loss"] for line in trainer.state.log_history if "loss" in line]

    assert len(ours) == len(theirs) == STEPS
    assert np.std(ours) > 0.01, "nothing was learned, so nothing was compared"
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("rows", [STEPS * BATCH, 50])
def test_k_batches_of_n_make_the_step_of_one_batch(tiny: Path, class_weights: str, rows: int) -> None:
    weights = {"billing": 3.0, "returns": 0.2} if class_weights == "balanced" else "none"
    model, features = prepared(tiny, Classification(class_weights=weights))
    features = replace(features, columns=features.columns.select(range(rows)))
    settings = TrainSettings(epochs=1, batch_size=4, clip=1.0)
    whole = weights_after(model, features, InOrder(rows, 16), settings)
    parts = weights_after(model, features, InOrder(rows, 4, accumulate=4), settings)
    # Adam turns the rounding of a gradient near zero into an update: 1e-5 of weights that moved by 1e-2
    torch.testing.assert_close(parts, whole, atol=5e-5, rtol=0)
    without = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert (whole - without).abs().max() > 1e-2


@dataclass(frozen=True)
class Unequal:
    """Steps of very different numbers of rows, counted by these or not."""

    rows: int
    by_rows: bool = True

    def steps(self, epochs: float) -> int:
        return round(epochs * len(self.epoch(0)))

    def epoch(self, number: int) -> list[list[np.ndarray]]:
        batches = np.split(np.arange(self.rows), [1, 3, 11, 40, self.rows - 5])
        return [[batches[0], batches[3]], *([batch] for batch in (batches[1], batches[2], batches[4], batches[5]))]


@pytest.mark.parametrize("by_rows", [True, False])
def test_where_steps_count_by_their_rows_their_mean_gradient_is_that_of_all_rows(
    tiny_bert: Path, by_rows: bool
) -> None:
    model, features = prepared(tiny_bert)
    plan = Unequal(len(features), by_rows)
    found = [gradients for gradients, _ in gradients_of(model, features, plan, steps=plan.steps(1))]
    ((all_rows, _),) = gradients_of(model, features, InOrder(len(features), len(features)), steps=1)
    error = (torch.stack(found).mean(0) - all_rows).norm() / all_rows.norm()
    assert error < 1e-4 if by_rows else error > 0.05


def test_where_steps_count_by_their_rows_the_loss_is_still_a_mean(tiny_bert: Path) -> None:
    model, features = prepared(tiny_bert)
    settings = TrainSettings(max_steps=1)
    found = [losses(model, features, Unequal(len(features), by_rows), settings)[0] for by_rows in (True, False)]
    assert found[0] == found[1]


def gradients_of(
    model: torch.nn.Module, features: Features, plan: object, steps: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All gradients as the optimiser used them at each step, and the norm that the step tells; no weight moves."""
    model = copy.deepcopy(model)
    settings = TrainSettings(max_steps=steps, learning_rate=1e-12, clip=1e9, weight_decay=0.0)
    groups = Full().parameter_groups(model, (), settings)
    loop = Loop(model, groups, plan, features.fetch, features.task.loss, settings, accelerator("fp32"))
    seen: list[torch.Tensor] = []
    loop.optimizer.optimizer.register_step_post_hook(
        lambda *_: seen.append(torch.cat([parameter.grad.flatten().clone() for parameter in model.parameters()]))
    )
    norms = [step.gradient_norm for step in loop]
    return list(zip(seen, norms, strict=True))


def first_gradients(model: torch.nn.Module, features: Features, plan: InOrder) -> tuple[torch.Tensor, torch.Tensor]:
    """All gradients as the optimiser used them at the first step, and the norm that the step tells."""
    model = copy.deepcopy(model)
    settings = TrainSettings(max_steps=1, learning_rate=1e-3, clip=1e9)
    groups = Full().parameter_groups(model, (), settings)
    loop = Loop(model, groups, plan, features.fetch, features.task.loss, settings, accelerator("fp32"))
    seen: list[torch.Tensor] = []
    loop.optimizer.optimizer.register_step_post_hook(
        lambda *_: seen.extend(parameter.grad.flatten().clone() for parameter in model.parameters())
    )
    step = next(iter(loop))
    assert step.gradient_norm is not None
    return torch.cat(seen), step.gradient_norm


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("class_weights", ["none", {"billing": 3.0, "returns": 0.2}])
def test_gradients_are_those_of_torchs_weighted_mean(tiny: Path, class_weights: object, accumulate: int) -> None:
    model, features = prepared(tiny, Classification(class_weights=class_weights))  # type: ignore[arg-type]
    rows = 14  # the last of the four batches is a ragged one
    plan = InOrder(rows, 16 // accumulate, accumulate)
    found, norm = first_gradients(model, features, plan)

    batch = features.fetch(np.arange(rows))
    weights = None if features.task.weights is None else torch.tensor(features.task.weights)
    logits = model.train()(**batch.inputs).logits
    torch.nn.functional.cross_entropy(logits, batch.targets["label"], weights).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(norm, expected.norm(), atol=0, rtol=1e-4)
    assert norm > 0.1


def test_steps_are_counted_over_epochs_and_parts_of_them(tiny_bert: Path) -> None:
    model, features = prepared(tiny_bert)
    plan = LengthBuckets(features.lengths, batch_size=BATCH, accumulate=1, seed=0)
    assert len(losses(model, features, plan, TrainSettings(epochs=1.5))) == STEPS * 3 // 2
    assert len(losses(model, features, plan, TrainSettings(epochs=9, max_steps=3))) == 3


def test_clipping_bounds_the_update_and_reports_the_norm_before_it(tiny_bert: Path) -> None:
    model, features = prepared(tiny_bert)
    settings = TrainSettings(epochs=1, clip=1e-3, learning_rate=1e-3)
    trained = copy.deepcopy(model)
    loop = Loop(
        trained,
        Full().parameter_groups(trained, (), settings),
        InOrder(len(features), BATCH),
        features.fetch,
        features.task.loss,
        settings,
        accelerator("fp32"),
    )
    step = next(iter(loop))
    assert step.gradient_norm is not None
    assert step.gradient_norm > 1e-3


def test_norms_and_biases_do_not_decay(tiny: Path) -> None:
    model, _ = prepared(tiny)
    groups = Full().parameter_groups(model, (), TrainSettings(weight_decay=0.5, learning_rate=1e-3))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {names[id(parameter)] for group in groups if group["weight_decay"] for parameter in group["params"]}
    free = {names[id(parameter)] for group in groups if not group["weight_decay"] for parameter in group["params"]}
    assert decaying | free == set(names.values())
    trainer_decays = set(Trainer.get_decay_parameter_names(Trainer.__new__(Trainer), model))
    assert decaying == trainer_decays


def test_the_end_of_every_epoch_is_told(tiny_bert: Path) -> None:
    model, features = prepared(tiny_bert)
    settings = TrainSettings(epochs=2.5, learning_rate=1e-3)
    loop = Loop(
        model,
        Full().parameter_groups(model, (), settings),
        InOrder(len(features), BATCH),
        features.fetch,
        features.task.loss,
        settings,
        accelerator("fp32"),
    )
    assert [step.epoch for step in loop if step.ends_epoch] == [1.0, 2.0, 2.5]


def test_rows_with_unknown_columns_do_not_reach_the_model(tiny_bert: Path) -> None:
    _, features = prepared(tiny_bert)
    assert isinstance(features.columns, Dataset)
    assert set(features.fetch(np.arange(3)).inputs) == {"input_ids", "attention_mask"}
