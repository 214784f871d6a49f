"""Lists that stand in one text: cells of CSV, as JSON, Python or numpy write them."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

ELEMENT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?"""
"""A word in quotes, or a number."""

ARRAY = re.compile(rf"\[\s*(?:{ELEMENT})(?:\s+(?:{ELEMENT}))+\s*\]")
"""What pandas writes of an array of numpy: elements with white space between, which to Python would be one word."""


def listed(text: str) -> list[Any] | None:
    """The list that a text is; None where it is none."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for read in (_array,) if ARRAY.fullmatch(text) else (json.loads, ast.literal_eval):
        try:
            return list(read(text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _array(text: str) -> list[Any]:
    return [ast.literal_eval(element) for element in re.findall(ELEMENT, text)]
