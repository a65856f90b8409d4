"""Reads numbers and times as JSON has them, without other objects between."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.abc import Loader as PsycopgLoader
from psycopg.adapt import AdaptersMap, Loader

from analytics_refreshd.core.display import json_number
from analytics_refreshd.core.wording import rfc3339


@dataclass(frozen=True, slots=True)
class _Context:
    """Adapters of a connection that are not its own."""

    adapters: AdaptersMap
    connection: psycopg.Connection[Any]


class _PlainNumeric(Loader):
    """Loads a numeric as an int or a float, as `json_number` does."""

    def load(self, data: Buffer) -> object:
        text = bytes(data)
        try:
            if b"." not in text:
                return int(text)
            number = float(text)
        except ValueError:
            return json_number(Decimal(text.decode()))
        # whole, or too large to tell
        return json_number(Decimal(text.decode())) if number.is_integer() else number


def plain_context(connection: psycopg.Connection[Any]) -> AdaptContext:
    """Return how `connection` reads plain values: times in RFC 3339, numbers as int or float.

    A time that Python cannot hold is the server's text. Otherwise it reads as the connection does by now.
    """
    adapters = AdaptersMap(connection.adapters)
    usual = adapters.get_loader(adapters.types["timestamptz"].oid, psycopg.pq.Format.TEXT)
    assert usual is not None  # noqa: S101 - psycopg has one for each type of its own
    other: type[PsycopgLoader] = usual

    class PlainTime(Loader):
        """Loads a time of UTC from the server's text; any other by the connection's loader."""

        def load(self, data: Buffer) -> object:
            text = bytes(data).decode()
            # 2026-03-01 02:14:05.123+00
            if text[10:11] != " " or text[-3:] != "+00" or text[4:5] != "-":
                return self._other(data)
            fraction = text[19:-3]
            written = f"{text[:10]}T{text[11:19]}"
            return f"{written}{fraction.ljust(7, '0')}Z" if fraction else f"{written}Z"

        def _other(self, data: Buffer) -> object:
            found = other(self.oid, connection).load(data)
            return found if isinstance(found, str) else rfc3339(found, "auto")

    adapters.register_loader("numeric", _PlainNumeric)
    adapters.register_loader("timestamptz", PlainTime)
    return _Context(adapters, connection)
