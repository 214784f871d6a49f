"""What a run saves of its model, and how it is loaded again: a whole model, or a tuner's weights beside the backbone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase

from nlp_transfer.backbone import Backbone, refuse_pickles
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.heads import load_with_head
from nlp_transfer.quiet import quiet
from nlp_transfer.recipe import Recipe
from nlp_transfer.tasks import Task

TUNER = "adapter_config.json"
"""The file by which peft knows a tuner."""

WEIGHTS = "adapter_model.safetensors"


def save(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, revision: str | None) -> None:
    """Write a model and its tokenizer as plain transformers or peft loads them; `revision` is the backbone's."""
    from peft import PeftModel

    arguments: dict[str, Any] = {}
    if isinstance(model, PeftModel):
        # no tuner of ours changes the size of the vocabulary, and to find that out peft would ask the Hub
        arguments["save_embedding_layers"] = False
        for config in model.peft_config.values():
            config.revision = revision
        # peft would add a card whose every line is still to be filled in; the run has one of its own
        model.create_or_update_model_card = lambda *_: None  # type: ignore[method-assign]
    with quiet():
        model.save_pretrained(folder, **arguments)
        tokenizer.save_pretrained(folder)


def load(folder: Path, task: Task, recipe_file: Path, sha256: str | None = None) -> Any:
    """A saved model in fp32.

    Args:
        folder: what `save` wrote.
        task: says which kind of head it has.
        recipe_file: says from which backbone a tuner's model was made, and how its head pools; not read for a whole model.
        sha256: of the backbone's weights when a tuner was trained beside them, where that is known.

    Raises:
        RequestError: where weights are there only as a pickle, or the backbone is missing or another one.
    """
    refuse_pickles(folder)
    auto_class, head = task.head()
    if not (folder / TUNER).is_file():
        with quiet():
            return auto_class.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
    import nlp_transfer.adapters  # noqa: F401  # a tuner that peft then knows

    recipe = Recipe.read(recipe_file)
    try:
        backbone = Backbone.find(recipe.model)
    except RequestError as error:
        raise RequestError(f"{folder} needs the backbone that it was trained beside: {error}") from error
    if sha256 and backbone.sha256 and backbone.sha256 != sha256:
        raise RequestError(
            f"{folder} was trained beside other weights than {recipe.model.name} has now (SHA-256 {backbone.sha256[:12]}, "
            f"expected {sha256[:12]}): bring that backbone back, or train again."
        )
    base = load_with_head(backbone, auto_class, head, recipe.head.pooling).model
    return _tuned(base, folder)


def _tuned(base: Any, folder: Path) -> Any:
    """A backbone with the tuner that a folder holds, every weight of it in its place."""
    from peft import PeftModel, get_peft_model_state_dict

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        found = set(file.keys())
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of some missing weights peft only warns; they are refused below
            model = PeftModel.from_pretrained(base, folder, local_files_only=True)
        differing = get_peft_model_state_dict(model, save_embedding_layers=False).keys() ^ found
    except (KeyError, RuntimeError) as error:
        differing = {" ".join(str(error).split())[:200]}
    if differing:
        raise RequestError(
            f"{folder / WEIGHTS} does not hold the weights that {TUNER} speaks of ({listing(sorted(differing), 3)}): it is "
            "damaged, or was written by another version. Train again, or bring the version that wrote it."
        )
    return model
