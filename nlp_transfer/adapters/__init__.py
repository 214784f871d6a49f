"""Bottleneck adapters as a tuner for PEFT, usable without the rest of this project."""

from __future__ import annotations

from typing import Any

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from nlp_transfer.adapters.config import BOTTLENECK, BottleneckConfig
from nlp_transfer.adapters.tuner import BottleneckModel

__all__ = ["BottleneckConfig", "BottleneckModel"]

# PEFT finds a tuner by these tables; its own function for it takes members of its enumeration only
_TABLES: list[tuple[dict[Any, Any], Any]] = [
    (PEFT_TYPE_TO_CONFIG_MAPPING, BottleneckConfig),
    (PEFT_TYPE_TO_TUNER_MAPPING, BottleneckModel),
    (PEFT_TYPE_TO_PREFIX_MAPPING, BottleneckModel.prefix),
]
for _table, _entry in _TABLES:
    _table[BOTTLENECK] = _entry
