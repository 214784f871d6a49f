"""Records of text files, one after another: CSV, TSV, JSON, JSON lines and CoNLL."""

from __future__ import annotations

import csv
import itertools
import json
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from nlp_transfer.data.conll import CONLL, sentences
from nlp_transfer.data.decoding import lines
from nlp_transfer.data.findings import plural
from nlp_transfer.data.nested import NoRow, is_nested, questions
from nlp_transfer.errors import RequestError, listing

Record = tuple[int, dict[str, Any]]
"""The number of the line (or row) where a record begins, and its cells."""

SWALLOWED = 2**23
"""Characters after its first line by which a record of CSV must have closed its quotes; they are held, to be read again."""

LEAST = 2**10
"""What is left of `SWALLOWED` in a file full of broken quotes: it halves whenever a quarter of it has been read again."""


def records(origin: str, kind: str, content: BinaryIO, bad: list[tuple[int, str]]) -> Iterator[Record]:
    """The records of a text file; of a `.json` file only once it is read whole.

    Args:
        origin: what messages call the file.
        kind: its form, as `files.form` gives it; not Parquet.
        content: its bytes.
        bad: rows that cannot be read, with their places; added to.

    Raises:
        RequestError: for a file that is empty, of an unknown encoding, or broken.
    """
    # in JSON lines a text may hold other line separators
    text = lines(origin, content, newline="\n" if kind in (".jsonl", ".ndjson") else "")
    head = []
    for line in text:
        head.append(line)
        if line.strip():
            break
    else:
        raise RequestError(f"{origin} is empty.")
    every = itertools.chain(head, text)
    if kind in (".csv", ".tsv"):
        # spreadsheets of many countries write semicolons into a .csv
        bare, marks = re.sub('"[^"]*"', "", head[-1]), "\t" if kind == ".tsv" else ",;\t"
        mark = max(marks, key=lambda mark: (bare.count(mark), mark == ","))
        yield from _separated(origin, every, mark, bad, plain=kind == ".tsv")
    elif kind in CONLL:
        yield from sentences(every, bad)
    elif kind == ".json":
        yield from _json(origin, "".join(every), bad)
    else:
        yield from _json_lines(every, bad)


def _separated(
    origin: str, text: Iterable[str], delimiter: str, bad: list[tuple[int, str]], plain: bool = False
) -> Iterator[Record]:
    """Rows with cells between delimiters, quoted where they must be.

    Where `plain` (many .tsv files know no quotes: a quote is one), lines whose quotes make no rows of lines are taken as they
    stand, if each has a cell for every column.
    """
    csv.field_size_limit(sys.maxsize)
    source = _Rereadable(text)
    names: list[str] | None = None
    while True:
        try:
            for cells in csv.reader(source, delimiter=delimiter, strict=True):
                unquoted = _unquoted(source.held, names) if plain and len(source.held) > 1 else []
                place = source.take()
                if unquoted:
                    yield from enumerate(unquoted, place)
                    continue
                blank = not any(cell.strip() for cell in cells)
                if names is None:
                    names = None if blank else _header(origin, place, cells)
                elif not cells or (blank and len(cells) == 1 < len(names)):
                    continue
                elif len(cells) != len(names):
                    bad.append((place, f"{plural(len(cells), 'cell')} where the header has {len(names)}"))
                else:
                    yield place, dict(zip(names, cells, strict=True))
            return
        except csv.Error as error:
            reason = f"broken quotes ({error}): a quote inside a quoted cell is written twice"
            if isinstance(error, _Unclosed):
                reason = f"a quote is opened and not closed {error}"
            elif "unexpected end of data" in str(error):
                reason = "a quote is opened and never closed"
            if names is None:
                raise RequestError(f"{origin}, line {source.place}: {reason}.") from error
            unquoted = _unquoted(source.held[:1], names) if plain else []
            place = source.go_back()
            yield from ((place, row) for row in unquoted)
            if not unquoted:
                bad.append((place, reason))


