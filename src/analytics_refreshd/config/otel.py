"""The section `[otel]`."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from analytics_refreshd.config.values import Duration, Section, between
from analytics_refreshd.core.addresses import base_problem


class OtelSection(Section):
    """Where metrics and traces are sent by OpenTelemetry (OTLP over HTTP).

    Without `endpoint` nothing is sent. `headers_file` holds `Name: value` lines, for tokens. `attributes` are added to
    those of the resource. `timeout` is for one export, its retries included. `sample_requests` is the share
    of the API's requests that are traced; runs all are.
    """

    endpoint: str | None = None
    headers_file: Path | None = None
    ca_file: Path | None = None
    metrics: bool = True
    traces: bool = True
    sample_requests: Annotated[float, Field(ge=0, le=1)] = 1.0
    metrics_every: Annotated[Duration, between("1s", "1h")] = timedelta(seconds=60)
    timeout: Annotated[Duration, between("100ms", "60s")] = timedelta(seconds=10)
    attributes: Annotated[dict[str, str], Field(max_length=50)] = Field(default_factory=dict)


def otel_contradictions(otel: OtelSection) -> Iterator[str]:
    """Yield what cannot be used."""
    problem = None if otel.endpoint is None else base_problem(otel.endpoint)
    if problem is not None:
        yield f"otel.endpoint {problem}"
