"""Configurations: what JSON of a model may say that strangers wrote, and what leads to code, elsewhere, or out of memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlp_transfer.errors import RequestError, first_line

TOLD = ("_name_or_path", "name_or_path", "special_tokens_map_file")
"""Names under which transformers writes down where a model came from; it reads nothing from there."""

NAMES_A_FILE = re.compile(r"(^|_)(files?|paths?|dir|directory|folder)$")

ATTENTION = ("eager", "sdpa", "flex_attention", "grouped_mm", "batched_mm")
"""Implementations that come with torch and transformers. Any other name may be fetched from the Hub as code."""

CODE = {
    "custom_pipelines": "names code of its own to be run",
    "trust_remote_code": "asks for code to be run",
    "kernel_config": "names code to be fetched from the Hub",
    "use_kernels": "asks for code to be fetched from the Hub",
    "megatron_config": "names a module to be imported",
    "tokenizer_kwargs": "says how another tokenizer is to be loaded",
    "shadow_model": "names another model to be loaded",
    "adapters": "names other adapters to be loaded",
}
"""Settings of configurations that lead to code or to other models."""

LIBRARIES = ("transformers", "nlp_transfer", "peft", "torch")
"""From where the class of an adapter's base model may be imported."""

LARGEST = {
    r"layers?$|blocks?$|depths?$|stages?$": 2_000,
    r"heads?$|experts?$": 10_000,
    r"labels$": 1_000_000,
    r"vocab": 10_000_000,
    r"hidden|intermediate|embd|_dim$|^dim|width|d_model|d_ff|d_kv|inner|^r$|rank": 1_000_000,
}
"""Sizes beyond every model there is, by what a configuration calls them."""

JSON_BYTES = 2**25
"""Bytes of a configuration."""

PINNED = "pinned_code"
"""Under which name what we save of a model with code of its own says whose code that is, at which commit."""

REFERENCE = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*")
"""How a configuration names a class: by the module beside it."""

HUB_ID = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*"
"""How a model of the Hub is called: letters that look like others are none of it."""


@dataclass(frozen=True)
class Pin:
    """The one model whose code may be run, and the one commit at which somebody has read it."""

    name: str
    commit: str

    @classmethod
    def read(cls, said: object) -> Pin | None:
        """A pin from what a person says, `ORG/NAME@COMMIT`; None where nothing is said.

        Raises:
            RequestError: for anything that does not say one commit of one model.
        """
        if said is None or isinstance(said, Pin):
            return said
        name, _, commit = str(said).rpartition("@")
        if not re.fullmatch(HUB_ID, name) or not re.fullmatch(r"[0-9a-fA-F]{40}", commit):
            raise RequestError(
                f"trust_remote_code is {said}: expected ORG/NAME@COMMIT, a model of the Hub and the 40 hexadecimal digits of "
                "the commit whose code you have read. A branch or a tag can be moved to other code tomorrow."
            )
        return cls(name, commit.lower())

    def __str__(self) -> str:
        """As it is said."""
        return f"{self.name}@{self.commit}"


LEARNED: dict[str, Pin] = {}
"""The model types and tokenizers that transformers knows in this process by the code of a model, and whose code it was."""


def fault(file: Path, pin: Pin | None = None, hub: str | None = None) -> str | None:
    """What is wrong with a configuration.

    Args:
        file: JSON.
        pin: the model whose code may be run.
        hub: the id of the model on the Hub whose snapshot the file is part of; None for any other folder.
    """
    if file.stat().st_size > JSON_BYTES:
        return f"has {file.stat().st_size:,} bytes, as no configuration does"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        every = list(_settings(values, file.stem))
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        return f"is no JSON that can be read: {'nested too deeply' if deep else first_line(error)}"
    if reason := _code_of_its_own(every, pin, hub):
        return reason
    index = file.name.endswith(".index.json")
    for name, value in every:
        if reason := _leads_to_code(name, value) or _too_large(name, value):
            return reason
        named = NAMES_A_FILE.search(name) and name not in TOLD
        if isinstance(value, str) and (named or (index and name != "format")) and (reason := _outside(name, value)):
            return reason
    if index and isinstance(values, dict):
        return _index(values.get("weight_map"))
    return _templates(values) if isinstance(values, dict) else None