def _unquoted(lines: Sequence[str], names: Sequence[str] | None) -> list[dict[str, str]]:
    """Rows without quotes, where every line has a cell for each of several columns; else none."""
    rows = [line.rstrip("\r\n").split("\t") for line in lines]
    if not names or len(names) < 2 or any(len(cells) != len(names) for cells in rows):
        return []
    return [dict(zip(names, cells, strict=True)) for cells in rows]


class _Unclosed(csv.Error):
    """A record goes on for longer than any should."""


class _Rereadable:
    """Lines for a reader of CSV: whatever a broken quote has swallowed, the next line may be a row again.

    Those of the record that is being read are held, at most `SWALLOWED` characters after its first line.
    """

    def __init__(self, text: Iterable[str]) -> None:
        self.fresh = iter(text)
        self.again: deque[str] = deque()
        self.held: list[str] = []
        self.place = 1
        self.swallowed = 0
        self.read_again = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self.fresh)
        if self.held:
            self.swallowed += len(line)
        self.held.append(line)
        # else a file in which every quote swallows the rest would take the square of its length
        if self.swallowed > (most := max(LEAST, SWALLOWED >> 4 * self.read_again // SWALLOWED)):
            raise _Unclosed(f"in {most:,} characters")
        return line

    def take(self) -> int:
        """A record is whole: the line where it begins."""
        place = self.place
        self.place += len(self.held)
        self.held, self.swallowed = [], 0
        return place

    def go_back(self) -> int:
        """A record is broken: the line where it begins, after which reading goes on."""
        place = self.place
        self.again.extendleft(reversed(self.held[1:]))
        self.read_again += self.swallowed
        self.held, self.swallowed = [], 0
        self.place += 1
        return place


def _header(origin: str, place: int, cells: list[str]) -> list[str]:
    """The names of the columns; those without one are numbered."""
    names = [cell.strip() or f"column {i}" for i, cell in enumerate(cells, 1)]
    if repeated := {name for name, times in Counter(names).items() if times > 1}:
        raise RequestError(f"{origin}, line {place}: the header names {listing(sorted(repeated))} twice.")
    return names


def _json(origin: str, text: str, bad: list[tuple[int, str]]) -> Iterator[Record]:
    try:
        rows = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        hint = " For one object per line, name the file .jsonl." if error.msg == "Extra data" else ""
        raise RequestError(f"{origin}, line {error.lineno}: broken JSON: {error.msg}.{hint}") from error
    except ValueError as error:  # a number of thousands of digits
        raise RequestError(f"{origin}: broken JSON: {error}.") from error
    except RecursionError as error:
        raise RequestError(f"{origin}: JSON nested too deeply to be rows.") from error
    if isinstance(rows, _Repeating):
        raise RequestError(f"{origin} holds {_no_record(rows)}.")
    if is_nested(rows):
        rows = questions(rows)
    if not isinstance(rows, list):
        raise RequestError(
            f"{origin} holds one JSON {type(rows).__name__}: expected a list of objects, one per row, or SQuAD's nested form."
        )
    for i, row in enumerate(rows, 1):
        if reason := _no_record(row):
            bad.append((i, reason))
        else:
            yield i, row


def _json_lines(text: Iterable[str], bad: list[tuple[int, str]]) -> Iterator[Record]:
    for i, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            bad.append((i, f"broken JSON: {error.msg} at character {error.pos + 1}"))
        except ValueError as error:  # a number of thousands of digits
            bad.append((i, f"broken JSON: {error}"))
        except RecursionError:
            bad.append((i, "JSON nested too deeply"))
        else:
            if reason := _no_record(row):
                bad.append((i, reason))
            else:
                yield i, row


class _Repeating(dict[str, Any]):
    """A JSON object that names a key twice, of which one value would be lost."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        row = _Repeating(row)
        keys = [key for key, _ in pairs]
        row.key = next(key for key in keys if keys.count(key) > 1)
    return row


def _no_record(row: Any) -> str | None:
    """Why a JSON value is no row, or None."""
    if isinstance(row, NoRow):
        return row.reason
    if isinstance(row, _Repeating):
        return f'a JSON object that names "{row.key}" twice'
    return None if isinstance(row, dict) else f"a JSON {type(row).__name__} where an object is expected"
