"""The code of the one model that may run: loaded from the Hub's cache at the pinned commit, and made known to transformers.

transformers' own loader is never told to trust anything. It finds the classes because they are registered, as ours are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.tokenization_auto import REGISTERED_TOKENIZER_CLASSES, tokenizer_class_from_name

from nlp_transfer.configurations import LEARNED, PINNED, Pin, names_code, read_json
from nlp_transfer.errors import RequestError, first_line
from nlp_transfer.quiet import quiet
from nlp_transfer.trust import downloaded

MODELS = (
    "AutoModel",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoModelForQuestionAnswering",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
)
"""What is loaded of a model's code; other classes that it may have are not asked for."""

FILES = ("config.json", "tokenizer_config.json")
"""Where a model says which classes are its own."""

NONE: Mapping[str, Any] = MappingProxyType({})

LOADED: dict[Pin, Mapping[str, Any]] = {}
"""The classes of every code that was loaded in this process."""


def revision(name: str, asked: str | None, pin: Pin | None) -> str | None:
    """The revision at which a model of the Hub is taken: the pin's where it is this model's.

    Raises:
        RequestError: where another one was asked for.
    """
    if pin is None or pin.name != name:
        return asked
    if asked not in (None, pin.commit):
        raise RequestError(
            f"model.revision is {asked}, and the code that may be run is {pin}: leave model.revision out."
        )
    return pin.commit


def known(folder: Path, pin: Pin | None) -> Mapping[str, Any]:
    """The classes of the pinned code by Auto class, loaded and registered, where a folder leads to them; else none.

    Args:
        folder: of a model, a run's or a tuner's, that has been looked at with this pin (`trust.refuse_untrusted`).
        pin: the model whose code may be run.

    Raises:
        RequestError: for code that cannot be loaded, or that would stand in place of other code.
    """
    if pin is None or not any(names_code(read_json(folder / name)) for name in FILES if (folder / name).is_file()):
        return NONE
    return _classes(pin)


def marked(loaded: Any, pin: Pin | None) -> Any:
    """A configuration or tokenizer that says of which model its code is, so that what is saved of it needs no code beside it."""
    if pin is None:
        return loaded
    if isinstance(loaded, PreTrainedConfig):
        for part in vars(loaded).values():
            if isinstance(part, PreTrainedConfig) and getattr(part, "auto_map", None):
                del part.auto_map  # transformers reads that of the whole alone
        if own := getattr(loaded, "auto_map", None):
            loaded.auto_map = _named(own, pin)
        setattr(loaded, PINNED, str(pin))
    elif isinstance(loaded, PreTrainedTokenizerBase) and (own := loaded.init_kwargs.get("auto_map")):
        own = own if isinstance(own, dict) else {"AutoTokenizer": own}
        loaded.init_kwargs |= {"auto_map": _named(own, pin), PINNED: str(pin)}
    return loaded


def refuse_lacking(auto_class: Any, config: PreTrainedConfig) -> None:
    """Refuse a head that the code of a model does not have.

    Raises:
        RequestError: with what can be done instead.
    """
    pin = LEARNED.get(config.model_type)
    if pin is not None and auto_class.__name__ not in (getattr(config, "auto_map", None) or {}):
        way = ": use --head.pooling mean" if auto_class.__name__.endswith("SequenceClassification") else ""
        raise RequestError(f"the code of {pin} has no {auto_class.__name__}{way}.")


def _classes(pin: Pin) -> Mapping[str, Any]:
    """The classes of a model's code by Auto class, registered, once in a process."""
    if pin not in LOADED:
        LOADED[pin] = _loaded(pin)
    return LOADED[pin]


def _loaded(pin: Pin) -> Mapping[str, Any]:
    folder = downloaded(pin.name, pin.commit, pin)
    config, tokenizer = (read_json(folder / name) if (folder / name).is_file() else {} for name in FILES)
    named: dict[str, Any] = {**_own(config), **{key: value for key, value in _own(tokenizer).items() if "Tok" in key}}
    found: dict[str, Any] = {}
    try:
        for auto in ("AutoConfig", *MODELS, "AutoTokenizer"):
            if reference := _first(named.get(auto)):
                with quiet():
                    found[auto] = get_class_from_dynamic_module(reference, folder, local_files_only=True)
                # code may ask to be copied into what is saved (`register_for_auto_class`): that names it instead
                found[auto]._auto_class = None
    except Exception as error:  # it is code: it may raise anything
        raise RequestError(
            f"the code of {pin} cannot be loaded: {type(error).__name__}: {first_line(error)}"
        ) from error
    _register(found, pin)
    return MappingProxyType(found)


def _register(found: Mapping[str, Any], pin: Pin) -> None:
    """Make classes known to transformers, in the place of no others: those would then be run for other models."""
    kind = found["AutoConfig"].model_type if "AutoConfig" in found else None
    if kind is None and found.keys() - {"AutoTokenizer"}:
        raise RequestError(f"the code of {pin} has no AutoConfig, so that its models would stand in place of others.")
    if kind in CONFIG_MAPPING:
        whose = LEARNED.get(str(kind), "transformers")
        raise RequestError(
            f'the code of {pin} calls its models "{kind}", which in this process are those of {whose}: it would be run for '
            "other models too. Use a fresh process, or a model without code of its own."
        )
    tokenizer = found.get("AutoTokenizer")
    if tokenizer is not None and tokenizer_class_from_name(tokenizer.__name__) is not None:
        raise RequestError(f"the code of {pin} calls its tokenizer {tokenizer.__name__}, which is the name of another.")
    try:
        for auto, kept in found.items():
            if auto == "AutoConfig":
                AutoConfig.register(kind, kept)
                LEARNED[str(kind)] = pin
            elif auto == "AutoTokenizer":
                REGISTERED_TOKENIZER_CLASSES[kept.__name__] = kept
                LEARNED[kept.__name__] = pin
            else:
                getattr(transformers, auto).register(found["AutoConfig"], kept)
    except (ValueError, AttributeError, TypeError) as error:
        raise RequestError(f"the code of {pin} cannot be used: {first_line(error)}") from error


def _own(values: Mapping[str, Any]) -> dict[str, Any]:
    """By Auto class the names of classes that a configuration gives."""
    own = values.get("auto_map") or {}
    return own if isinstance(own, dict) else {"AutoTokenizer": own}


def _first(named: Any) -> str | None:
    """The class itself, of a tokenizer the fast one where there are two, without the model that it is of."""
    given = [each for each in (named if isinstance(named, list) else [named]) if each]
    return str(given[-1]).rpartition("--")[2] if given else None


def _named(own: Mapping[str, Any], pin: Pin) -> dict[str, Any]:
    """The same names of classes, each with the model whose code they are."""

    def whole(reference: Any) -> Any:
        if isinstance(reference, list | tuple):
            return [whole(each) for each in reference]
        return reference and f"{pin.name}--{str(reference).rpartition('--')[2]}"

    return {auto: whole(reference) for auto, reference in own.items()}