def _settings(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every value of a configuration under the name that stands next to it; elements of a list under the list's."""
    yield name, value
    if isinstance(value, dict):
        for key, inner in value.items():
            # an implementation may be given by the part of the model that it is for
            yield from _settings(inner, name if "_implementation" in name else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _settings(inner, name)


def names_code(values: Any) -> bool:
    """Whether a configuration leads to code of a model's own, anywhere in it."""
    return _leads_to_own_code(list(_settings(values, "")))


def _leads_to_own_code(every: list[tuple[str, Any]]) -> bool:
    return any(
        (name in ("auto_map", PINNED) and value)
        or (name in ("model_type", "tokenizer_class") and isinstance(value, str) and _learned(value))
        for name, value in every
    )


def _learned(name: str) -> bool:
    # transformers takes the fast tokenizer where the slow one is named, and the other way round
    return not LEARNED.keys().isdisjoint({name, f"{name}Fast", name.removesuffix("Fast")})


def _code_of_its_own(every: list[tuple[str, Any]], pin: Pin | None, hub: str | None) -> str | None:
    """Why the code that a configuration leads to may not be run; None where there is none, or the pin covers it."""
    if not _leads_to_own_code(every):
        return None
    reason = "names code of its own to be run (auto_map)"
    said = [value for name, value in every if name == PINNED]
    if pin is None:
        return f"{reason}; {_way_to_run(said, hub)}"
    if hub not in (None, pin.name) or any(value != str(pin) for value in said):
        return f"{reason}, and what may be run is the code of {pin} alone"
    for name, value in every:
        # of a list `_settings` gives the elements as well
        if name == "auto_map" and isinstance(value, list):
            continue
        for reference in value.values() if name == "auto_map" and isinstance(value, dict) else [value]:
            if name == "auto_map" and (wrong := _elsewhere(reference, pin, hub)):
                return f"{reason}, and {wrong}"
    return None if hub or said else f"{reason}; {_way_to_run(said, hub)}"


def _elsewhere(reference: Any, pin: Pin, hub: str | None) -> str | None:
    """Where a class is looked for that is not in the pinned model."""
    for each in reference if isinstance(reference, list) else [reference]:
        owner, mark, inside = str(each).rpartition("--")
        if each is None:
            continue
        if not isinstance(each, str) or not REFERENCE.fullmatch(inside):
            return f'"{each}" is no class of a module beside it'
        if mark and owner != pin.name:
            return f'some of it is that of another model ("{owner}"), which no commit pins'
        if not mark and hub is None:
            return "some of it lies in the folder: the code of a folder is never run, since no commit pins it"
    return None


def _way_to_run(said: list[Any], hub: str | None) -> str:
    """What to do where the code of a model is wanted."""
    read = "nothing here runs the code of a model unless you have read it and say so:"
    if hub:
        return f"{read} --trust-remote-code {hub}@COMMIT"
    if said and all(re.fullmatch(HUB_ID + "@[0-9a-f]{40}", str(each)) for each in said):
        return f"{read} --trust-remote-code {said[0]}"
    return "the code of a folder is never run, since no commit pins it: name the model by its id on the Hub"


def _leads_to_code(name: str, value: Any) -> str | None:
    if name in CODE and value:
        return f"{CODE[name]} ({name}); nothing here runs the code of a model"
    if "_implementation" in name and isinstance(value, str) and value not in ATTENTION:
        return f'names code for {name} ("{value}"): expected one of {", ".join(ATTENTION)}'
    if name == "parent_library" and isinstance(value, str) and value.partition(".")[0] not in LIBRARIES:
        return f'names a module to be imported ("{value}")'
    if name == "tokenizer_name_or_path" and value:
        return f'names another tokenizer to be loaded ("{value}")'
    return None


def _too_large(name: str, value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        for pattern, most in LARGEST.items():
            if re.search(pattern, name):
                return f"says {name} is {value:,}, beyond every model there is ({most:,})" if value > most else None
    return None


def _outside(name: str, value: str) -> str | None:
    """What is wrong with the name of a file that another file gives."""
    parts = re.split(r"[/\\]", value)
    if value.startswith(("/", "\\", "~")) or ".." in parts or "\0" in value or re.match(r"[A-Za-z]:|\w+://", value):
        return f'names a place outside the folder ({name}: "{value}")'
    return None


def _index(weight_map: Any) -> str | None:
    """What is wrong with the list of files in which the weights are."""
    if not isinstance(weight_map, dict):
        return "has no weight_map"
    for value in weight_map.values():
        if not isinstance(value, str) or not re.fullmatch(r"[\w.-]+\.safetensors", value):
            return f'names "{value}" in its weight_map: expected safetensors beside it'
    return None


def _templates(values: dict[str, Any]) -> str | None:
    """What is wrong with the names of chat templates, each of which becomes a file when the tokenizer is saved."""
    given = values.get("chat_template")
    named = given if isinstance(given, list) else []
    names = [each.get("name") for each in named if isinstance(each, dict)] + [
        *(given if isinstance(given, dict) else ())
    ]
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w-]*", name):
            return f'has a chat template that would be written as "{name}": expected a plain name'
    return None


def read_json(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds, of a size and depth that a person would write.

    Raises:
        FileNotFoundError: where there is none.
        RequestError: for anything else than such an object.
    """
    try:
        if file.stat().st_size > 16 * JSON_BYTES:
            raise RequestError(f"{file} is damaged: no such file has {file.stat().st_size:,} bytes.")
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError as error:
        raise RequestError(f"{file} is damaged: JSON nested too deeply.") from error
    except RequestError:
        raise
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} is damaged: {first_line(error)}.") from error
    if not isinstance(values, dict):
        raise RequestError(
            f"{file} is damaged: it holds a {type(values).__name__} where settings by name are expected."
        )
    return values
