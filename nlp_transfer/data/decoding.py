"""Bytes of files, unpacked and decoded piece by piece."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from nlp_transfer.errors import RequestError


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
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast("BinaryIO", unpacked), file
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RequestError(f"{path} ends in .gz but is no complete gzip file: {error}.") from error


@contextmanager
def decoded(origin: str, content: BinaryIO, newline: str) -> Iterator[TextIO]:
    """Text from bytes: UTF-8, or UTF-16 and UTF-32 where a byte order mark says so.

    Args:
        origin: what messages call the file.
        content: its bytes.
        newline: what ends a line, as `open` takes it; nothing is translated.

    Raises:
        RequestError: at the first byte that is wrong, naming its line.
    """
    counted = _Counted(content)
    with io.TextIOWrapper(cast("BinaryIO", counted), encoding=counted.encoding, newline=newline) as text:
        try:
            yield text
        except UnicodeDecodeError as error:
            # what the decoder was given ends where reading stands
            line = counted.newlines - error.object.count(b"\n", error.start) + 1
            encoding = counted.encoding.removesuffix("-sig").upper()
            raise RequestError(
                f"{origin}, line {line}: byte {error.object[error.start]:#04x} is not {encoding}. "
                "Save the file as UTF-8."
            ) from error


class _Counted(io.BufferedIOBase):
    """Bytes on their way to a decoder, with the newlines among them counted."""

    def __init__(self, content: BinaryIO) -> None:
        self.content = content
        self.newlines = 0
        self.head = content.read(4)
        self.encoding = "utf-8-sig"
        if self.head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            self.encoding = "utf-32"
        elif self.head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self.encoding = "utf-16"

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        read, self.head = self.head or self.content.read1(size), b""  # type: ignore[attr-defined]
        self.newlines += read.count(b"\n")
        return read

    def read(self, size: int | None = -1, /) -> bytes:
        read, self.head = self.head, b""
        if size is None or size < 0:
            read += self.content.read()
        elif size > len(read):
            read += self.content.read(size - len(read))
        self.newlines += read.count(b"\n")
        return read
