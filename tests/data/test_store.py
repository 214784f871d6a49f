"""The store: an entry is whole or not there, whoever is killed, and together they keep to a limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlp_transfer.data import store as module
from nlp_transfer.data.store import LIMIT, MANIFEST, PART, NoRoom, Store
from nlp_transfer.errors import Interrupted, RequestError
from nlp_transfer.scratch import CACHE

MEGABYTE = 2**20


def keep(store: Store, key: str, content: bytes = b"content", **told: object) -> None:
    """Make an entry of one file."""
    with store.turn(key) as mine, store.making(key) as making:
        assert mine
        assert making
        making.room("file", len(content)).write_bytes(content)
        assert making.keep(**told)


def keys(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.glob("[!.]*"))


def test_what_was_kept_is_found_and_counted_as_saved(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    assert store.find("kind-1234") is None
    keep(store, "kind-1234", seconds=2.5)
    later = Store(tmp_path / "cache")
    entry = later.find("kind-1234")
    assert entry
    assert (entry.path / "file").read_bytes() == b"content"
    assert entry.told == {"seconds": 2.5}
    assert later.saved == {"kind": 2.5}
    assert later.find("kind-0000") is None
    assert {path.name for path in entry.path.iterdir()} == {"file", MANIFEST}
    assert store.used == sum(path.stat().st_size for path in entry.path.iterdir())
    # only the user may look
    assert store.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["cut off", "changed", "lost", "manifest", "other format", "no manifest"])
def test_a_damaged_entry_is_not_found_and_goes(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    keep(store, "kind-1234")
    file, manifest = tmp_path / "kind-1234" / "file", tmp_path / "kind-1234" / MANIFEST
    if damage == "cut off":
        file.write_bytes(b"conten")
    elif damage == "changed":
        file.write_bytes(b"contend")
    elif damage == "lost":
        file.unlink()
    elif damage == "manifest":
        manifest.write_text(json.dumps(["what"]), encoding="utf-8")
    elif damage == "other format":
        monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    else:
        manifest.unlink()
    assert store.find("kind-1234") is None
    assert keys(store) == []
    assert store.saved == {}
    keep(store, "kind-1234")
    assert store.find("kind-1234")


def test_what_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def broken_off() -> None:
        with store.turn("kind-1234"), store.making("kind-1234") as making:
            assert making
            making.room("file", 7).write_bytes(b"content")
            assert store.find("kind-1234") is None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert store.find("kind-1234") is None
    assert not list(tmp_path.glob(f"{PART}*"))


WRITER = """
import sys, time
from pathlib import Path
from nlp_transfer.data.store import Store
store = Store(Path(sys.argv[1]))
with store.turn("kind-1234") as mine, store.making("kind-1234") as making:
    making.room("file", 7).write_bytes(b"half")
    print("half", flush=True)
    sys.stdin.readline()
    (making.path / "file").write_bytes(b"content")
    making.keep(seconds=1.0)
