"""Standard input and output that are full, closed or interrupted end a command in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nlp_transfer import RequestError, cli
from nlp_transfer.data import streams, writers

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("words", ["['list']", "['list', 'tasks']"])
def test_a_full_disk_under_standard_output_is_said(words: str) -> None:
    code = f"import sys; from nlp_transfer import cli; sys.exit(cli.main({words}))"
    with FULL.open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "standard output or a file cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def pressed(_: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "list", pressed)
    assert cli.main(["list"]) == 1
    assert capsys.readouterr().err == "nlp-transfer: ended by SIGINT\n"


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_stream_that_is_not_there_is_said(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, stream, None)
    target = streams.stream("-", "csv") if stream == "stdin" else writers.writing("-", "csv", ["a"])
    with pytest.raises(RequestError, match="there is no standard"), target:
        pass
