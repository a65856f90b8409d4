"""Reads every time that PostgreSQL can hold, also where Python cannot."""

from datetime import datetime
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

from analytics_refreshd.postgres.connection import Connection


class _OrText:
    """Load the server's own text where Python has no such time.

    That is `infinity`, a year beyond 9999, or one before Christ.
    """

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)  # type: ignore[misc]
        except psycopg.DataError:
            return bytes(data).decode()


class _DateOrText(_OrText, DateLoader):
    """A date."""


class _TimestampOrText(_OrText, TimestampLoader):
    """A time without zone."""


class _TimestamptzOrText(_OrText, TimestamptzLoader):
    """A time. The one of UTC, which is all but any, is read by Python's own parser, eight times as fast."""

    def load(self, data: Buffer) -> Any:
        text = bytes(data).decode()
        if text.endswith("+00"):
            try:
                return datetime.fromisoformat(text)
            except ValueError:
                pass
        return super().load(data)


def read_every_time(connection: Connection) -> None:
    """Let the connection return text for times that Python cannot hold."""
    for name, loader in (
        ("date", _DateOrText),
        ("timestamp", _TimestampOrText),
        ("timestamptz", _TimestamptzOrText),
    ):
        connection.adapters.register_loader(name, loader)
