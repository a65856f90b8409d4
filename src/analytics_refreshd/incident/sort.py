"""Lines in the order of time, whatever order they came in, with memory that does not follow their number.

`kubectl logs` of several pods prints one pod after the other, so the last line may belong first. Lines are sorted in
portions; what does not fit into one goes, compressed, to a temporary file without a name, and is merged from there.
"""

import marshal
import tempfile
import zlib
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from typing import IO, Any

from analytics_refreshd.incident.parse import Entry

_PORTION_LINES = 10_000
_PORTION_BYTES = 8_000_000
_BLOCK_LINES = 250

Record = tuple[float, str, str, int, dict[str, Any]]
"""Time, database, replica, number of arrival, fields: one replica's lines of the same millisecond keep their order."""
_order = itemgetter(0, 1, 2, 3)


class Sorter:
    """Takes lines in any order and gives them back by time, then database, then replica."""

    def __init__(self, portion_lines: int = _PORTION_LINES) -> None:
        self._portion_lines = portion_lines
        self._portion: list[Record] = []
        self._portion_bytes = 0
        self._count = 0
        self._file: IO[bytes] | None = None
        self._runs: list[tuple[Any, list[tuple[int, int]]]] = []

    def __len__(self) -> int:
        return self._count

    def add(self, entry: Entry, size_bytes: int) -> None:
        """Take one line that was `size_bytes` long."""
        self._portion.append((entry[0], entry[1], entry[2], self._count, entry[3]))
        self._count += 1
        self._portion_bytes += size_bytes
        if len(self._portion) >= self._portion_lines or self._portion_bytes >= _PORTION_BYTES:
            self._store()

    def _store(self) -> None:
        """Write the portion behind a run that it continues; a run is opened only where lines are out of order."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="analytics-refreshd-")
        self._portion.sort(key=_order)
        first, last = _order(self._portion[0]), _order(self._portion[-1])
        position, blocks = next(
            ((index, run[1]) for index, run in enumerate(self._runs) if run[0] <= first), (len(self._runs), [])
        )
        for begin in range(0, len(self._portion), _BLOCK_LINES):
            data = zlib.compress(marshal.dumps(self._portion[begin : begin + _BLOCK_LINES]), 1)
            blocks.append((self._file.tell(), len(data)))
            self._file.write(data)
        self._runs[position : position + 1] = [(last, blocks)]
        self._portion = []
        self._portion_bytes = 0

    def sorted(self) -> Iterator[Record]:
        """Every line once; the temporary file is gone afterwards."""
        self._portion.sort(key=_order)
        file = self._file
        if file is None:
            yield from self._portion
            return
        with file:
            yield from merge(*(_run(file, blocks) for _, blocks in self._runs), self._portion, key=_order)


def _run(file: IO[bytes], blocks: list[tuple[int, int]]) -> Iterator[Record]:
    for offset, length in blocks:
        file.seek(offset)
        # written by this process a moment ago, into a file that no other can open
        yield from marshal.loads(zlib.decompress(file.read(length)))  # noqa: S302
