"""The port of what sends metrics to a collector."""

from typing import Protocol


class Telemetry(Protocol):
    """Sends on threads of its own. Nothing waits for it but `stop`."""

    def start(self) -> None:
        """Begin to send."""

    def stop(self, within_seconds: float) -> None:
        """Send what is left, within the time."""


class NoTelemetry:
    """Sends nothing, where `[otel]` names no collector."""

    def start(self) -> None:
        """Begin nothing."""

    def stop(self, within_seconds: float) -> None:
        """End nothing."""
