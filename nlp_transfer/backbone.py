"""Pre-trained models: where they come from, and how they are loaded."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from nlp_transfer import remote_code
from nlp_transfer.aliases import ALIASES, packaged, published_name
from nlp_transfer.configurations import Pin, read_json
from nlp_transfer.errors import RequestError, first_line, listing
from nlp_transfer.quiet import quiet
from nlp_transfer.trust import digest, downloaded, refuse_misfit, refuse_untrusted

DROPOUT = re.compile(r"(^|_)p?drop(out)?(_p|_prob)?$")
"""Names of configuration fields that are a dropout probability, in every family of transformers (not `layerdrop`)."""

LONGEST = 512
"""Default limit of tokens per text where the backbone itself would read more."""

UNLIMITED = 10**9
"""Positions of an architecture that counts none."""


@dataclass(frozen=True)
class ModelSettings:
    """Which pre-trained model a run starts from."""

    name: str = "minilm"
    """Backbone: a Hub id, a local folder, an alias (see `nlp-transfer list models`), or the folder of an earlier run."""
    revision: str | None = None
    """Commit, tag or branch of a Hub id."""
    from_scratch: bool = False
    """Random weights in the backbone's architecture: what pre-training brings is the difference."""


@dataclass(frozen=True)
class Backbone:
    """A pre-trained model that has been found but not loaded: `location` is a folder or a Hub id."""

    settings: ModelSettings
    location: str
    name: str
    pin: Pin | None = None

    @classmethod
    def find(cls, settings: ModelSettings, pin: Pin | None = None) -> Backbone:
        """Find a backbone by what the user calls it; where its own code may be run, it is taken at the pin's commit.

        Raises:
            RequestError: for a folder without a model, or a name that can be neither an alias nor a Hub id.
        """
        name = settings.name
        if alias := ALIASES.get(name):
            return cls(settings, packaged(alias) or alias.hub_id, alias.hub_id)
        try:
            folder = Path(name).expanduser()
            there = bool(name.strip()) and folder.is_dir()
        except (OSError, RuntimeError, ValueError) as error:  # too long for a name, or the home of nobody
            raise RequestError(f'model "{name}" can be no folder: {error}.') from error
        if there:
            if (folder / "task.json").is_file() and (folder / "model").is_dir():
                folder = folder / "model"
            if not (folder / "config.json").is_file():
                raise RequestError(f"{name} holds no model: expected a config.json, or the folder of a finished run.")
            refuse_untrusted(folder, pin=pin)
            return cls(settings, str(folder), _own_name(folder), pin)
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            raise RequestError(
                f'model "{name}" is neither a folder that exists nor a Hub id (owner/name) nor an alias '
                f"({listing(ALIASES)})."
            )
        return cls(replace(settings, revision=remote_code.revision(name, settings.revision, pin)), name, name, pin)

    @cached_property
    def folder(self) -> Path:
        """Where its files are; of a model on the Hub those that are needed are downloaded, and looked at like any other's."""
        try:
            return Path(self.location) if self.local else downloaded(self.location, self.settings.revision, self.pin)
        except RequestError as error:
            raise RequestError(
                f"the model {self.settings.name} cannot be loaded: {error}{_missing_hint(self)}"
            ) from error

    @cached_property
    def config(self) -> PreTrainedConfig:
        """The backbone's configuration as published."""
        return _loaded(self, AutoConfig)

    @cached_property
    def _published_tokenizer(self) -> PreTrainedTokenizerBase:
        # a tokenizer's class gives token types or not whatever the model reads: the configuration knows
        types = getattr(text_config(self.config), "type_vocab_size", 0) > 1
        names = ["input_ids", *["token_type_ids"] * types, "attention_mask"]
        return _loaded(self, AutoTokenizer, model_input_names=names)

    def tokenizer(self, max_length: int | None = None) -> PreTrainedTokenizerBase:
        """The tokenizer, padding on the right, with a padding token and `model_max_length` set to the limit in force."""
        tokenizer = copy.deepcopy(self._published_tokenizer)
        tokenizer.padding_side = "right"
        tokenizer.truncation_side = "right"
        if tokenizer.pad_token is None:
            # GPT-style tokenizers have none; padding is masked, so any token that ends a text serves
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        if tokenizer.pad_token is None:
            raise RequestError(f"the tokenizer of {self.name} has no padding, end or unknown token to pad with.")
        tokenizer.model_max_length = max_length or self.max_length()
        return tokenizer

    def max_length(self, cap: bool = True) -> int:
        """Tokens per text that the backbone can read, at most 512 unless `cap` is off."""
        said, own = self._published_tokenizer.model_max_length, positions(self.config)
        # the tokenizer of an earlier run says how much that run read
        limit = own if own < UNLIMITED and (Path(self.location).parent / "task.json").is_file() else min(said, own)
        return min(limit, LONGEST) if cap else limit

    def model(self, auto_class: Any, head: dict[str, Any], dropout: float | None = None) -> LoadedModel:
        """The backbone under a head, in fp32.

        Args:
            auto_class: an Auto class of transformers, `AutoModelForSequenceClassification` say.
            head: values for the configuration: `num_labels`, `id2label` ...
            dropout: probability for every dropout in the model, or what the configuration says.
        """
        config = _loaded(self, AutoConfig, **head)
        if config.get_text_config().pad_token_id is None:
            # GPT-style classifiers find the last real token by it
            config.get_text_config().pad_token_id = self.tokenizer().pad_token_id
        if dropout is not None:
            set_dropout(config, dropout)
        remote_code.refuse_lacking(auto_class, config)
        refuse_misfit(auto_class, config, None if self.settings.from_scratch else self.folder, self.name)
        if self.settings.from_scratch:
            with quiet():
                model = auto_class.from_config(config, dtype=torch.float32)
            return LoadedModel(model, tuple(name for name, _ in model.named_parameters()))
        model, loading = _loaded(
            self,
            auto_class,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        # what is saved of it shall name the backbone as others find it, and never a path, which says who trained where
        published = published_name(self.location)
        model.name_or_path = model.config.name_or_path = Path(published).name if Path(published).is_dir() else published
        mismatched = {key[0] for key in loading["mismatched_keys"]}
        prefix = f"{model.base_model_prefix}."
        if wrong := sorted(name for name in mismatched if name.startswith(prefix)):
            raise RequestError(
                f"the weights of {self.name} do not fit its own config.json: {listing(wrong, 3)} have other shapes."
            )
        names = {name for name, _ in model.named_parameters()}
        new = (set(loading["missing_keys"]) | mismatched) & names
        return LoadedModel(model, tuple(sorted(new | set(output_layer(model, config.num_labels)))))

    @property
    def local(self) -> bool:
        """Whether it lies in a folder of the user or of a package."""
        return Path(self.location).is_dir()

    @property
    def revision(self) -> str | None:
        """The commit of a backbone from the Hub, after which the Hub's client names the folder of its files."""
        commit = None if self.local else re.fullmatch(r"[0-9a-f]{40}", self.folder.name)
        return commit[0] if commit else self.settings.revision

    @cached_property
    def sha256(self) -> str | None:
        """SHA-256 over the weight files, in the order of their names; None where there are none."""
        files = sorted(self.folder.glob("*.safetensors"))
        return digest(files) if files else None


@dataclass(frozen=True)
class LoadedModel:
    """A model, and the names of its head's parameters: what the checkpoint did not bring, plus the output layer."""

    model: PreTrainedModel
    head: tuple[str, ...]


def output_layer(model: PreTrainedModel, outputs: int) -> list[str]:
    """Parameters outside the backbone proper with one row per output: they answer, whoever trained them."""
    if model.base_model is model:
        return []
    prefix = f"{model.base_model_prefix}."
    return [
        name
        for name, parameter in model.named_parameters()
        if not name.startswith(prefix) and parameter.shape[:1] == (outputs,)
    ]


def text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """What a configuration says of the backbone that reads texts; it may be part of another, as under a head of ours."""
    inner = getattr(config, "backbone_config", None)
    return (inner if isinstance(inner, PreTrainedConfig) else config).get_text_config()


def positions(config: PreTrainedConfig) -> int:
    """Tokens that the architecture has positions for."""
    text = text_config(config)
    limit = getattr(text, "max_position_embeddings", None) or UNLIMITED
    # RoBERTa's kin count positions from after the padding id
    offset = (text.pad_token_id or 0) + 1 if text.model_type in OFFSET_POSITIONS else 0
    return limit - offset


OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "longformer", "xlm-roberta-xl", "mpnet", "data2vec-text"}


