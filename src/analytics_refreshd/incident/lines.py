"""Give back the lines that were written, whatever a log tool did.

Decompresses gzip, decodes UTF-16, joins the parts into which a container runtime splits a long line, and puts an object
that was printed over many lines on one.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from analytics_refreshd.incident.parse import LINE_BYTES, Tally

OBJECT_BYTES = 16 * LINE_BYTES
"""The most that is put together of one object or line. What is longer is given in pieces."""
_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff", b"{\x00", b"\x00{")
"""Byte order marks, and our lines without one."""
_CRI_PART = re.compile(rb"(\S+ (stdout|stderr)) ([PF])(?::\S*)? (.*)", re.DOTALL)
_DOCKER_PART = re.compile(rb'\s*\{"log"\s*:\s*"')
_OPENING = re.compile(rb"(\s*)\{\s*")


def lines_of(file: BinaryIO, tally: Tally) -> Iterator[bytes]:
    """Yield the lines of a file as they were written. A damaged or truncated archive counts as unreadable."""
    return _one_line_each(_joined(_whole(_decoded(file, tally))))


def _whole(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Put the pieces of a very long line together, if it is an object: a log store prints all of an answer on one."""
    held = bytearray()
    for piece in pieces:
        cut = len(piece) >= LINE_BYTES and not piece.endswith(b"\n")
        if not held and not (cut and piece.lstrip()[:1] in (b"{", b"[")):
            yield piece
            continue
        held += piece
        if not cut or len(held) > OBJECT_BYTES:
            yield bytes(held)
            held = bytearray()
    if held:
        yield bytes(held)


def _decoded(file: BinaryIO, tally: Tally) -> Iterator[bytes]:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]
    try:
        if buffered.peek(2)[:2] == _GZIP:
            buffered = io.BufferedReader(gzip.GzipFile(fileobj=buffered))
        if buffered.peek(2)[:2] in _UTF16_STARTS:
            yield from _from_utf16(buffered)
            return
        first = buffered.readline(LINE_BYTES).removeprefix(_UTF8_MARK)
        if first:
            yield first
        while line := buffered.readline(LINE_BYTES):
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        tally.unreadable += 1


def _from_utf16(file: Any) -> Iterator[bytes]:
    start = file.peek(2)[:2]
    encoding = {b"{\x00": "utf-16-le", b"\x00{": "utf-16-be"}.get(start, "utf-16")
    text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="\n")
    try:
        while line := text.readline(LINE_BYTES):
            yield line.encode("utf-8", "replace")
    finally:
        text.detach()


def _joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Join the parts of a long line, as files of container runtimes hold them.

    A part of CRI's form is marked P, the last one F. Docker's last part alone ends with a line feed. The streams of a
    container may be interleaved.
    """
    parts: dict[bytes, bytearray] = {}
    for line in lines:
        stream, text, last = _part(line, parts)
        if stream is None:
            yield line
            continue
        held = parts.setdefault(stream, bytearray())
        held += text
        if last or len(held) > OBJECT_BYTES:
            yield bytes(parts.pop(stream)) + b"\n"
    for held in parts.values():
        yield bytes(held) + b"\n"


def _part(line: bytes, parts: dict[bytes, bytearray]) -> tuple[bytes | None, bytes, bool]:
    """Return a part's stream, its text, and whether it is the last. The stream is None for a line that is whole."""
    head = line[:120]
    if b" P" in head or (parts and b" F" in head):
        found = _CRI_PART.match(line)
        if found is not None and (found[3] == b"P" or found[2] in parts):
            return found[2], found[4].rstrip(b"\r\n"), found[3] == b"F"
    elif _DOCKER_PART.match(head) is not None:
        return _docker_part(line, parts)
    return None, b"", False


def _docker_part(line: bytes, parts: dict[bytes, bytearray]) -> tuple[bytes | None, bytes, bool]:
    try:
        value = json.loads(line)
        stream, text = str(value.get("stream")).encode(), value["log"].encode("utf-8", "replace")
    except (ValueError, KeyError, AttributeError, RecursionError):
        return None, b"", False
    last = text.endswith(b"\n") or (stream not in parts and text.endswith(b"}"))
    return (stream, text.rstrip(b"\r\n"), last) if not last or stream in parts else (None, b"", False)


def _one_line_each(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Put each object that is printed over several lines on one, as `-o json-pretty` and `jq` print it.

    Such an object begins with a line that holds its brace alone, and ends with a brace under that one.
    """
    held, closing = bytearray(), b""
    for line in lines:
        if not closing:
            opening = _OPENING.fullmatch(line) if len(line) < 200 else None
            if opening is None:
                yield line
                continue
            closing = opening[1].replace(b"\n", b"") + b"}"
            held += line.rstrip(b"\r\n")
            continue
        held += line.rstrip(b"\r\n")
        if line.startswith(closing) or len(held) > OBJECT_BYTES:
            yield bytes(held) + b"\n"
            held, closing = bytearray(), b""
    if held:
        yield bytes(held) + b"\n"
