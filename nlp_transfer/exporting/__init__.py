"""Export: a run's model in a form that asks less of whoever loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nlp_transfer.exporting.graph import onnx
from nlp_transfer.exporting.plain import merged, transformers
from nlp_transfer.runs import Run

FORMS: dict[str, Callable[[Run, Path], list[str]]] = {"merged": merged, "transformers": transformers, "onnx": onnx}
"""What `--format` can be: each writes a run to a new folder and gives back sentences for the reader."""
