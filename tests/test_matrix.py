"""Every method on every task and family: what each promises, kept by all."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import set_seed

from nlp_transfer import artefacts, methods, samples, tasks
from nlp_transfer.architectures import embeddings
from nlp_transfer.backbone import Backbone, LoadedModel, ModelSettings
from nlp_transfer.data.features import Features, WholeRows, learned
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import Data, load
from nlp_transfer.errors import RequestError
from nlp_transfer.heads import HeadSettings, load_with_head
from nlp_transfer.recipe import Recipe
from nlp_transfer.training.batch import Batch
from nlp_transfer.training.loop import Loop
from nlp_transfer.training.precision import accelerator
from nlp_transfer.training.settings import TrainSettings
from nlp_transfer.tuners import block_names, norm_names
from tests.families import FAMILIES
from tests.matrix import UNSUPPORTED, WIDER, Cell, answer_again, backbones, cells
from tests.processes import CONTEXT
from tests.training.test_loop import InOrder

ROWS = 8
STEPS = TrainSettings(
    precision="fp32", epochs=3, batch_size=ROWS, learning_rate=1e-2, weight_decay=0.0, warmup=0.0, schedule="constant"
)

SQUARED = replace(STEPS, learning_rate=1e-3)
"""A squared error overshoots at the rate that suits the others."""


CELLS = (288, 278)
"""How many there are in each half of the families, those that are refused aside."""

UNMERGED = ("adapter", "prefix", "prompt")
"""Methods that no plain model computes."""


@cache
def data(task: str, sample: str) -> Data:
    return load(DataSettings(str(samples.path(sample))), {}, tasks.find(task)(), seed=0)


@cache
def found_backbone(settings: ModelSettings) -> Backbone:
    return Backbone.find(settings)


@cache
def under_head(folder: Path, task: str, sample: str, pooling: str) -> LoadedModel:
    set_seed(0)
    backbone = found_backbone(ModelSettings(str(folder)))
    return load_with_head(backbone, *data(task, sample).task.head(), pooling, dropout=0.0)


@dataclass
class Made:
    """A cell's parts."""

    cell: Cell
    recipe: Recipe
    model: Any
    head: tuple[str, ...]
    whole: list[str]
    """Names of the blocks and norms that learn whole under a tuner."""
    features: Features
    drawn: Features | WholeRows

    @classmethod
    def of(cls, cell: Cell, folder: Path) -> Made:
        found = data(cell.task, cell.sample)
        method = methods.find(cell.method)(**{**WIDER.get(cell.method, {}), **cell.settings})
        settings, head = ModelSettings(str(folder)), HeadSettings(cell.pooling)  # type: ignore[arg-type]
        backbone = found_backbone(settings)
        rows = DataSettings("rows.csv", max_length=24 if cell.windows else None)
        still = TrainSettings(dropout=0.0)
        recipe = Recipe(tasks.find(cell.task)(), rows, settings, method, head=head, train=still)
        recipe = recipe.resolved(backbone, torch.device("cpu"))
        loaded = copy.deepcopy(under_head(folder, cell.task, cell.sample, recipe.head.pooling))
        set_seed(0)
        top = cell.settings.get("top", 0) if cell.reason is None else 0
        whole = block_names(loaded.model)[-top:] if top else []
        whole += norm_names(loaded.model, None) if cell.settings.get("norms") else []
        model = recipe.method.apply(loaded.model, loaded.head)
        task = replace(found.task, long_texts="windows", stride=4) if cell.windows else found.task
        tokenizer = backbone.tokenizer(recipe.data.max_length)
        features = Features.of(found.splits["train"].rows.select(range(ROWS)), task, tokenizer)
        assert not cell.windows or len(features) > 2 * ROWS
        return cls(cell, recipe, model, loaded.head, whole, features, learned(features))

    @property
    def batch(self) -> Batch:
        return self.drawn.fetch(np.arange(ROWS))

    def logits(self, model: Any) -> torch.Tensor:
        with torch.no_grad():
            outputs = model.eval()(**self.batch.inputs)
        return torch.stack([outputs[name] for name in outputs if "logits" in name])

    def loop(self, settings: TrainSettings) -> Loop:
        groups = self.recipe.method.parameter_groups(self.model, self.head, settings)
        engine = accelerator(settings.precision)
        return Loop(self.model, groups, InOrder(ROWS, ROWS), self.drawn.fetch, self.drawn.loss, settings, engine)


def all_that_learns(made: Made) -> set[str]:
    """The names of all weights that learn, of a method that puts nothing in."""
    names = [name for name, _ in made.model.named_parameters()]
    if made.cell.method == "full":
        return {*names}
    if made.cell.method == "head":
        return {*made.head}
    if made.cell.method == "bitfit":
        return {*made.head, *(name for name in names if name.endswith(".bias"))}
    assert made.cell.method == "freeze", f"what learns with {made.cell.method}?"
    stack, places = block_names(made.model), {id(module): name for name, module in made.model.named_modules()}
    chosen = made.cell.settings.get("blocks", range(made.cell.settings.get("lowest", round(len(stack) * 2 / 3))))
    still = tuple(
        f"{name}." for name in [places[id(each)] for each in embeddings(made.model)] + [stack[i] for i in chosen]
    )
    return {name for name in names if name in made.head or not name.startswith(still)}


