"""The sections `[http]` and `[log]`."""

from typing import Annotated, Literal

from pydantic import Field

from analytics_refreshd.config.values import HostName, Section


class HttpSection(Section):
    """Where metrics, probes and the page are served."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9720
    page: bool = True
    public_url: str = ""
    hosts: Annotated[list[HostName], Field(max_length=100)] = Field(default_factory=list)


class LogSection(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
