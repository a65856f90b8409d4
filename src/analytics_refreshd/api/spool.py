"""Rows as CSV in a file, until a client has read them."""

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from analytics_refreshd.core.display import csv_cell

MEDIA_TYPE = "text/csv; charset=utf-8"
MOST_BYTES = 64 << 20
_IN_MEMORY_BYTES = 1 << 20
_PIECE_BYTES = 64 << 10


class TooLargeError(Exception):
    """The rows are more than an answer may hold."""


class Spool:
    """Holds an answer, in memory while it is small.

    So the database's connection is free before the first byte is sent, however slowly the client reads.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)
        self.size = 0

    def write(self, names: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> int:
        """Write the names and the rows; return how many rows. Raises TooLargeError.

        A `note` for whoever reads the file is a last column: before the names it would be taken for them.
        """
        count = 0
        beside = [note] if note else []
        self._add([[*names, *(["note"] if note else [])]])
        for row in rows:
            self._add([[*(csv_cell(value) for value in row), *beside]])
            count += 1
        return count

    def _add(self, lines: Iterable[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(lines)
        data = text.getvalue().encode("utf-8", "replace")
        self.size += len(data)
        if self.size > MOST_BYTES:
            raise TooLargeError
        self._file.write(data)

    def pieces(self) -> Iterator[bytes]:
        """Yield what was written, and close."""
        try:
            self._file.seek(0)
            while piece := self._file.read(_PIECE_BYTES):
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Remove what was written. Harmless twice."""
        self._file.close()
