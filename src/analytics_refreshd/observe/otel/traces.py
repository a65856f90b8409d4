"""Makes spans, and sends them in batches."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from analytics_refreshd import __version__
from analytics_refreshd.core.telemetry import Attributes, Span
from analytics_refreshd.observe.otel.outcomes import Outcomes
from analytics_refreshd.observe.otel.session import CollectorSession
from analytics_refreshd.observe.otel.settings import OtelSettings

_SIGNAL = "traces"


class SpanExport(SpanExporter):
    """Sends batches of spans, and tells how each export ended."""

    def __init__(self, settings: OtelSettings, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        self._session = CollectorSession(settings.headers_file)
        self._exporter = OTLPSpanExporter(
            settings.address(_SIGNAL),
            certificate_file=str(settings.ca_file) if settings.ca_file else None,
            timeout=settings.timeout_seconds,
            compression=Compression.Gzip,
            session=self._session,
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        self._session.problem = None
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._outcomes.taken()
        else:
            self._outcomes.failed(self._session.problem)
        return result

    def shutdown(self) -> None:
        """Wake an export that waits to try again, and end."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class OtelSpan:
    """Implements `core.telemetry.Span`."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._reason: str | None = None

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(dict(attributes))

    def failed(self, reason: str) -> None:
        """Mark it as failed. The first reason counts: an exception that ends the block says less."""
        if self._reason is None:
            self._reason = reason
            _fail(self._span, reason)

    def child(
        self, name: str, began_at: datetime, ended_at: datetime, attributes: Attributes, failure: str | None = None
    ) -> None:
        """Add a piece of it that is over."""
        made = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(self._span),
            attributes=dict(attributes),
            start_time=_nanoseconds(began_at),
        )
        if failure is not None:
            _fail(made, failure)
        made.end(max(_nanoseconds(began_at), _nanoseconds(ended_at)))


class OtelTracer:
    """Implements `core.telemetry.Tracer`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("analytics_refreshd", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._runs: dict[str, trace.Span] = {}

    @contextmanager
    def span(self, name: str, attributes: Attributes, *, run_id: UUID | None = None) -> Iterator[Span]:
        """Time the block. With `run_id` the lines of that run from other threads carry its ids."""
        with self._tracer.start_as_current_span(
            name, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        ) as span:
            if run_id is not None:
                self._runs[str(run_id)] = span
            made = OtelSpan(self._tracer, span)
            try:
                yield made
            except Exception as error:
                # never its text, which may hold a value
                made.failed(type(error).__name__)
                raise
            finally:
                if run_id is not None:
                    self._runs.pop(str(run_id), None)

    @contextmanager
    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """Time a client's request, within the trace that its headers name."""
        with self._tracer.start_as_current_span(
            f"{method} {route}",
            context=self._propagator.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": route},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            made = OtelSpan(self._tracer, span)
            try:
                yield made
            except Exception as error:
                made.failed(type(error).__name__)
                raise

    def ids(self, run_id: object) -> Mapping[str, str]:
        """Return the ids of this thread's span, else of that run's."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid and run_id is not None and (span := self._runs.get(str(run_id))) is not None:
            context = span.get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


class TracesExport:
    """Builds the tracer and what sends its spans."""

    def __init__(self, settings: OtelSettings, resource: Resource, outcomes: Outcomes) -> None:
        self._exporter = SpanExport(settings, outcomes)
        self._processor = BatchSpanProcessor(self._exporter)
        sampled = TraceIdRatioBased(settings.sample_ratio) if settings.sample_ratio < 1 else ALWAYS_ON
        # a client's wish to be traced costs no more than our own
        sampler = ParentBased(sampled, remote_parent_sampled=sampled)
        provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self.tracer = OtelTracer(provider)

    def stop(self, within_seconds: float) -> None:
        """Send what is left, and end within the time."""
        until = time.monotonic() + within_seconds
        # it would wait for half a minute
        ending = threading.Thread(target=self._processor.shutdown, name="otel-traces-end", daemon=True)
        ending.start()
        ending.join(max(0.0, until - time.monotonic()))
        if ending.is_alive():
            self._exporter.shutdown()


def _fail(span: trace.Span, reason: str) -> None:
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", reason)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