print("whole", flush=True)
"""


def writer(folder: Path) -> subprocess.Popen[str]:
    """Another process that has written half of an entry, and goes on when it is told to."""
    words = [sys.executable, "-c", WRITER, str(folder)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "half\n"
    return process


def test_after_a_kill_nothing_is_found_and_the_next_one_makes_it(tmp_path: Path) -> None:
    process = writer(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = Store(tmp_path)
    assert list(tmp_path.glob(f"{PART}*"))
    assert store.find("kind-1234") is None
    # whoever needs room clears up, whatever it needs it for
    keep(store, "kind-ffff")
    assert not list(tmp_path.glob(f"{PART}*"))
    keep(store, "kind-1234")
    assert store.find("kind-1234")


def test_who_needs_the_same_waits_for_it_and_clears_nothing_up(tmp_path: Path) -> None:
    process = writer(tmp_path)
    looks: list[float] = []
    said: list[str] = []

    def check() -> None:
        looks.append(time.monotonic())
        if len(looks) == 1:
            keep(Store(tmp_path), "kind-ffff")  # needs room, and must not take what is being written for left over
            assert process.stdin
            process.stdin.write("go on\n")
            process.stdin.flush()

    store = Store(tmp_path, check=check, say=said.append)
    with store.turn("kind-1234", wait=False) as mine:
        assert not mine
    with store.turn("kind-1234") as mine:
        assert mine
        waited = store.waited
        entry = store.find("kind-1234")
    assert process.wait() == 0
    assert entry
    assert (entry.path / "file").read_bytes() == b"content"
    assert looks
    # a second was saved, but some of it was spent with waiting
    assert store.saved == {"kind": pytest.approx(max(0.0, 1.0 - waited))}
    assert waited > 0 == store.waited
    assert said == ["another process computes the same; waiting for it."]


def test_waiting_can_be_ended(tmp_path: Path) -> None:
    process = writer(tmp_path)

    def check() -> None:
        raise Interrupted

    try:
        with pytest.raises(Interrupted), Store(tmp_path, check=check).turn("kind-1234"):
            pass
    finally:
        process.kill()
        process.wait()


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = Store(tmp_path, gigabytes=3.5 * MEGABYTE / 2**30)
    content = b"x" * MEGABYTE
    for number in range(3):
        keep(store, f"kind-000{number}", content)
        os.utime(tmp_path / f"kind-000{number}" / MANIFEST, (number, number))
    assert store.find("kind-0000")  # it has been used now
    keep(store, "kind-0003", content)
    assert keys(store) == ["kind-0000", "kind-0002", "kind-0003"]
    keep(store, "kind-0004", content[: MEGABYTE // 4])
    assert keys(store) == ["kind-0000", "kind-0002", "kind-0003", "kind-0004"]
    assert store.used <= 3.5 * MEGABYTE


def test_who_reads_an_entry_that_goes_is_not_disturbed(tmp_path: Path) -> None:
    store = Store(tmp_path, gigabytes=1.5 * MEGABYTE / 2**30)
    keep(store, "kind-0000", b"a" * MEGABYTE)
    entry = store.find("kind-0000")
    assert entry
    with (entry.path / "file").open("rb") as reading:
        keep(store, "kind-0001", b"b" * MEGABYTE)
        assert keys(store) == ["kind-0001"]
        assert reading.read() == b"a" * MEGABYTE


def test_a_disk_that_is_short_gets_room_from_what_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for number in range(3):
        keep(store, f"kind-000{number}", b"x" * MEGABYTE)
        os.utime(tmp_path / f"kind-000{number}" / MANIFEST, (number, number))
    left = tmp_path / f"{PART}kind-ff00"
    left.mkdir()
    (left / "file").write_bytes(b"x" * MEGABYTE)

    def usage(_: Path) -> object:
        # a disk of 5 MiB, on which nothing else lies
        taken = sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file())
        return type("Usage", (), {"free": 5 * MEGABYTE - taken})()

    monkeypatch.setattr(module.shutil, "disk_usage", usage)
    # what a killed process left goes first, then the oldest
    keep(store, "kind-0003", b"x" * (MEGABYTE + 2**16))
    assert keys(store) == ["kind-0001", "kind-0002", "kind-0003"]
    assert not left.exists()
    # where even all of it is too little nothing goes
    with pytest.raises(NoRoom, match="as much as is kept must stay free"):
        keep(store, "kind-0004", b"x" * (3 * MEGABYTE))
    assert keys(store) == ["kind-0001", "kind-0002", "kind-0003"]


def test_what_is_too_large_is_not_kept_and_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, gigabytes=MEGABYTE / 2**30)
    keep(store, "kind-0000")
    with store.making("kind-0001") as making:
        assert making
        with pytest.raises(NoRoom, match=f"it would take 0.00 GiB, and {LIMIT} is 0.00"):
            making.room("file", 2 * MEGABYTE)
    usage = type("Usage", (), {"free": 10 * MEGABYTE})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoRoom, match="has 10 MiB left, and as much as is kept must stay free"):
        Store(tmp_path).make_room(6 * MEGABYTE, tmp_path / f"{PART}kind-0001")
    assert keys(store) == ["kind-0000"]


def test_where_nothing_can_be_written_that_is_said_and_nothing_more(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("here is no room for a folder", encoding="utf-8")
    store = Store(tmp_path / "file" / "cache", say=said.append)
    assert store.find("kind-1234") is None
    with store.turn("kind-1234") as mine:
        assert not mine
    with store.turn("kind-ffff") as mine:
        assert not mine
    assert len(said) == 1
    assert said[0].startswith(f"nothing is kept for later runs: {store.folder} cannot be written")


def test_the_environment_says_where_and_how_much(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = Store.of_user()
    assert found
    assert found.folder == tmp_path / "nlp_transfer"
    assert found.gigabytes == module.GIGABYTES
    monkeypatch.setenv(CACHE, str(tmp_path / "elsewhere"))
    monkeypatch.setenv(LIMIT, "1.5")
    found = Store.of_user()
    assert found
    assert (found.folder, found.gigabytes) == (tmp_path / "elsewhere", 1.5)
    for off in ("off", "OFF", "", "0"):
        monkeypatch.setenv(CACHE, off)
        assert Store.of_user() is None
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setenv(LIMIT, "0")
    assert Store.of_user() is None
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv(LIMIT, wrong)
        with pytest.raises(RequestError, match=f"{LIMIT} is '{wrong}': expected a number, 0 or more"):
            Store.of_user()