def set_dropout(config: PreTrainedConfig, probability: float) -> None:
    """Set every dropout of a configuration, whatever its family calls them."""
    for part in (config, text_config(config)):
        for name, value in part.to_dict().items():
            if (
                DROPOUT.search(name)
                and (value is None or isinstance(value, int | float))
                and not isinstance(value, bool)
            ):
                setattr(part, name, probability)


def is_decoder(config: PreTrainedConfig) -> bool:
    """Whether the architecture reads from left to right (GPT-style), by having a causal language model and no masked one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    if own := getattr(config, "auto_map", None):
        return "AutoModelForCausalLM" in own and "AutoModelForMaskedLM" not in own
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _loaded(backbone: Backbone, auto_class: Any, **arguments: Any) -> Any:
    """`from_pretrained` with errors that a person can act on."""
    folder = backbone.folder
    try:
        own = remote_code.known(folder, backbone.pin)
        with quiet():
            loader = own.get("AutoTokenizer", auto_class) if auto_class is AutoTokenizer else auto_class
            loaded = loader.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **arguments)
        return remote_code.marked(loaded, backbone.pin) if own else loaded
    except RequestError:
        raise
    except Exception as error:  # of files that strangers wrote, transformers and tokenizers raise every kind
        raise RequestError(f"the model {backbone.settings.name} cannot be loaded: {first_line(error)}") from error


def _missing_hint(backbone: Backbone) -> str:
    alias = ALIASES.get(backbone.settings.name)
    if alias:
        return f" For work without a network, its files come with: pip install 'nlp-transfer[{alias.extra}]'."
    return " A model from the Hub needs a network once; without one, name a local folder."


def _own_name(folder: Path) -> str:
    """What a local model is called: the backbone of the run it came from, or its folder's name."""
    report = folder.parent / "report.json"
    if folder.name == "model" and report.is_file():
        backbone = read_json(report).get("backbone")
        return str(backbone.get("id", folder.name)) if isinstance(backbone, dict) else folder.name
    return folder.resolve().name
