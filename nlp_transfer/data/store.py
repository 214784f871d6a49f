"""The store: what was computed once and is good for later runs too, in the user's cache folder, found by what it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock, Timeout

from nlp_transfer.errors import RequestError
from nlp_transfer.scratch import cache, take

LIMIT = "NLP_TRANSFER_CACHE_GIGABYTES"
"""The variable that says what all entries together may take."""

GIGABYTES = 20.0
FORMAT = 1
"""Of an entry: a folder of files and a manifest of their sizes and hashes."""

MANIFEST = "manifest.json"
PART = ".part-"
"""What the name of an entry begins with while it is written."""

GONE = ".gone-"
LOCKS = ".locks"
LOOK = 0.2
"""Seconds between two looks whether another process is done."""


class NoRoom(Exception):
    """Something is too large for the store, or for the disk; says why."""


@dataclass(frozen=True)
class Entry:
    """What an earlier run, or this one, has kept."""

    path: Path
    told: Mapping[str, Any]
    """What was said of it when it was kept: `seconds`, how long its making took, and more."""


@dataclass
class Store:
    """Entries by key. A key is a hash of all that the entry depends on, so that none is ever wrong, only not there.

    An entry is written under another name and renamed once it is whole, so that a process that is killed leaves nothing that
    anybody reads. Of several processes that need the same one makes it, and the others wait. Where there is no room, those go
    that were not used for longest; whoever still reads one of them is not disturbed.
    """

    folder: Path
    gigabytes: float = GIGABYTES
    check: Callable[[], None] = lambda: None
    """Called while another process is waited for; may end that by raising."""
    say: Callable[[str], None] = lambda _: None
    saved: dict[str, float] = field(default_factory=dict)
    """By kind, how many seconds the making of what this run found took when it was made, less those that it waited for it."""
    waited: float = 0.0
    given_up: bool = False

    @classmethod
    def of_user(
        cls, check: Callable[[], None] = lambda: None, say: Callable[[str], None] = lambda _: None
    ) -> Store | None:
        """The user's, as the environment says; None where nothing is to be kept.

        Raises:
            RequestError: for a limit that is no number.
        """
        limit = os.environ.get(LIMIT, str(GIGABYTES))
        try:
            gigabytes = float(limit)
        except ValueError:
            gigabytes = -1.0
        if not gigabytes >= 0:
            raise RequestError(f"{LIMIT} is {limit!r}: expected a number, 0 or more (0: nothing is kept between runs).")
        folder = cache()
        return cls(folder, gigabytes, check, say) if folder and gigabytes else None

    def find(self, key: str) -> Entry | None:
        """A whole entry, or None; one that is damaged goes."""
        path = self.folder / key
        if not path.is_dir():
            return None
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            whole = manifest["format"] == FORMAT and all(
                (path / name).stat().st_size == told["bytes"] and _hash(path / name) == told["xxh3_128"]
                for name, told in manifest["files"].items()
            )
            told = manifest["told"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole, told = False, {}
        if not whole:
            _remove(path)
            return None
        with suppress(OSError):  # it may be somebody else's, to be read alone
            os.utime(path / MANIFEST)  # the time of its last use
        kind = key.partition("-")[0]
        self.saved[kind] = self.saved.get(kind, 0.0) + max(0.0, float(told.get("seconds", 0.0)) - self.waited)
        return Entry(path, told)

    @contextmanager
    def turn(self, key: str, wait: bool = True) -> Iterator[bool]:
        """Whether it is for this process to make an entry: false where another does, or where nothing can be written.

        Args:
            key: of the entry.
            wait: until another process that makes it is done; it may be there then.
        """
        lock = FileLock(self.folder / LOCKS / key.rpartition("-")[2][:2], timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # as private as the texts it comes from
            (self.folder / LOCKS).mkdir(exist_ok=True)
            mine = self._acquire(lock, wait)
        except (OSError, NotImplementedError) as error:
            self._give_up(f"{self.folder} cannot be written ({error})")
            mine = False
        try:
            yield mine
        finally:
            lock.release()
            self.waited = 0.0

    def _acquire(self, lock: FileLock, wait: bool) -> bool:
        self.waited, began = 0.0, time.monotonic()
        while True:
            try:
                lock.acquire()
            except Timeout:
                if not wait:
                    return False
                if not self.waited:
                    self.say("another process computes the same; waiting for it.")
                self.check()
                time.sleep(LOOK)
                self.waited = time.monotonic() - began
            else:
                return True

    @contextmanager
    def making(self, key: str) -> Iterator[Making | None]:
        """An entry to be made in one's turn: a folder to write into, gone at the end where `keep` was not called.

        None where it cannot be made.
        """
        path = self.folder / f"{PART}{key}"
        try:
            shutil.rmtree(path, ignore_errors=True)  # of a process that was killed
            path.mkdir()
        except OSError as error:
            self._give_up(f"{path} cannot be written ({error})")
            yield None
            return
        try:
            yield Making(self, key, path)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _give_up(self, reason: str) -> None:
        """Say, once, that nothing can be kept."""
        if not self.given_up:
            self.say(f"nothing is kept for later runs: {reason}.")
        self.given_up = True

    def make_room(self, size: int, where: Path) -> None:
        """Remove what was not used for longest, until there is room for so many bytes in the folder of an entry being made.

        Raises:
            NoRoom: where there is none.
        """
        if size > self.gigabytes * 2**30:
            raise NoRoom(f"it would take {size / 2**30:.2f} GiB, and {LIMIT} is {self.gigabytes:g}")
        self._clear_up()
        entries = sorted(self._entries())
        self._spare(size, sum(each for _, each, _ in entries))
        others = (path for path in self.folder.glob(f"{PART}*") if path != where)
        used = sum(each for _, each, _ in entries) + sum(map(_size, others))
        for _, each, path in entries:
            if used + size <= self.gigabytes * 2**30 and 2 * size <= self._free():
                break
            _remove(path)
            used -= each
        self._spare(size, 0)  # somebody may still read what has gone

    def _spare(self, size: int, evictable: int) -> None:
        """Refuse so many bytes where the disk could not spare twice as many, even if these others went."""
        if 2 * size > (free := self._free()) + evictable:
            raise NoRoom(f"{self.folder} has {free // 2**20} MiB left, and as much as is kept must stay free")

    def _free(self) -> int:
        return shutil.disk_usage(self.folder).free

    @property
    def used(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Time of the last use, bytes, and folder of each."""
        for path in self.folder.glob("[!.]*"):
            try:
                yield (path / MANIFEST).stat().st_mtime, _size(path), path
            except OSError:
                continue  # it has just gone

    def _clear_up(self) -> None:
        """Remove what processes that were killed have left."""
        for path in self.folder.glob(f"{GONE}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"{PART}*"):
            try:
                with FileLock(self.folder / LOCKS / path.name.rpartition("-")[2][:2], timeout=0):
                    shutil.rmtree(path, ignore_errors=True)
            except Timeout:
                continue  # it is being written


@dataclass(frozen=True)
class Making:
    """An entry that is being made."""

    store: Store
    key: str
    path: Path

    def room(self, name: str, size: int) -> Path:
        """A file of so many bytes, taken from the disk before anything is written into it.

        Raises:
            NoRoom: where there is none.
        """
        try:
            self.store.make_room(size, self.path)
            with (self.path / name).open("wb") as file:
                take(file, size)
        except OSError as error:
            raise NoRoom(str(error)) from error
        return self.path / name

    def keep(self, **told: Any) -> Entry | None:
        """Make it known under its key; None where it cannot be kept.

        Args:
            told: what is said of it, as JSON can hold it: `seconds` that its making took.
        """
        try:
            files = {each.name: {"bytes": each.stat().st_size, "xxh3_128": _hash(each)} for each in self.path.iterdir()}
            for name in files:
                _flush(self.path / name)
            manifest = {"format": FORMAT, "key": self.key, "files": files, "told": told}
            (self.path / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
            _flush(self.path / MANIFEST)
            target = self.store.folder / self.key
            if target.exists():
                _remove(target)
            self.path.rename(target)
        except OSError as error:
            self.store._give_up(str(error))
            return None
        return Entry(target, told)


def _remove(path: Path) -> None:
    """Remove an entry in one move, so that nobody finds half of it."""
    try:
        gone = path.with_name(f"{GONE}{path.name}-{os.getpid()}")
        path.rename(gone)
    except OSError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.iterdir())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def _flush(path: Path) -> None:
    """Have the operating system put a file on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
