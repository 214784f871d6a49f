"""Whichever part is imported first, the libraries below know our kinds of models."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import FRESH

KNOWN = """
import importlib, sys
import nlp_transfer
importlib.import_module("nlp_transfer." + sys.argv[1])
import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from transformers import AutoModelForSequenceClassification
from nlp_transfer.adapters.config import BOTTLENECK
from nlp_transfer.models.pooled import PooledConfig
assert PooledConfig in AutoModelForSequenceClassification._model_mapping
assert BOTTLENECK in PEFT_TYPE_TO_CONFIG_MAPPING
"""


@pytest.mark.parametrize(
    "first", ["backbone", "adapters", *(pytest.param(name, marks=pytest.mark.slow) for name in ("heads", "artefacts"))]
)
def test_our_models_and_tuner_are_known(first: str) -> None:
    subprocess.run([sys.executable, "-c", FRESH + KNOWN, first], check=True)
