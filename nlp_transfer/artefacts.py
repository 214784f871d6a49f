"""What a run saves of its model, and how it is loaded again: a whole model, or a tuner's weights beside the backbone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from nlp_transfer import remote_code
from nlp_transfer.backbone import Backbone
from nlp_transfer.configurations import LIBRARIES, Pin
from nlp_transfer.errors import RequestError, first_line, listing
from nlp_transfer.heads import load_with_head
from nlp_transfer.quiet import quiet
from nlp_transfer.recipe import Recipe
from nlp_transfer.tasks import Task
from nlp_transfer.trust import refuse_misfit, refuse_untrusted

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
    if isinstance(model, PeftModel):
        _forget_library(folder / TUNER)


def _forget_library(file: Path) -> None:
    """Take out of a tuner's settings that its model is of a class to be imported, where that is code of a model's own."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    library = str((settings.get("auto_mapping") or {}).get("parent_library", ""))
    if library and library.partition(".")[0] not in LIBRARIES:
        file.write_text(json.dumps({**settings, "auto_mapping": None}, indent=2, sort_keys=True), encoding="utf-8")


def load(folder: Path, task: Task, recipe_file: Path, sha256: str | None = None, pin: Pin | None = None) -> Any:
    """A saved model in fp32.

    Args:
        folder: what `save` wrote.
        task: says which kind of head it has.
        recipe_file: says from which backbone a tuner's model was made, and how its head pools; not read for a whole model.
        sha256: of the backbone's weights when a tuner was trained beside them, where that is known.
        pin: the model whose code may be run.

    Raises:
        RequestError: for a folder that may not be trusted or is damaged, and where the backbone is missing or another one.
    """
    refuse_untrusted(folder, pin=pin)
    auto_class, head = task.head()
    if not (folder / TUNER).is_file():
        return _whole(folder, auto_class, head, pin)
    import nlp_transfer.adapters  # noqa: F401  # a tuner that peft then knows

    recipe = Recipe.read(recipe_file)
    try:
        if pin and (recipe.model.name, recipe.model.revision) == (pin.name, None):
            raise RequestError(f"its recipe does not say at which commit, so that it need not be {pin}.")
        backbone = Backbone.find(recipe.model, pin)
    except RequestError as error:
        raise RequestError(f"{folder} needs the backbone that it was trained beside: {error}") from error
    if sha256 and backbone.sha256 and backbone.sha256 != sha256:
        raise RequestError(
            f"{folder} was trained beside other weights than {recipe.model.name} has now (SHA-256 {backbone.sha256[:12]}, "
            f"expected {sha256[:12]}): bring that backbone back, or train again."
        )
    base = load_with_head(backbone, auto_class, head, recipe.head.pooling).model
    return _tuned(base, folder)


def tokenizer(folder: Path, pin: Pin | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer that `save` wrote.

    Raises:
        RequestError: for a folder that may not be trusted, or is damaged.
    """
    refuse_untrusted(folder, pin=pin)
    remote_code.known(folder, pin)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of files that strangers wrote, tokenizers raises every kind
        raise RequestError(f"{folder} cannot be loaded: {first_line(error)}") from error


def _whole(folder: Path, auto_class: Any, head: Mapping[str, Any], pin: Pin | None = None) -> Any:
    """A whole model, every weight of it from its file, with the head that the task wants."""
    told = {"local_files_only": True, "trust_remote_code": False}
    remote_code.known(folder, pin)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, **told)
        refuse_misfit(auto_class, config, folder, str(folder))
        with quiet():
            model, loading = auto_class.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **told
            )
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(f"{folder} cannot be loaded: {first_line(error)}") from error
    if missing := sorted(loading["missing_keys"]):
        raise RequestError(
            f"{folder} holds a damaged model: the weights {listing(missing, 3)} are missing from its files."
        )
    if (wanted := head.get("num_labels", config.num_labels)) != config.num_labels:
        raise RequestError(
            f"{folder} gives {config.num_labels} outputs where the run's task.json has {wanted}: one is wrong."
        )
    return model


def _tuned(base: Any, folder: Path) -> Any:
    """A backbone with the tuner that a folder holds, every weight of it in its place."""
    from peft import PeftModel, get_peft_model_state_dict

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            found = set(file.keys())
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of some missing weights peft only warns; they are refused below
            model = PeftModel.from_pretrained(base, folder, local_files_only=True)
        differing = get_peft_model_state_dict(model, save_embedding_layers=False).keys() ^ found
    except Exception as error:  # of an adapter_config.json that strangers wrote, peft raises every kind
        differing = {" ".join(str(error).split())[:200]}
    if differing:
        raise RequestError(
            f"{folder / WEIGHTS} does not hold the weights that {TUNER} speaks of ({listing(sorted(differing), 3)}): it is "
            "damaged, or was written by another version. Train again, or bring the version that wrote it."
        )
    return model
