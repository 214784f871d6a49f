"""Members of a folder: the file's name is the member's name, the folder is the list."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import ModuleType, NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from nlp_transfer.errors import RequestError, did_you_mean

T = TypeVar("T")

FITTED = {"fitted": True}
"""Metadata of a dataclass field that is learned from the training rows and is therefore no setting."""


def names(package: ModuleType) -> list[str]:
    """The names of a package's members, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find(package: ModuleType, name: str, base: type[T]) -> type[T]:
    """The one public class of kind `base` that the file `name` of `package` defines."""
    kind = base.__name__.lower()
    if name not in names(package):
        raise RequestError(f'there is no {kind} "{name}". {did_you_mean(name, names(package))}')
    module = importlib.import_module(f"{package.__name__}.{name}")
    found = [
        member
        for member_name, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base) and member.__module__ == module.__name__ and not member_name.startswith("_")
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one public {base.__name__}, it has {len(found)}")
    return found[0]


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass of values that a file gives, lists as tuples.

    Raises:
        RequestError: for a name that it does not have, or a value of another kind.
    """
    hints = get_type_hints(cls)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in given.items():
        if name not in known:
            raise RequestError(f'{cls.__name__} has no "{name}". {did_you_mean(str(name), sorted(known))}')
        if not _fits(value, hints[name]):
            raise RequestError(f"{name} is {str(value)[:60]}: expected {_written(hints[name])}.")
    return cls(**given)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a kind, as deep as settings go: choices, numbers, words, tuples and dicts of them."""
    kind, parts = get_origin(hint), get_args(hint)
    if hint is Any or (hint is None and value is None):
        return True
    if kind is Literal:
        return value in parts
    if str(kind) in ("<class 'types.UnionType'>", "typing.Union"):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        each = [parts[0]] * len(value) if isinstance(value, tuple) and parts[1:] == (...,) else parts
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if kind is not None and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(name, parts[0]) and _fits(inner, parts[1]) for name, inner in value.items()
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def name_of(member: object) -> str:
    """The name of a member's class: that of the file which defines it."""
    cls = member if isinstance(member, type) else type(member)
    return cls.__module__.rpartition(".")[2]


@dataclass(frozen=True)
class Setting:
    """One setting of a member: its name, its type as written, its default, and the line of help under it."""

    name: str
    type: str
    default: Any
    help: str


def fitted_names(cls: type) -> set[str]:
    """The names of the fields that are learned from the training rows."""
    return {field.name for field in fields(cls) if field.metadata.get("fitted")}


@cache
def settings(cls: type) -> list[Setting]:
    """The settings of a dataclass, each with the line of help that stands under the field in its source."""
    from docstring_parser import parse_from_object

    hints = get_type_hints(cls)
    helps: dict[str, str] = {}
    for ancestor in reversed(cls.__mro__[:-1]):
        described = parse_from_object(ancestor)
        helps.update({parameter.arg_name: parameter.description or "" for parameter in described.params})
    found = []
    for field in fields(cls):
        if field.metadata.get("fitted"):
            continue
        default = field.default if field.default is not MISSING else None
        if field.default_factory is not MISSING:
            default = field.default_factory()
        found.append(Setting(field.name, _written(hints[field.name]), default, helps.get(field.name, "")))
    return found


def _written(hint: Any) -> str:
    """A type as a person reads it: choices by name, alternatives by "|"."""
    if hint is NoneType:
        return "None"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if str(get_origin(hint)) in ("<class 'types.UnionType'>", "typing.Union"):
        return " | ".join(_written(part) for part in get_args(hint))
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).removeprefix("typing.")
