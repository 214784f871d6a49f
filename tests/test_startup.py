"""Imports of our own programs: no search for garbage meanwhile, and everything as it was afterwards."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from nlp_transfer.startup import at_once


def test_modules_are_imported_without_a_search_for_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "looks_while_imported.py").write_text("import gc\nlooked = gc.isenabled()\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    at_once("looks_while_imported")
    assert sys.modules.pop("looks_while_imported").looked is False
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    assert frozen > 1000
    kept = [[] for _ in range(1000)]
    at_once("nlp_transfer.errors")
    assert gc.get_freeze_count() <= frozen, f"what is there already is left alone, as these {len(kept)} are"


def test_what_cannot_be_imported_leaves_the_search_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails_while_imported.py").write_text("raise OSError('no')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OSError, match="no"):
        at_once("fails_while_imported")
    assert gc.isenabled()
    gc.disable()
    try:
        at_once("looks_while_imported")
        assert not gc.isenabled(), "whoever turned it off knows why"
    finally:
        gc.enable()
