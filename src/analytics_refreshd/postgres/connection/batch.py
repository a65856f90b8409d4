"""Runs several prepared statements in one round trip."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import AdaptContext, PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.waiting import Ready, Wait

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.plain import plain_context

Row = tuple[Any, ...]
MOST_PREPARED = 100
"""How many statements a session keeps prepared. One more makes it forget all of them."""
_PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")
_FORGET = b"deallocate all"
_OUTDATED = ("0A000", "26000")
"""The result type has changed since it was prepared; there is no such statement."""
_Key = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; `%(name)s` in its text stands for one of `values`. With `plain` its rows are as JSON has them."""

    text: str
    values: Mapping[str, object] = field(default_factory=dict)
    plain: bool = False


class BatchConnection(BoundedConnection):
    """A bounded connection that prepares each statement once.

    psycopg's own pipeline sends each statement by itself, and its prepared statements end with every ROLLBACK.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names: dict[_Key, bytes] = {}
        self._made = 0
        self._plain: AdaptContext | None = None

    def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run the statements in one round trip; return the rows of each.

        Where one fails, those after it are not run. Raises psycopg.Error.
        """
        ready = [self._ready(statement) for statement in statements]
        with self.lock:
            self.pgconn.enter_pipeline_mode()
            try:
                sent = self._send(ready)
                results = self.wait(_results(self.pgconn))
            except BaseException:
                # nobody knows what of it was sent, or is still to come
                self.close()
                raise
            if not self.closed:
                self.pgconn.exit_pipeline_mode()
            return self._rows(sent, results)

    def _ready(self, statement: Statement) -> "_Ready":
        text, names = positional(statement.text)
        adapter = Transformer(self)
        values = adapter.dump_sequence([statement.values[name] for name in names], [PyFormat.AUTO] * len(names))
        return _Ready((text, adapter.types or ()), values, adapter.formats, statement.plain)

    def _send(self, statements: Sequence["_Ready"]) -> list["_Sent"]:
        """Queue the statements; return what was queued, in order."""
        sent: list[_Sent] = []
        new = {statement.key for statement in statements} - self._names.keys()
        if len(self._names) + len(new) > MOST_PREPARED:
            self.pgconn.send_query_params(_FORGET, None)
            self._names.clear()
            sent.append(_Sent(None))
        made: dict[_Key, bytes] = {}
        for statement in statements:
            key = statement.key
            old = self._names.get(key)
            name = old or made.get(key)
            if name is None:
                self._made += 1
                name = made[key] = b"batch_%d" % self._made
                self.pgconn.send_prepare(name, key[0].encode(self.info.encoding), key[1])
                sent.append(_Sent(key, prepares=name))
            self.pgconn.send_query_prepared(name, statement.values, statement.formats)
            sent.append(_Sent(key, old=old is not None, plain=statement.plain))
        self.pgconn.pipeline_sync()
        return sent

    def _rows(self, sent: Sequence["_Sent"], results: Sequence[pq.abc.PGresult]) -> list[list[Row]]:
        rows: list[list[Row]] = []
        for one, result in zip(sent, results, strict=False):
            if result.status == pq.ExecStatus.FATAL_ERROR:
                error = error_from_result(result, encoding=self.info.encoding)
                if one.old and error.sqlstate in _OUTDATED:
                    # the session that comes in its place prepares again
                    self.close()
                raise error
            if one.key is not None and one.prepares is not None:
                self._names[one.key] = one.prepares
            elif one.key is not None:
                adapter = Transformer(self._plainly() if one.plain else self)
                adapter.set_pgresult(result)
                rows.append(adapter.load_rows(0, result.ntuples, tuple))
        if len(results) < len(sent):
            raise psycopg.OperationalError("the connection was lost")
        return rows

    def _plainly(self) -> AdaptContext:
        if self._plain is None:
            self._plain = plain_context(self)
        return self._plain


@dataclass(frozen=True, slots=True)
class _Ready:
    """A statement with its values as the server reads them."""

    key: _Key
    values: Sequence[Any]
    formats: Sequence[pq.Format] | None
    plain: bool


@dataclass(frozen=True, slots=True)
class _Sent:
    """One message of a batch: what prepares a statement by a name, or runs it, if `old` as prepared before."""

    key: _Key | None
    prepares: bytes | None = None
    old: bool = False
    plain: bool = False


@lru_cache(maxsize=1000)
def positional(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the text with `$1` and so on, and the placeholders' names.

    These are in the order of the numbers.
    """
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return "%" if match[0] == "%%" else f"${names.setdefault(match[1], len(names) + 1)}"

    return _PLACEHOLDER.sub(number, text), tuple(names)


def _results(pgconn: pq.abc.PGconn) -> PQGen[list[pq.abc.PGresult]]:
    """Send what is queued; return the results up to the end of the batch, fewer if the connection is lost."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    found: list[pq.abc.PGresult] = []
    ends = False
    while True:
        try:
            while pgconn.is_busy():
                if (yield Wait.R):
                    pgconn.consume_input()
        except psycopg.OperationalError:
            # what the server said last tells more
            if any(result.status == pq.ExecStatus.FATAL_ERROR for result in found):
                return found
            raise
        result = pgconn.get_result()
        if result is None:
            # one ends the results of a statement, two those of a connection that is lost
            if ends:
                return found
            ends = True
            continue
        ends = False
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return found
        found.append(result)
