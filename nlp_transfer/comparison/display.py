"""A comparison as it goes, on a terminal: who is done, with which score, and how far the run at work is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nlp_transfer.comparison.results import NAME
from nlp_transfer.figures import duration
from nlp_transfer.pages import kept


class Display:
    """What a folder says of its comparison, read again whenever somebody looks."""

    def __init__(self, folder: Path, candidates: Sequence[str], metric: str, epochs: float) -> None:
        """Of one run for each of the candidates, which are done in their order."""
        self.folder, self.candidates, self.metric, self.epochs = folder, candidates, metric, epochs
        self.started = time.time()

    def __rich__(self) -> RenderableType:
        done = {line["candidate"]: line for line in self._lines() if line["kind"] == "run"}
        waiting = [name for name in self.candidates if name not in done]
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("method", f"test {self.metric.replace('_', ' ')}", "training", ""):
            table.add_column(title, justify="right" if title not in ("method", "") else "left")
        for name in self.candidates:
            if name in done:
                table.add_row(name, *self._outcome(done[name]))
            elif name == waiting[0]:
                table.add_row(name, "", "", self._running(len(done)))
            else:
                table.add_row(Text(name, "dim"), "", "", "")
        return Group(table, Text(f"{duration(round(time.time() - self.started))} so far", "dim"))

    def _lines(self) -> list[dict[str, Any]]:
        """What is done; a line that is being written comes later."""
        file = self.folder / NAME
        texts = file.read_text(encoding="utf-8").split("\n")[:-1] if self._begun(file) else []
        return [json.loads(text) for text in texts]

    def _outcome(self, line: dict[str, Any]) -> tuple[str, str, str]:
        if line["status"] != "finished":
            return "", "", line["status"]
        return f"{line['scores']['test'][self.metric]:.3f}", duration(round(line["costs"]["train_seconds"])), "done"

    def _running(self, done: int) -> RenderableType:
        """How far the run is whose log was written to last; before it has one, the splits are read or a model loads."""
        logs = [file for file in self.folder.glob("runs/*/log.jsonl") if self._begun(file)]
        if len(logs) <= done:
            return Text("getting ready", "dim")
        lines = kept.log(max(logs, key=lambda file: file.stat().st_mtime).parent)
        epoch = lines[-1]["epoch"] if lines else 0.0
        return ProgressBar(total=self.epochs, completed=min(epoch, self.epochs), width=24)

    def _begun(self, file: Path) -> bool:
        """Whether a file is of this comparison, and not of one that it replaces."""
        try:
            return file.stat().st_mtime >= self.started
        except OSError:
            return False


@contextmanager
def live(display: Display, console: Console) -> Iterator[None]:
    """Show it, a few times a second, where there is a terminal."""
    if not console.is_terminal:
        yield
        return
    with Live(get_renderable=lambda: display.__rich__(), console=console, refresh_per_second=4):
        yield
