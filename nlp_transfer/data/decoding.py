"""Bytes of files, unpacked and decoded piece by piece."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from nlp_transfer.errors import RequestError

PIECE = 2**16
"""Bytes that are decoded at once."""

LINE_END = re.compile("\r\n|\r|\n")

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
"""Byte order marks; that of UTF-16 is the beginning of one of UTF-32, which comes first."""

BINARY = {
    b"\x1f\x8b": "is compressed with gzip: unpack it, or give a file the ending .gz",
    b"PK\x03\x04": "is a zip archive, as spreadsheets are: unpack it, or save the sheet as CSV in UTF-8",
    b"PAR1": "is a Parquet file: give it the ending .parquet, or say --form parquet of standard input",
}
"""What a file is that begins so and is no text."""


UNPACKED = 2**28
"""Bytes that any packed file may unpack to."""

RATIO = 200
"""How many times its size a larger one may unpack to: texts make some 10, and a file made to fill a memory 1,000."""


class _Bounded(gzip.GzipFile):
    """A packed file that does not unpack to more than any text would."""

    def __init__(self, path: Path, fileobj: BinaryIO) -> None:
        super().__init__(fileobj=fileobj)
        self.path = path
        self.most = max(UNPACKED, RATIO * path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        """As a file's, but all at once is never more than may be."""
        return self._within(super().read(self.most + 1 if size is None or size < 0 else size))

    def read1(self, size: int = -1) -> bytes:
        """As a file's."""
        return self._within(super().read1(size))

    def _within(self, content: bytes) -> bytes:
        if self.tell() > self.most:
            raise RequestError(
                f"{self.path} unpacks to more than {self.most:,} bytes, over {RATIO} times its size, as no text does. If it is "
                "data all the same, unpack it first."
            )
        return content


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The bytes of a file, unpacked where its name ends in .gz; and the file itself, which tells how far it was read.

    Raises:
        RequestError: for a packed file that is damaged or cut off.
    """
    with path.open("rb") as file:
        if path.suffix.lower() != ".gz":
            yield file, file
            return
        try:
            with _Bounded(path, fileobj=file) as unpacked:
                yield cast("BinaryIO", unpacked), file
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RequestError(f"{path} ends in .gz but is no complete gzip file: {error}.") from error


def lines(origin: str, content: BinaryIO, newline: str) -> Iterator[str]:
    r"""The lines of a text with their ends: UTF-8, or UTF-16 and UTF-32 where a byte order mark says so.

    Args:
        origin: what messages call the file.
        content: its bytes.
        newline: what ends a line, as `open` takes it: `""` for `\n`, `\r` and `\r\n`, or `"\n"`; nothing is translated.

    Raises:
        RequestError: for bytes that are no text, and at the first byte that is wrong, naming its line.
    """
    read = partial(content.read1, PIECE)  # type: ignore[attr-defined]
    first = content.read(4) + read()
    mark = next((mark for mark in MARKS if first.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    if not mark and (start := first[:1000]).count(0) > len(start) / 3:
        raise _binary(origin, first) or RequestError(
            f"{origin} is UTF-16 or UTF-32 without a byte order mark, or no text. Save it as UTF-8."
        )
    decoder = codecs.getincrementaldecoder(encoding)()
    whole = 0
    held: list[str] = []  # pieces of a line that goes on
    for piece in itertools.chain([first[len(mark) :]], iter(read, b""), [b""]):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            before = "".join(held) + error.object[: error.start].decode(encoding, "ignore")
            line = whole + (before.count(newline) if newline else len(LINE_END.findall(before))) + 1
            raise _binary(origin, first) or RequestError(
                f"{origin}, line {line}: byte {error.object[error.start]:#04x} is not {encoding[:6].upper()}. "
                "Save the file as UTF-8."
            ) from error
        held.append(text)
        if "\n" in text or "\r" in text or held[0].endswith("\r"):
            *ended, last = io.StringIO("".join(held), newline=newline)
            if last.endswith("\n"):
                ended, last = [*ended, last], ""
            # a last \r waits for what may be its \n
            held = [last]
            whole += len(ended)
            yield from ended
    if last := "".join(held):
        yield last


def _binary(origin: str, first: bytes) -> RequestError | None:
    """What to say of a file that is no text, if its beginning tells what it is."""
    for mark, what in BINARY.items():
        if first.startswith(mark):
            named = f" ({Path(origin).name}.gz)" if what.endswith(".gz") and Path(origin).suffix else ""
            return RequestError(f"{origin} {what}{named}.")
    return None
