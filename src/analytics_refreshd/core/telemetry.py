"""The ports of what sends metrics and traces to a collector."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Protocol
from uuid import UUID

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A piece of work that is timed. Every method is cheap and never raises."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def failed(self, reason: str) -> None:
        """Mark it as failed, with a reason from a closed list."""

    def child(
        self, name: str, began_at: datetime, ended_at: datetime, attributes: Attributes, failure: str | None = None
    ) -> None:
        """Add a piece of it that is over. `failure` is its reason, where it failed."""


class Tracer(Protocol):
    """Makes spans. While a span's block runs, the log's lines from there carry its ids."""

    def span(self, name: str, attributes: Attributes, *, run_id: UUID | None = None) -> AbstractContextManager[Span]:
        """Time the block. With `run_id` the lines of that run from other threads carry its ids, too."""

    def request(self, method: str, route: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
        """Time a client's request, within the trace that its headers name."""


class Telemetry(Protocol):
    """Sends on threads of its own. Nothing waits for it but `stop`."""

    @property
    def tracer(self) -> Tracer | None:
        """What makes spans, None where traces are not sent."""

    def start(self) -> None:
        """Begin to send."""

    def stop(self, within_seconds: float) -> None:
        """Send what is left, within the time."""

    def ids(self, run_id: object) -> Mapping[str, str]:
        """Return the ids for a line of the log: of this thread's span, else of that run's.

        It is empty where none is active.
        """


class NoSpan:
    """Keeps nothing."""

    def set(self, attributes: Attributes) -> None:
        """Keep nothing."""

    def failed(self, reason: str) -> None:
        """Keep nothing."""

    def child(
        self, name: str, began_at: datetime, ended_at: datetime, attributes: Attributes, failure: str | None = None
    ) -> None:
        """Keep nothing."""


class NoTracer:
    """Times nothing."""

    @contextmanager
    def span(self, name: str, attributes: Attributes, *, run_id: UUID | None = None) -> Iterator[Span]:
        """Run the block."""
        yield NoSpan()

    @contextmanager
    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """Run the block."""
        yield NoSpan()


class NoTelemetry:
    """Sends nothing, where `[otel]` names no collector."""

    @property
    def tracer(self) -> Tracer | None:
        """None: no traces are sent."""
        return None

    def start(self) -> None:
        """Begin nothing."""

    def stop(self, within_seconds: float) -> None:
        """End nothing."""

    def ids(self, run_id: object) -> Mapping[str, str]:
        """Return none."""
        return {}
