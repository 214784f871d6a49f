"""Predicting: the rows of a file of any size, or of standard input, answered into another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from nlp_transfer.data import streams, writers
from nlp_transfer.data.checks import checked
from nlp_transfer.data.files import known_form
from nlp_transfer.data.splits import likely_columns
from nlp_transfer.data.streams import STANDARD, Stream, Window
from nlp_transfer.data.unread import Unread
from nlp_transfer.data.writers import Write
from nlp_transfer.environment import expanded, processes
from nlp_transfer.errors import Interrupted, RequestError, listing
from nlp_transfer.progress import Rows
from nlp_transfer.runs import BATCH, Run
from nlp_transfer.training.signals import raised_signals

How = tuple[int, str]
"""Batch size and precision of prediction."""


class Done(NamedTuple):
    """How many rows were answered, how fast, and how much of them was not read."""

    rows: int
    rows_per_second: float
    warnings: Sequence[str] = ()
    """Sentences for the reader."""
    tokens: Mapping[str, int] = MappingProxyType({})
    """As in `Judgement.tokens`."""


def predict_file(
    run: Run,
    source: Path | str,
    target: Path | str,
    columns: Mapping[str, str] | None = None,
    *,
    form: str | None = None,
    batch_size: int = BATCH,
    precision: str = "fp32",
    silent: bool = False,
) -> Done:
    """Answer the rows of a file into another, with all their columns and the answer's, in their order.

    Memory holds a window of rows (`streams.ROWS`), which is read in batches of similar lengths. The target has its name only
    once it is whole. A column of the answer whose name the file has already is called `predicted_...`. Of several processes
    all read the file, each answers a share of the rows, and the main one writes.

    Args:
        run: answers.
        source: file of rows (.csv, .tsv, .jsonl, .ndjson, .json, .parquet, also with .gz), or `-`: standard input.
        target: file for rows and answers (as source, without .json and .parquet.gz), or `-`: standard output.
        columns: from the task's names of columns to the file's, where they are neither those of training nor usual ones.
        form: what standard input and output are: csv, tsv, jsonl or parquet; unset: as the file at the other end if that is
            text, else csv.
        batch_size: rows of the longest texts that the model reads at once; of shorter ones more.
        precision: fp32, bf16, or auto, which is bf16 where the hardware multiplies it.
        silent: show no progress; it is shown on terminals only.

    Raises:
        RequestError: for a file that cannot be read or written, and for a row that cannot be answered, naming its line.
        Interrupted: for SIGTERM, SIGINT and SIGHUP.
    """
    source, target = expanded(source), expanded(target)
    kind, written = _forms(str(source), str(target), form)
    state = processes()
    if str(source) == STANDARD and state.num_processes > 1:
        raise RequestError("standard input cannot be read by several processes: name a file, or start one process.")
    shown = Rows(silent or not state.is_main_process)
    where = "" if str(target) == STANDARD else f"; nothing was written to {target}"
    try:
        with raised_signals(), streams.stream(source, kind) as stream, shown:
            place = target if state.is_main_process else None
            unread = Unread(stream.origin)
            _answer(run, stream, place, written, columns or {}, (batch_size, precision), shown, unread)
            said = unread.sentence()
            return Done(shown.done, shown.speed, [said] if said else [], unread.tokens)
    except Interrupted as interrupted:
        raise Interrupted(f"{interrupted} after {shown.done} rows{where}.") from interrupted


def _answer(
    run: Run,
    stream: Stream,
    target: Path | str | None,
    kind: str,
    columns: Mapping[str, str],
    how: How,
    shown: Rows,
    unread: Unread,
) -> None:
    """Answer window by window into a file; into none where another process writes."""
    write: Write = _nowhere
    names: list[str] = []
    renamed: dict[str, str] = {}
    with ExitStack() as stack:
        for window in stream.windows:
            if not window.records:
                place, reason = window.bad[0]
                raise RequestError(f"{stream.origin}, {stream.unit} {place}: {reason}. Correct the file.")
            fresh = [name for name in window.names() if name not in names] if shown.done else window.names()
            if not shown.done:
                chosen = likely_columns(
                    stream.table(window, fresh), run.task, False, columns, run.report["data"]["columns"]
                )
            answers = _answers(run, stream, window, chosen, how, unread)
            if shown.done and (late := [name for name in answers[0] if name not in renamed]):
                raise RequestError(
                    f"{stream.origin}, {stream.unit} {window.places[0]}: from here on answers have {listing(late)} too, which "
                    "those before have not: keep texts and lists of tokens in files of their own."
                )
            if not shown.done:
                names = fresh
                renamed = writers.beside(names, answers[0])
                every = [*names, *renamed.values()]
                if target is not None:
                    write = stack.enter_context(writers.writing(target, kind, every, stream.types))
            elif fresh:
                _refuse_new(stream, window, fresh, kind, set(renamed.values()))
                names += fresh
            write(
                [
                    {**record, **{renamed[name]: cell for name, cell in answer.items()}}
                    for record, answer in zip(window.records, answers, strict=True)
                ]
            )
            shown.add(len(window.records), stream.share())
        if not shown.done:
            raise RequestError(f"{stream.origin} holds no rows.")


def _nowhere(rows: Sequence[Mapping[str, Any]]) -> None:
    """Leave the rows to the process that writes them."""


def _answers(
    run: Run, stream: Stream, window: Window, chosen: Mapping[str, str], how: How, unread: Unread
) -> list[dict[str, Any]]:
    """The cells of the answers to a window's rows, and what is not read of them counted."""
    table = stream.table(window, chosen.values())
    split = checked(table, chosen, run.task, skip_bad_rows=None, warnings=[])
    batch_size, precision = how
    outputs, features = run.outputs(split, batch_size, precision=precision, again=False)
    run.unread(split, features, unread)
    return [answer.cells() for answer in run.task.decode(outputs, features, split.rows)]


def _refuse_new(stream: Stream, window: Window, fresh: Sequence[str], kind: str, added: set[str]) -> None:
    """Refuse columns that come too late: a header is written once, and the names of answers are taken."""
    for name in fresh:
        if kind not in (".jsonl", ".ndjson") or name in added:
            place = window.place_of(name)
            why = "is the answer's by now" if name in added else f"comes too late for the header of a {kind} file"
            raise RequestError(
                f'{stream.origin}, {stream.unit} {place}: column "{name}", which no row before has, {why}. '
                f"{'Rename it' if name in added else 'Write .jsonl, or give every row all columns'}."
            )


def _forms(source: str, target: str, form: str | None) -> tuple[str, str]:
    """The forms of both ends."""
    known = ("csv", "tsv", "jsonl", "ndjson", "parquet")
    if form is not None and form not in known:
        raise RequestError(f'there is no form "{form}": expected {", ".join(known)}.')
    if form is not None and STANDARD not in (source, target):
        raise RequestError(
            "--form says what standard input or output (-) is; the ending of a file says it of the file."
        )
    kind = None if source == STANDARD else known_form(Path(source))
    written = None if target == STANDARD else writers.check(Path(target))
    standard = f".{form}" if form else kind or written or ".csv"
    if form is None and standard not in (".csv", ".tsv", ".jsonl", ".ndjson"):
        standard = ".csv"
    return kind or standard, written or standard
