"""A fresh process for one job: reads it from standard input, and answers on standard output with what came out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading

from nlp_transfer.startup import at_once


def main() -> None:
    """Do the job; end at once when whoever asked for it is gone."""
    line = b""
    while not line.endswith(b"\n"):
        if not (piece := os.read(0, 1 << 16)):
            return
        line += piece
    threading.Thread(target=_watch, daemon=True).start()
    at_once("nlp_transfer.comparison.jobs")
    from nlp_transfer.comparison.jobs import Job, do

    # what libraries print is no answer
    with contextlib.redirect_stdout(sys.stderr):
        outcome = do(Job.from_json(line.decode()))
    print(json.dumps(outcome))


def _watch() -> None:
    """Standard input ends when the process that holds its other end does."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
