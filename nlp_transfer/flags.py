"""What a person wrote, flags and YAML, as nested values: nothing is checked here but the form."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from nlp_transfer.errors import RequestError

SHORT = {"task": "name", "model": "name", "method": "name", "data": "source"}
"""Sections that may be written as one word, and the setting that the word is."""

MOST = 100_000
"""Values of a recipe, counted with each anchor written out: a few lines of YAML can stand for more than a machine holds."""

Values = dict[str, Any]
"""Settings by name, in sections."""


def sections(values: Values) -> Values:
    """Values with every one-word section written out: `model: minilm` is `model: {name: minilm}`."""
    written = {}
    for section, value in values.items():
        short = SHORT.get(section)
        written[section] = {short: value} if short and not isinstance(value, dict) else value
        if isinstance(written[section], dict):
            written[section] = dict(written[section])
    return written


def merge(
    under: Values,
    over: Values,
    said: list[str] | None,
    due_to: Callable[[str, Any], Mapping[tuple[str, str], Container[Any]]] = lambda *_: {},
) -> None:
    """Lay values over others; a section of another task or method loses the settings of the one it replaces.

    Args:
        under: changed.
        over: values that win.
        said: receives a sentence for what is lost.
        due_to: of a section and the name it has there, the values by which settings of other sections, a pair of section
            and setting each, are taken for this name's own; they are lost with it.
    """
    for section in ("task", "method"):
        beneath, value = under.get(section), over.get(section)
        if not isinstance(beneath, dict) or not isinstance(value, dict):
            continue
        was = beneath.get("name")
        if value.get("name", was) == was:
            continue
        lost = sorted(beneath.keys() - {"name"})
        beneath.clear()
        for (other, name), own in due_to(section, was).items():
            settings = under.get(other)
            if isinstance(settings, dict) and settings.get(name) in own:
                lost.append(f"{other}.{name} {settings.pop(name)}")
        if lost and said is not None:
            said.append(f"{section} {value['name']} replaces {was}, whose {', '.join(lost)} no longer apply.")
    _drop_revision(under.get("model"), over.get("model"), said)
    for section, value in over.items():
        beneath = under.get(section)
        if not isinstance(value, dict) or not isinstance(beneath, dict):
            under[section] = value
            continue
        for name, setting in value.items():
            both = isinstance(setting, dict) and isinstance(beneath.get(name), dict)
            beneath[name] = {**beneath[name], **setting} if both else setting


def _drop_revision(under: Any, over: Any, said: list[str] | None) -> None:
    """Take from a model the commit of another that it replaces."""
    if (
        not isinstance(under, dict)
        or not isinstance(over, dict)
        or over.get("name", under.get("name")) == under.get("name")
    ):
        return
    if (lost := under.pop("revision", None)) and "revision" not in over and said is not None:
        said.append(
            f"model {over['name']} replaces {under.get('name')}, whose model.revision {lost} no longer applies."
        )


def flags(arguments: Sequence[str]) -> Values:
    """Nested values from the words of a command line; a flag without a value is true."""
    values: Values = {}
    for flag, value in _separated(arguments):
        path = flag.split(".")
        if len(path) == 1 and flag in SHORT:
            path.append(SHORT[flag])
        inner = values
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise RequestError(f"--{flag} contradicts another flag for --{path[0]}.")
        inner[path[-1]] = value
    return values


def _separated(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise RequestError(
                f'"{word}" belongs to no flag: expected --name value. Put quotes around a value with blanks.'
            )
        flag, equals, value = word[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        yield flag, value


def words(value: Any) -> Any:
    """A list of words, from a flag's "a,b" or a YAML list in which numbers are words too."""
    if isinstance(value, str):
        # brackets around all of it are those of a list; others, and what stands in them, belong to an expression
        inside = re.sub(r"^\s*\[([^\[\]]*)\]\s*$", r"\1", value)
        listed = re.split(r",(?![^\[({]*[\])}])", inside)
        value = None if value == "null" else [word.strip() for word in listed if word.strip()]
    if isinstance(value, list | tuple):
        return [str(word) if isinstance(word, int | float) and not isinstance(word, bool) else word for word in value]
    return value


def as_written(cls: type, parsed: Values, given: Values) -> Values:
    """Settings as a parser gives them, but for texts where something else may stand too: "a: b.csv" is a name, and "#" or "~" a
    separator, though YAML reads others."""
    names = [f.name for f in fields(cls) if f.type in ("str | Any", "str | None")]
    texts = {name: given[name] for name in names if isinstance(given.get(name), str) and given[name] != "null"}
    return {**parsed, **texts}


def refuse_odd_names(values: Values) -> None:
    """Refuse what YAML 1.1 makes of `no: 2` in a section of free names.

    Raises:
        RequestError: for a name that is a number, or true or false.
    """
    free = {"columns": values.get("columns"), "task.class_weights": values.get("task", {}).get("class_weights")}
    for section, named in free.items():
        for name in named if isinstance(named, dict) else ():
            if not isinstance(name, str):
                raise RequestError(
                    f'{section}: {name!r} is no word, as YAML reads it: put quotes around the name ("no", "1").'
                )


def read_yaml(file: Path) -> Values:
    """The values of a YAML file.

    Raises:
        RequestError: for a file that is missing, unreadable, no YAML, or no settings by name.
    """
    try:
        values = _loaded(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(f"{file} does not exist.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file} cannot be read: {error}.") from error
    except RecursionError as error:
        raise RequestError(f"{file} is no YAML of settings: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that no calendar has is a ValueError
        raise RequestError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise RequestError(f"{file} is no recipe: expected settings by name, such as task: sentiment.")
    return values


def _loaded(text: str) -> Any:
    """The values of a YAML text of one document, in which no name is given twice and no anchor holds itself."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST:
            raise yaml.constructor.ConstructorError(problem=f"its anchors stand for more than {MOST:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, sizes: dict[yaml.Node, int | None]) -> int:
    """How many values a node stands for, with each of its anchors written out."""
    if node in sizes:
        if (known := sizes[node]) is None:
            raise yaml.constructor.ConstructorError(problem="an anchor holds itself", problem_mark=node.start_mark)
        return known
    sizes[node] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if twice := [name for name in names if names.count(name) > 1][:1]:
            problem = f'"{twice[0]}" is given twice'
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        inner = [each for pair in node.value for each in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    sizes[node] = size = 1 + sum(_size(each, sizes) for each in inner)
    return size


def apart(arguments: Sequence[str], kinds: dict[str, type]) -> tuple[Values, list[str]]:
    """A command's own flags, and the words that are left for the recipe.

    Args:
        arguments: words of a command line, without the command.
        kinds: the command's own flags, `str` with a value, `bool` without.

    Raises:
        RequestError: for a flag without the value it needs.
    """
    own: Values = {}
    rest: list[str] = []
    for flag, value in _separated(arguments):
        if flag not in kinds:
            rest += [f"--{flag}={value}"]
        elif kinds[flag] is bool:
            if value not in ("true", "false"):
                raise RequestError(f'--{flag} takes no value, but "{value}" follows it.')
            own[flag] = value == "true"
        elif value == "true" or not value:
            raise RequestError(f"--{flag} needs a value.")
        else:
            own[flag] = value
    return own, rest


def plain(values: Values) -> Values:
    """Values without tuples, which YAML would write with a tag."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
