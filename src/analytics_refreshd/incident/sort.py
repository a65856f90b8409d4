"""Sort log lines by time, with bounded memory.

`kubectl logs` of several pods prints one pod after the other, so the last line may belong first. SQLite sorts in a
temporary file.
"""

import json
import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.incident.parse import Entry

_CACHE_KIB = 8_000
_SETTINGS = (
    f"PRAGMA cache_size = -{_CACHE_KIB}",  # also the memory of SQLite's own sort
    "PRAGMA temp_store = FILE",
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
)
_CREATE = "CREATE TABLE line (arrival INTEGER PRIMARY KEY, at REAL, database BLOB, replica BLOB, fields TEXT)"
_INSERT = "INSERT INTO line VALUES (?, ?, ?, ?, ?)"
_SORTED = "SELECT at, database, replica, arrival, fields FROM line ORDER BY at, database, replica, arrival"

_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode

Record = tuple[float, str, str, int, dict[str, Any]]
"""Time, database, replica, arrival, fields. The arrival number keeps one replica's lines of a millisecond in order."""


class Sorter:
    """Take lines in any order and return them sorted.

    They are sorted by time, then database, then replica, then arrival. They are kept in a private SQLite database. Its
    file has no name, and is gone after the `with` block or with the process. `add` and `sorted` raise RefreshdError if
    the temporary folder has no room.
    """

    def __init__(self) -> None:
        self._count = 0
        self._database = sqlite3.connect("", isolation_level=None)

    def __enter__(self) -> Self:
        for statement in (*_SETTINGS, _CREATE, "BEGIN"):
            self._database.execute(statement)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def __len__(self) -> int:
        return self._count

    def add(self, entry: Entry) -> None:
        """Store one line."""
        at, database, replica, fields = entry
        try:
            self._database.execute(_INSERT, (self._count, at, _bytes(database), _bytes(replica), _json(fields)))
        except sqlite3.Error as error:
            raise _no_room(error) from error
        self._count += 1

    def sorted(self) -> Iterator[Record]:
        """Yield every line once."""
        try:
            for at, database, replica, arrival, fields in self._database.execute(_SORTED):
                yield at, _text(database), _text(replica), arrival, json.loads(fields)
        except sqlite3.Error as error:
            raise _no_room(error) from error


def _json(fields: dict[str, Any]) -> str:
    try:
        return _encode(fields)
    except RecursionError:  # nested deeper than the encoder can go: the daemon did not write this
        return _encode({name: value for name, value in fields.items() if not isinstance(value, dict | list)})


def _bytes(text: str) -> bytes:
    """Return UTF-8, which sorts as the text does.

    A BLOB, because a JSON string can hold half a surrogate pair, which SQLite refuses as text.
    """
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _no_room(error: sqlite3.Error) -> RefreshdError:
    return RefreshdError(f"the log cannot be sorted in the temporary folder: {error}; set TMPDIR to one with room")
