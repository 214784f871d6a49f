"""Recipe: all that defines a run, checked whole before anything is loaded; from YAML and flags, and to YAML again."""

from __future__ import annotations

import dataclasses
import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from nlp_transfer import members, methods, tasks
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.sources import described
from nlp_transfer.environment import homely
from nlp_transfer.errors import RequestError, did_you_mean, listing
from nlp_transfer.flags import Values, as_written, flags, merge, plain, read_yaml, refuse_odd_names, sections, words
from nlp_transfer.heads import HeadSettings, settled
from nlp_transfer.methods import Method
from nlp_transfer.tasks import Task
from nlp_transfer.training import precision, sharding
from nlp_transfer.training.settings import TrainSettings

set_parsing_settings(docstring_parse_attribute_docstrings=True)


COLUMNS = 'names of your columns, such as columns.text: review (several for one: columns.labels: "food,room,staff")'


@dataclass(frozen=True)
class Recipe:
    """Backbone, task, data, method, training settings and seed: the same recipe gives the same run."""

    task: Task
    data: DataSettings
    model: ModelSettings = field(default_factory=ModelSettings)
    method: Method = field(default_factory=lambda: methods.find("full")())
    columns: Mapping[str, str] = field(default_factory=dict)
    head: HeadSettings = field(default_factory=HeadSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise RequestError(f"seed is {self.seed}: expected a whole number, 0 or more and below 2**32.")
        if not self.task.pools and self.head.pooling not in ("auto", "own"):
            raise RequestError(
                f"head.pooling {self.head.pooling} makes one vector of a text, but {self.task.name} answers by its tokens: leave "
                "it out."
            )
        if self.model.from_scratch and not self.method.from_scratch:
            able = [name for name in methods.names() if methods.find(name).from_scratch]
            raise RequestError(
                f"model.from_scratch: the method {self.method.name} would leave random weights as they are. Expected "
                f"--method {listing(able)}."
            )

    @classmethod
    def make(cls, **parts: Any) -> Recipe:
        """A recipe from objects, words and dicts: `Recipe.make(task="sentiment", data="reviews.csv", train={"epochs": 2})`.

        Raises:
            RequestError: for unknown names and settings, values of the wrong kind, and missing parts.
        """
        objects: Values = {name: part for name, part in parts.items() if dataclasses.is_dataclass(part)}
        values = {name: part for name, part in parts.items() if name not in objects and part is not None}
        kinds = {name: members.name_of(part) for name, part in objects.items() if name in ("task", "method")}
        source = None
        if "data" in values and not isinstance(values["data"], str | Path):
            source, values["data"] = _in_memory(values["data"])
        recipe = _checked({**values, **kinds})
        if source is not None:
            recipe = replace(recipe, data=replace(recipe.data, source=source))
        return replace(recipe, **objects)

    @classmethod
    def read(cls, file: str | Path) -> Recipe:
        """A recipe from a YAML file.

        Raises:
            RequestError: for a file that cannot be read, and as `make`.
        """
        return _checked(read_yaml(Path(file)))

    @classmethod
    def from_flags(
        cls, arguments: Sequence[str], defaults: Mapping[str, Any] | None = None, said: list[str] | None = None
    ) -> Recipe:
        """A recipe from flags such as `--train.epochs 2`, over those of `--config FILE`, over `defaults`.

        Args:
            arguments: words of a command line, without the command.
            defaults: values under everything else, as a YAML file would hold them.
            said: receives a sentence for every choice that the person should know of.

        Raises:
            RequestError: as `make`.
        """
        values = sections(dict(defaults or {}))
        flagged = flags(arguments)
        if (config := flagged.pop("config", None)) is not None:
            if not isinstance(config, str):
                raise RequestError("--config expects the name of a YAML file.")
            merge(values, sections(read_yaml(Path(config))), said, _due_to)
        merge(values, sections(flagged), said, _due_to)
        return _checked(values)

    def resolved(self, backbone: Backbone, device: torch.device) -> Recipe:
        """The recipe with every automatic value settled that needs no rows: learning rate, dropout, precision, length, pooling.

        Raises:
            RequestError: for a precision that the device does not have, or texts longer than the backbone can read.
        """
        train = replace(
            self.train,
            learning_rate=self.train.learning_rate or self.method.default_learning_rate,
            precision=precision.resolve(self.train.precision, device),  # type: ignore[arg-type]
        )
        alone = self.method.multiplies_alone and not sharding.asked(train.sharded)
        train = replace(train, frozen=precision.held(train.frozen, train.precision, alone))  # type: ignore[arg-type]
        longest = backbone.max_length(cap=False) - self.method.virtual_tokens
        if longest < (self.data.max_length or 1):
            before = f", {self.method.virtual_tokens} of them before the text" if self.method.virtual_tokens else ""
            raise RequestError(
                f"data.max_length is {self.data.max_length}, but {backbone.name} reads at most "
                f"{longest + self.method.virtual_tokens} tokens{before}."
            )
        data = replace(self.data, max_length=self.data.max_length or min(backbone.max_length(), longest))
        preferred = (self.method.encoder_pooling, self.method.decoder_pooling) if self.task.pools else ("own", "own")
        pooling = settled(self.head.pooling, backbone.config, *preferred)
        method, head = self.method.settled(self.train), replace(self.head, pooling=pooling)
        model = replace(backbone.settings, revision=backbone.revision)
        return replace(self, model=model, method=method, train=train, data=data, head=head)

    def to_dict(self) -> Values:
        """The recipe as nested values that YAML and JSON can hold, nothing left out."""
        data = {f.name: getattr(self.data, f.name) for f in dataclasses.fields(self.data)}
        for name in ("source", "validation", "test"):
            data[name] = None if data[name] is None else described(data[name])
        return {
            "model": {**dataclasses.asdict(self.model), "name": homely(self.model.name)},
            "task": {"name": self.task.name, **plain(self.task.settings())},
            "method": {"name": self.method.name, **plain(dataclasses.asdict(self.method))},
            "data": data,
            "columns": dict(self.columns),
            "head": dataclasses.asdict(self.head),
            "train": plain(dataclasses.asdict(self.train)),
            "seed": self.seed,
        }

    def to_yaml(self) -> str:
        """The recipe as the text of a YAML file that `read` understands."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def parser(task: type[Task], method: type[Method], prog: str = "nlp-transfer train") -> ArgumentParser:
    """The parser of all settings that a recipe of this task and method has."""
    built = ArgumentParser(prog=prog, allow_abbrev=False, exit_on_error=False, description=task.__doc__)
    built.add_argument("--seed", type=int, default=0, help="Every random choice follows from it.")
    built.add_argument(
        "--columns", type=dict[str, str], default={}, help="--columns.text review: names of your columns."
    )
    for section, cls in _classes(task, method).items():
        if section in ("task", "method"):
            help_text = f"The {section} (see `nlp-transfer list {section}s`)."
            built.add_argument(f"--{section}.name", type=str, default=members.name_of(cls), help=help_text)
        built.add_class_arguments(cls, section, skip=members.fitted_names(cls))
    return built


_parser = cache(parser)
"""The same to read with, and not to be changed: to build one takes longer than all else that is done with a recipe."""


def help_text(arguments: Sequence[str], defaults: Mapping[str, Any] | None = None) -> str:
    """Every setting of a recipe, for the task and method that the words name."""
    values = sections(dict(defaults or {}))
    merge(
        values, sections(flags([word for word in arguments if word.startswith("--") or not word.startswith("-")])), None
    )
    task = values.get("task", {}).get("name", "classification")
    method = values.get("method", {}).get("name", "full")
    built = parser(tasks.find(task), methods.find(method))
    built.add_argument("--config", metavar="FILE", help="A recipe in YAML; flags go over it.")
    built.add_argument("--output", metavar="DIR", help="The run's folder; unset: a new one under runs/.")
    built.add_argument("--overwrite", action="store_true", help="Replace the run that the folder holds.")
    built.add_argument("--resume", action="store_true", help="Go on with the run that --output holds.")
    built.add_argument("--quiet", action="store_true", help="Show no progress.")
    said = "Run the code of this model of the Hub, at this commit; you should have read it."
    built.add_argument("--trust-remote-code", metavar="ORG/NAME@COMMIT", help=said)
    return built.format_help()


def _due_to(section: str, name: Any) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What the recipe of a run holds of its method outside the method's section, once it is resolved."""
    if section != "method" or name not in methods.names():
        return {}
    found = methods.find(name)
    return {
        ("train", "learning_rate"): (found.default_learning_rate,),
        ("train", "frozen"): ("fp32", "bf16"),
        ("head", "pooling"): (found.encoder_pooling, found.decoder_pooling),
    }


def _classes(task: type[Task], method: type[Method]) -> dict[str, type]:
    """The dataclass behind each section of a recipe."""
    members_of: dict[str, type] = {"model": ModelSettings, "task": task, "method": method, "data": DataSettings}
    return {**members_of, "head": HeadSettings, "train": TrainSettings}


def _checked(values: Values) -> Recipe:
    """A recipe from nested values: the second pass, with a parser built for the chosen task and method."""
    values = sections(values)
    known = {*_classes(Task, Method), "columns", "seed"}
    for name in values:
        if name not in known:
            flag = " The code of a model is run by --trust-remote-code alone." if "trust" in str(name) else ""
            raise RequestError(f'a recipe has no "{name}". {did_you_mean(str(name), sorted(known))}{flag}')
    task_name = values.get("task", {}).get("name")
    if task_name is None:
        raise RequestError(f"no task: name one with --task. There is: {', '.join(tasks.names())}.")
    task = tasks.find(str(task_name))
    method = methods.find(str(values.get("method", {}).get("name", "full")))
    classes = _classes(task, method)
    for section, cls in classes.items():
        if not isinstance(values.get(section, {}), dict):
            raise RequestError(f"{section} is {values[section]!r}: expected settings by name.")
        settings = {setting.name: setting for setting in members.settings(cls)}
        choices = [*settings, *(["name"] if section in ("task", "method") else [])]
        for name, value in values.get(section, {}).items():
            if name not in choices:
                raise RequestError(f'{section} has no setting "{name}". {did_you_mean(str(name), choices)}')
            if name in settings and "tuple[" in settings[name].type:
                values[section][name] = words(value)
            if name in settings and value is None and not {"None", "Any"} & set(settings[name].type.split(" | ")):
                raise _refused(section, settings[name], None)
    refuse_odd_names(values)
    if values.get("columns", {}) is None:
        raise RequestError(f"columns is null: expected {COLUMNS}.")
    try:
        parsed = _parser(task, method).parse_object(values).as_dict()
    except ArgumentError as error:
        raise _readable(error, values, classes) from error
    parts = {}
    for section, cls in classes.items():
        chosen = as_written(cls, parsed[section], values.get(section, {}))
        if section in ("task", "method"):
            del chosen["name"]
        parts[section] = cls(**chosen)
    return Recipe(**parts, columns=parsed["columns"], seed=parsed["seed"])


def _readable(error: ArgumentError, values: Values, classes: Mapping[str, type]) -> RequestError:
    """What a person can act on, from what the parser says."""
    found = re.search(r'Parser key "([\w.]+)"', str(error))
    if not found:
        return RequestError(" ".join(str(error).split()))
    section, _, name = found[1].partition(".")
    value = values.get(section)
    if section not in classes or not name:
        kind = "a whole number" if section == "seed" else COLUMNS
        return RequestError(f"{found[1]} is {value!r}: expected {kind}.")
    name = name.partition(".")[0]
    setting = next(setting for setting in members.settings(classes[section]) if setting.name == name)
    return _refused(section, setting, value.get(name) if isinstance(value, dict) else value)


def _refused(section: str, setting: members.Setting, value: Any) -> RequestError:
    """What to say of a value that a setting cannot have."""
    hints = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "tuple[str, ...]": "words with commas",
        "tuple[int, ...]": "whole numbers with commas",
    }
    hints["dict[str, float]"] = "a number per name"
    kind = " or ".join(hints.get(part, part) for part in setting.type.split(" | ")).replace("None", "null")
    written = "null" if value is None else repr(value)
    return RequestError(f"{section}.{setting.name} is {written}: expected {kind}. {' '.join(setting.help.split())}")


def _in_memory(data: Any) -> tuple[Any, Values]:
    """Rows that no file holds, and the data settings that stand beside them."""
    if isinstance(data, dict) and "source" in data:
        settings = dict(data)
        source = settings.pop("source")
        return (None, data) if isinstance(source, str | Path) else (source, settings)
    return data, {}
