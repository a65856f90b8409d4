"""What the export by OpenTelemetry is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class OtelSettings:
    """Where to send, as whom, and how long one export may take.

    `endpoint` is the collector's base address: signals are sent to paths below it. `attributes` are the resource's.
    `headers_file` is read again for each export, so that a rotated token needs no restart.
    `sample_ratio` is the share of traces that are sent.
    """

    endpoint: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    headers_file: Path | None = None
    ca_file: Path | None = None
    timeout_seconds: float = 10.0
    metrics: bool = True
    metrics_every_seconds: float = 60.0
    traces: bool = True
    sample_ratio: float = 1.0

    @property
    def host(self) -> str:
        """Return the collector's host and port, for the log."""
        return urlsplit(self.endpoint).netloc

    def address(self, signal: str) -> str:
        """Return where `signal` is sent."""
        return f"{self.endpoint.rstrip('/')}/v1/{signal}"
