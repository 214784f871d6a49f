"""Adapt pre-trained language models to your task: one recipe, full or parameter-efficient, from a laptop to many GPUs."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wrapt import when_imported

if TYPE_CHECKING:
    from nlp_transfer.comparison import Comparison, compare
    from nlp_transfer.errors import RequestError
    from nlp_transfer.experiment import fine_tune
    from nlp_transfer.predicting import predict_file
    from nlp_transfer.recipe import Recipe
    from nlp_transfer.runs import Run, load_run

__version__ = "0.1.0"
__all__ = ["Comparison", "Recipe", "RequestError", "Run", "compare", "fine_tune", "load_run", "predict_file"]

# nobody is told what is done here; who wants to tell sets these
for _name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

_HOMES = {
    "Comparison": "nlp_transfer.comparison",
    "Recipe": "nlp_transfer.recipe",
    "RequestError": "nlp_transfer.errors",
    "Run": "nlp_transfer.runs",
    "compare": "nlp_transfer.comparison",
    "fine_tune": "nlp_transfer.experiment",
    "load_run": "nlp_transfer.runs",
    "predict_file": "nlp_transfer.predicting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nlp_transfer' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


# the Auto classes learn our model types when somebody first loads them: importing this package stays instant
@when_imported("transformers.models.auto.modeling_auto")
def _register_heads(_: ModuleType) -> None:
    for name in ("pooled", "answerer", "tagger"):
        importlib.import_module(f"nlp_transfer.models.{name}")


# so does PEFT learn our tuner
@when_imported("peft")
def _register_tuner(_: ModuleType) -> None:
    importlib.import_module("nlp_transfer.adapters")
