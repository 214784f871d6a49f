"""What others deliver: floors with their reasons, pins above the floors, and a workflow that trusts no action."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)["project"]
PINS = {
    canonicalize_name(name): version
    for name, version in (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
}


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    extras = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"], *(each for name in ("demo", "onnx", "test") for each in extras[name])]
    assert len(requirements) > 30
    for requirement in map(Requirement, requirements):
        pinned = PINS[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), requirement


def test_every_floor_has_its_reason_beside_it() -> None:
    for requirement in PROJECT["dependencies"]:
        [line] = [line for line in TEXT.splitlines() if line.strip().startswith(f'"{requirement}"')]
        assert re.search(r'", # \w.{3,}', line), line


def test_the_workflow_uses_no_action_without_its_hash_and_may_only_read() -> None:
    files = list((ROOT / ".github" / "workflows").glob("*.yml"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}
        assert "secrets." not in text
        assert "pull_request_target" not in text
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        assert steps
        for step in steps:
            assert re.fullmatch(r".*@[0-9a-f]{40}", step.get("uses", f"@{'0' * 40}"))
            assert "${{" not in step.get("run", ""), "what others wrote would become part of a command"
        for job in workflow["jobs"].values():
            assert "permissions" not in job
            assert job["timeout-minutes"] <= 60


@pytest.mark.parametrize("target", ["audit", "sbom"])
def test_make_knows_how_to_look(target: str) -> None:
    said = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "constraints.txt" in said
    assert ("pip-audit --strict" in said) == (target == "audit")


@pytest.mark.parametrize("ends", [0, 1])
def test_an_audit_that_could_not_be_made_is_no_success(ends: int, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip-audit").write_text(f"#!/bin/sh\nexit {ends}\n")
    (tmp_path / "bin" / "pip-audit").chmod(0o755)
    (tmp_path / "installed").touch()
    done = subprocess.run(["make", "audit", f"AUDIT={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(ends)
    assert ("nothing is known of the pins" in done.stderr) == bool(ends)


def test_the_workflow_audits_the_pins() -> None:
    runs = [
        step.get("run", "")
        for file in (ROOT / ".github" / "workflows").glob("*.yml")
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]
    ]
    assert any("make audit" in run and "|| true" not in run for run in runs)