def check(made: Made, folder: Path) -> bool:
    """All that a cell promises; its artefact is left for another process. Whether it was merged."""
    model = made.model
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if isinstance(model, PeftModel):
        prefix = "prompt_encoder." if model.active_peft_config.is_prompt_learning else model.base_model.prefix
        declared = {name for name in learning if prefix in name}
        assert declared, "the tuner put nothing in"
        head = {
            name.replace("modules_to_save.default.", "").removeprefix("base_model.").removeprefix("model.")
            for name in learning - declared
        }
        whole = tuple(f"{name}." for name in made.whole)
        assert {name for name in head if not name.startswith(whole)} == set(made.head), (
            "besides the tuner the head learns"
        )
        assert any(name.startswith(whole) for name in head) == bool(whole), "and blocks that should learn whole"
    else:
        assert learning == all_that_learns(made), "what the method declares learns, and the head"

    before, losses = {name: value.clone() for name, value in model.state_dict().items()}, []
    for step in made.loop(SQUARED if made.cell.task == "regression" else STEPS):
        losses.append(float(step.loss))
        if step.number == 2:
            state = model.state_dict()
            moved = {name for name in state if not torch.equal(state[name], before[name])}
            assert moved == learning, f"moved or not as it should be: {sorted(moved ^ learning)[:5]}"
    assert len(losses) == 3
    assert losses[2] < losses[0], f"three steps lower the loss: {losses}"

    artefacts.save(model, made.features.tokenizer, folder / "model", None)
    (folder / "task.json").write_text(json.dumps(made.features.task.to_json()), encoding="utf-8")
    (folder / "recipe.yaml").write_text(made.recipe.to_yaml(), encoding="utf-8")
    save_file(dict(made.batch.inputs), folder / "rows.safetensors")
    save_file({"logits": made.logits(model)}, folder / "logits.safetensors")

    bf16 = TrainSettings(precision="bf16", max_steps=1, batch_size=ROWS, learning_rate=1e-3)
    assert all(torch.isfinite(step.loss) for step in made.loop(bf16))

    logits = made.logits(model)
    try:
        merged = made.recipe.method.merge(model)
    except RequestError as error:
        if "cannot be merged" not in str(error):
            raise
        return False
    assert not isinstance(merged, PeftModel)
    torch.testing.assert_close(made.logits(merged), logits, atol=1e-5, rtol=0)
    return True


@pytest.mark.parametrize("half", [0, 1])
def test_every_cell_keeps_its_promises_and_is_the_same_in_another_process(
    half: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two halves by family, so that two workers share them; each has one process that loads everything again."""
    families = list(FAMILIES)[half::2]
    folders, root = backbones(tmp_path_factory.mktemp("backbones"), families), tmp_path_factory.mktemp("cells")
    failed, kept, refused = {}, {}, []
    chosen = [cell for cell in cells() if cell.family in families]
    for number, cell in enumerate(chosen):
        folder = root / f"{number:04d}"
        try:
            made = Made.of(cell, folders[cell.family])
            assert cell.reason is None, f"expected a refusal: {cell.reason}"
            assert check(made, folder) == (cell.method not in UNMERGED), "merged, or not, as the documentation says"
            kept[folder.name] = cell
        except RequestError as error:
            if cell.reason is None or cell.reason not in str(error):
                failed[str(cell)] = f"refused: {error}"
            refused.append(cell)
        except Exception as error:
            failed[str(cell)] = f"{type(error).__name__}: {error}"
    if failed:
        pytest.fail("\n".join(f"{cell}: {reason}" for cell, reason in failed.items()))

    reader = CONTEXT.Process(target=answer_again, args=(root,))
    reader.start()
    reader.join()
    assert reader.exitcode == 0
    answers = load_file(root / "answers.safetensors")
    assert answers.keys() == kept.keys()
    for name, cell in kept.items():
        expected = load_file(root / name / "logits.safetensors")["logits"]
        # pissa takes the singular values of the backbone again when it is loaded
        tolerance = 1e-5 if "pissa" in cell.way else 1e-6
        torch.testing.assert_close(
            answers[name], expected, atol=tolerance, rtol=0, msg=lambda text, c=cell: f"{c}: {text}"
        )
    assert len(kept) + len(refused) == len(chosen)
    assert len(kept) == CELLS[half]
    assert len(refused) == sum(cell.reason is not None for cell in chosen)


def test_what_is_not_supported_stands_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    for (way, family), reason in UNSUPPORTED.items():
        assert family in page
        assert way.split()[0] in page
        assert reason in page
