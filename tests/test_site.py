"""The documents as a site: every page has its place, and the site is built without a complaint."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def pages(nav: Any) -> list[str]:
    """The files that a menu names."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages(part)]


def test_every_page_has_one_place_in_the_menu() -> None:
    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    there = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}
    assert len(named) > 20
    assert sorted(named) == sorted(there)


@pytest.mark.slow
def test_the_site_is_built_without_a_complaint(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("no mkdocs: pip install 'nlp-transfer[docs]', or `make docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    known = {"tasks": "class_weights", "methods": "reduction_factor", "python": "fine_tune", "adapters": "placement"}
    for page, said in known.items():
        assert said in (tmp_path / "site" / "reference" / f"{page}.html").read_text(encoding="utf-8")
    elsewhere = [
        file.name
        for file in (tmp_path / "site").rglob("*.html")
        if 'src="http' in (text := file.read_text(encoding="utf-8")) or 'rel="stylesheet" href="http' in text
    ]
    assert not elsewhere
