"""Two machines, as far as one host can be two: network namespaces with an address each and a link between them, which is cut."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import start_together, wait_for
from tests.test_reliability import steps_logged, weights
from tests.test_scale import join, words

SECONDS = 15
"""How long a process waits for one that does not answer."""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[tuple[list[dict[str, object]], Callable[[str], None]]]:
    """What a process must be told to stand on one machine or the other, and a way to set the link between them up or down."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("needs root and ip, to make network namespaces")
    names = [f"nlp{os.getpid()}{side}" for side in "ab"]
    links = [f"v{os.getpid()}{side}" for side in "ab"]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"needs the right to make network namespaces: {error.stderr.decode().strip()}")
        ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", "name", links[1], "netns", names[1])
        for i, (name, link) in enumerate(zip(names, links, strict=True), start=1):
            ip("-n", name, "address", "add", f"10.77.0.{i}/24", "dev", link)
            for device in (link, "lo"):
                ip("-n", name, "link", "set", device, "up")
        told = [
            {
                "NAMESPACE": name,
                "GLOO_SOCKET_IFNAME": link,
                "MASTER_ADDR": "10.77.0.1",
                "LOCAL_RANK": 0,
                "LOCAL_WORLD_SIZE": 1,
            }
            for name, link in zip(names, links, strict=True)
        ]
        yield told, lambda state: ip("-n", names[1], "link", "set", links[1], state)
    finally:
        for name in names:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_a_cut_link_between_two_machines_is_noticed_and_costs_nothing(
    sharded: bool,
    machines: tuple[list[dict[str, object]], Callable[[str], None]],
    tiny_bert: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    told, link = machines
    folder, undisturbed, printed = tmp_path / "run", tmp_path / "undisturbed", tmp_path / "printed.txt"
    train = {"max_steps": 60, "checkpoint_every": 4, "sharded": sharded}
    command = words("sentiment", tiny_bert, folder, "--resume", **train)
    processes = start_together([command], printed, 2, seconds=SECONDS, own=told)
    assert wait_for(lambda: steps_logged(folder) >= 9, processes[0])
    link("down")
    cut = time.monotonic()
    for process in processes:
        process.join(SECONDS + 60)
    noticed = time.monotonic() - cut
    record_property("seconds from a cut link to the end of both processes", round(noticed, 1))
    for rank, process in enumerate(processes):
        said = printed.with_suffix(f".{rank}").read_text(encoding="utf-8")
        assert process.exitcode == 1, said
        assert f"did not answer for {SECONDS} seconds" in said
    assert noticed < 2 * SECONDS
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["status"] == "failed"
    link("up")
    # those on one host, without a link between them, end with the same weights
    together = start_together([words("sentiment", tiny_bert, undisturbed, **train)], printed, 2)
    join(together, printed)
    join(start_together([command], printed, 2, own=told), printed)
    assert weights(folder) == weights(undisturbed)
