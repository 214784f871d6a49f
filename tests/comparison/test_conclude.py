"""From the folder of a comparison to its verdict, tables and numbers."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from nlp_transfer import RequestError
from nlp_transfer.comparison.conclude import conclude

from .conftest import MakeFolder

FULL = [0.900, 0.905, 0.895, 0.902, 0.898]
LORA = [0.898, 0.906, 0.893, 0.900, 0.900]
HEAD = [0.750, 0.760, 0.740, 0.755, 0.745]


def test_show(make_folder: MakeFolder) -> None:
    folder = make_folder(
        {
            "full": FULL,
            "lora": LORA,
            "head": HEAD,
            "full from scratch": [0.8] * 5,
            "x:targets=[a,b]": [0.9, None, 0.9, 0.9, 0.9],
        },
        {"TF-IDF with logistic regression": 0.7},
    )
    print("\n".join(conclude(folder)))
    print((folder / "report.md").read_text())
    assert 0
