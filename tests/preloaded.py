"""What the fork server imports, once for all commands that it starts, and freezes: they share it."""

from __future__ import annotations

import gc

gc.disable()

import nlp_transfer.experiment  # noqa: E402, F401
import tests.processes  # noqa: E402, F401
from nlp_transfer.evaluation import intervals  # noqa: E402

intervals.DRAWS = 100  # as in this process (`conftest.py`)

gc.freeze()
gc.enable()
