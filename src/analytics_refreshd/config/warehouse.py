"""The section `[warehouse]`."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from analytics_refreshd.config.values import Duration, PositiveDuration, Section, between


class WarehouseSection(Section):
    """Where batches of changes are sent, for long histories and many databases.

    `url` is a ClickHouse's HTTP interface; without it nothing is sent. `database` is the one there that holds the
    tables, on all servers of `cluster` where that is named. `outbox_rows` is how many rows may wait in PostgreSQL; with
    more of them all is exported again. `keep` is how long batches stay in the landing table. With `rows`, the rows of
    closed months are loaded too, and stay for `rows_keep`. An alert tells where the warehouse is behind by
    `behind_after`.
    """

    url: str | None = None
    database: Annotated[str, Field(min_length=1, max_length=200)] = "analytics"
    cluster: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    user: str = "default"
    password_file: Path | None = None
    ca_file: Path | None = None
    connect_timeout: PositiveDuration = timedelta(seconds=5)
    request_timeout: PositiveDuration = timedelta(minutes=5)
    outbox_rows: Annotated[int, Field(ge=1000, le=1_000_000_000)] = 5_000_000
    keep: Annotated[Duration, between("1d")] = timedelta(days=30)
    rows: bool = False
    rows_keep: Annotated[Duration, between("31d")] = timedelta(days=400)
    behind_after: PositiveDuration = timedelta(minutes=15)

    @property
    def behind_seconds(self) -> float | None:
        """Return after how long the daemon warns; None without a warehouse."""
        return self.behind_after.total_seconds() if self.url is not None else None


def warehouse_contradictions(warehouse: WarehouseSection, engine: str) -> Iterator[str]:
    """Yield what is wrong with the section, a sentence each. `engine` is that of `[api]`."""
    if warehouse.url is None:
        if engine == "warehouse":
            yield "api.engine is warehouse, and there is none: set warehouse.url"
        return
    try:
        parts = urlsplit(warehouse.url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield "warehouse.url cannot be read: it is like https://clickhouse.example.net:8443"
        return
    if parts.scheme not in ("http", "https") or not host:
        yield "warehouse.url must begin with https:// or http:// and name a host"
    if parts.username is not None or parts.password is not None:
        yield "warehouse.url must hold no user: use warehouse.user and warehouse.password_file"
    if parts.query or parts.fragment:
        yield "warehouse.url must end with its path"


def warehouse_warnings(warehouse: WarehouseSection) -> Iterator[str]:
    """Yield what is accepted but unwise, a sentence each."""
    if warehouse.url is not None and urlsplit(warehouse.url).scheme == "http":
        host = urlsplit(warehouse.url).hostname
        if host not in ("localhost", "127.0.0.1", "::1"):
            yield "warehouse.url is http: the password and all figures cross the network as they are; use https"
