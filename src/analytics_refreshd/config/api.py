"""The section `[api]`."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from analytics_refreshd.config.access import AccessSettings
from analytics_refreshd.config.values import Duration, between


class ApiSection(AccessSettings):
    """Where the REST API is served, and what it may cost.

    `management_host` and `management_port` are for metrics and probes; they need no key. `cache_megabytes` is for
    answers that are kept, 0 for none. `write_url` is the primary, where `[database]` leads to a standby. So many
    `streams` are open at once, in all and to one key. What the warehouse answers exactly it answers where it is the
    `engine`; PostgreSQL answers the rest.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9721
    management_host: str = "127.0.0.1"
    management_port: Annotated[int, Field(ge=0, le=65535)] = 9722
    connections: Annotated[int, Field(ge=1, le=30)] = 5
    statement_timeout: Annotated[Duration, between("100ms", "60s")] = timedelta(seconds=5)
    cache_megabytes: Annotated[int, Field(ge=0, le=4096)] = 16
    slow_request: Duration = timedelta(milliseconds=100)
    write_url: str | None = None
    engine: Literal["postgres", "warehouse"] = "postgres"
    streams: Annotated[int, Field(ge=1, le=10_000)] = 1000
    streams_per_key: Annotated[int, Field(ge=1, le=10_000)] = 20
