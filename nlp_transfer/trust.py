"""Trust: what the folder of a model may hold that strangers have made, looked at before anything of it is loaded.

Weights are safetensors, everything else is JSON and text. What could run code, reach out of the folder, or ask for more
memory than its files explain is refused with the reason.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from nlp_transfer.configurations import Pin, fault
from nlp_transfer.errors import RequestError, first_line
from nlp_transfer.quiet import quiet

PATTERNS = ("*.json", "*.txt", "*.model", "*.jinja", "model*.safetensors")
"""What of a model on the Hub is downloaded, of its top folder alone."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".mar")
"""Endings of files that hold pickles, or may."""

PICKLED = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
"""How pickles begin, and the archives in which torch keeps them."""

FREE = ("tokenizer.json", "vocab.json", "added_tokens.json", "report.json", "task.json")
"""JSON whose names are words of texts; a reader of its own checks it."""

FILES = 10_000
"""Files of a model."""

HEADROOM = 2**26
"""Weights that a model may have beyond four times those in its files: a new head, and sizes that are no multiple."""


CODE = "*.py"
"""What is downloaded as well of the one model whose code may be run."""


def refuse_untrusted(
    folder: Path, patterns: Sequence[str] | None = None, pin: Pin | None = None, hub: str | None = None
) -> None:
    """Refuse the folder of a model, of a run or of an adapter for what it holds.

    Args:
        folder: where `from_pretrained` would look.
        patterns: look at these files of the top folder alone, since nothing else of a snapshot of the Hub is read.
        pin: the model whose code may be run.
        hub: the id of the model on the Hub whose snapshot the folder is.

    Raises:
        RequestError: naming the file and the reason.
    """
    for file in _files(folder, patterns):
        reason = _shape(folder, file) or _pickled(file)
        if reason is None and file.suffix == ".json" and file.name not in FREE:
            reason = fault(file, pin, hub)
        if reason is None and file.suffix == ".safetensors":
            reason = _weights(file)
        if reason is not None:
            raise RequestError(f"{folder} is not loaded: {file.relative_to(folder)} {reason}.")


def downloaded(name: str, revision: str | None, pin: Pin | None = None) -> Path:
    """The folder of a model on the Hub with the files that are needed of it, looked at like any other's.

    Modules are among them where the pin says this model at this revision, and never else.

    Raises:
        RequestError: where the Hub does not give it, or it may not be trusted.
    """
    patterns = [*PATTERNS, CODE] if pin == Pin(name, str(revision)) else [*PATTERNS]
    try:
        with quiet():
            found = snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"])
    except Exception as error:  # the Hub's client raises many kinds
        raise RequestError(first_line(error)) from error
    if pin and CODE in patterns and Path(found).name != pin.commit:
        raise RequestError(f"the Hub's cache gives {Path(found).name} for {pin}.")
    refuse_untrusted(Path(found), patterns, pin, name)
    return Path(found)


def refuse_links(folder: Path) -> None:
    """Refuse a folder with a link that leads out of it, or with what is neither file nor folder.

    Raises:
        RequestError: naming it.
    """
    for file in _files(folder, None):
        if reason := _shape(folder, file):
            raise RequestError(f"{folder} is not loaded: {file.relative_to(folder)} {reason}.")


def refuse_misfit(auto_class: Any, config: Any, folder: Path | None, name: str) -> None:
    """Refuse a configuration that makes a far larger model than the weights beside it, before memory is asked for.

    Args:
        auto_class: under which head.
        config: as it was read.
        folder: of the weights; None where random ones are wanted, for which the machine's memory is the limit.
        name: what messages call the model.

    Raises:
        RequestError: with both sizes.
    """
    try:
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in auto_class.from_config(config).parameters())
    except Exception as error:  # whatever torch and transformers say of sizes that cannot be
        raise RequestError(f"no model can be made of the configuration of {name}: {first_line(error)}") from error
    if folder is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if count * 4 > memory:
            raise RequestError(
                f"{name} from scratch would have {count:,} weights, {count * 4 / 2**30:,.0f} GB where this machine has "
                f"{memory / 2**30:,.0f}."
            )
        return
    there = stored_weights(folder)
    if count > 4 * there + HEADROOM:
        raise RequestError(
            f"{name} is not loaded: its config.json makes a model of {count:,} weights, and its files hold {there:,}. One of "
            "them is wrong."
        )


def stored_weights(folder: Path) -> int:
    """How many weights the safetensors of a folder hold, by their headers."""
    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                size = 1
                for length in opened.get_slice(name).get_shape():
                    size *= length
                count += size
    return count


def digest(files: Sequence[Path]) -> str:
    """SHA-256 over all bytes of files, in this order."""
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def _files(folder: Path, patterns: Sequence[str] | None) -> Iterator[Path]:
    """What a folder holds, links among it but nothing behind them."""
    count = 0
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in sorted([*files, *links]):
            if patterns is None or any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                count += 1
                yield Path(root) / name
        if count > FILES:
            raise RequestError(f"{folder} is not loaded: it holds more than {FILES:,} files, as no model does.")
        if patterns is not None:
            return


def _shape(folder: Path, file: Path) -> str | None:
    """What is wrong with a file whatever it holds."""
    if file.is_symlink():
        target, home = file.resolve(), folder.resolve()
        # in the Hub's cache a snapshot is links to the blobs beside it
        cached = home.parent.name == "snapshots" and target.is_relative_to(home.parent.parent / "blobs")
        if not target.is_relative_to(home) and not cached:
            return "is a link that leads out of the folder: put the file itself there, if you trust it"
        if not target.exists():
            return "is a link to nothing"
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return None  # gone since it was listed: a lock that another process has let go of
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "is no file but a pipe or device"


def _pickled(file: Path) -> str | None:
    if file.is_dir():
        return None
    with file.open("rb") as opened:
        looks_so = opened.read(4).startswith(PICKLED)
    # safetensors begin with the length of their header, which may be these bytes
    if file.suffix == ".safetensors" and _weights(file) is None:
        looks_so = False
    if file.suffix.lower() in PICKLES or looks_so:
        return (
            "is a pickle or may be one, which can run code when it is read; nothing here needs it. Expected "
            "model.safetensors: remove the file, or where it is all there is, convert the model with save_pretrained() "
            "where you trust its origin"
        )
    return None


def _weights(file: Path) -> str | None:
    try:
        with safe_open(file, framework="np"):
            return None
    except (SafetensorError, OSError) as error:
        return f"is no safetensors file that can be read: {first_line(error)}"
