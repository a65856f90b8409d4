"""Traces over OpenTelemetry: who is whose parent, and what no collector may do."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.telemetry import Tracer
from analytics_refreshd.observe.log.sink import LogSettings, configure
from analytics_refreshd.observe.otel.export import OtelExport
from analytics_refreshd.observe.otel.settings import OtelSettings
from tests.support.collector import Traced, collector, drawn
from tests.support.fakes import RecordingLog
from tests.support.receivers import raw_server
from tests.support.states import NOW

RUN = UUID(int=7)
CALLER = "0af7651916cd43dd8448eb211c80319c"


class Tracing:
    """An export of traces, and what it counted and logged."""

    def __init__(self, url: str, *, sample_ratio: float = 1.0, timeout_seconds: float = 5.0) -> None:
        self.failures: list[str] = []
        self.log = RecordingLog()
        settings = OtelSettings(url, metrics=False, sample_ratio=sample_ratio, timeout_seconds=timeout_seconds)
        self.export = OtelExport(settings, collect=list, log=self.log, count_failure=self.failures.append)
        tracer = self.export.tracer
        assert tracer is not None
        self.tracer: Tracer = tracer


@contextmanager
def tracing(url: str, **how: float) -> Iterator[Tracing]:
    made = Tracing(url, **how)
    made.export.start()
    try:
        yield made
    finally:
        made.export.stop(60)


def named(spans: list[Traced]) -> dict[str, Traced]:
    found = {span.name: span for span in spans}
    assert len(found) == len(spans)
    return found


def test_a_span_within_a_span_is_its_child() -> None:
    """What is over already, too, with its own times."""
    with collector() as collecting:
        with tracing(collecting.url) as made:
            with made.tracer.span("refresh", {"analytics.run_id": str(RUN)}, run_id=RUN) as run:
                run.set({"analytics.attempts": 1})
                with made.tracer.span("attempt", {"analytics.attempt": 1}) as attempt:
                    pass
                attempt.child("fold", NOW, NOW + timedelta(seconds=1), {})
                attempt.child("view v", NOW + timedelta(seconds=1), NOW, {"analytics.rows": 3}, "lock_timeout")
        spans = named(collecting.spans)
    run_span, attempt_span = spans["refresh"], spans["attempt"]
    assert {span.trace_id for span in spans.values()} == {run_span.trace_id}
    assert (run_span.parent, attempt_span.parent) == ("", run_span.span_id)
    assert spans["fold"].parent == spans["view v"].parent == attempt_span.span_id
    assert spans["fold"].ended_ns - spans["fold"].began_ns == 1_000_000_000
    # a clock that stepped back makes no span of negative length
    assert spans["view v"].ended_ns == spans["view v"].began_ns
    assert spans["view v"].attributes == {"analytics.rows": 3, "error.type": "lock_timeout"}
    assert spans["view v"].failed
    assert not run_span.failed
    assert run_span.attributes == {"analytics.run_id": str(RUN), "analytics.attempts": 1}
    assert "attempt" in drawn([run_span, attempt_span])
    assert made.failures == []


def fail(tracer: Tracer, kind: str, reason: str | None) -> None:
    """Raise within a span, which a reason was given before or not."""
    with tracer.span("work", {}) if kind == "span" else tracer.request("GET", "/work", {}) as span:
        if reason is not None:
            span.failed(reason)
        raise ValueError("CANARY-7f3a")


@pytest.mark.parametrize("kind", ["span", "request"])
def test_an_exception_fails_its_span_and_its_text_stays_here(kind: str) -> None:
    """The text of an error may hold a value."""
    with collector() as collecting:
        with tracing(collecting.url) as made:
            for reason in ("conn_lost", None):
                with pytest.raises(ValueError, match="CANARY"):
                    fail(made.tracer, kind, reason)
        spans = collecting.spans
        assert all(each.failed for each in spans)
        # a reason from a closed list says more than the exception's class
        assert [each.attributes["error.type"] for each in spans] == ["conn_lost", "ValueError"]
        assert not [body for body in collecting.bodies("traces") if b"CANARY" in body]


def test_a_request_joins_its_callers_trace() -> None:
    """One without, or with nonsense, begins its own."""
    with collector() as collecting:
        with tracing(collecting.url) as made:
            for parent in (f"00-{CALLER}-b7ad6b7169203331-01", "nonsense", None):
                with made.tracer.request("GET", "/api/{id}", {"traceparent": parent} if parent else {}) as span:
                    span.set({"http.response.status_code": 200})
        joined, *others = sorted(collecting.spans, key=lambda span: span.began_ns)
    assert (joined.trace_id, joined.parent) == (CALLER, "b7ad6b7169203331")
    assert (joined.name, joined.kind) == ("GET /api/{id}", "server")
    assert [span.parent for span in others] == ["", ""]
    assert len({span.trace_id for span in others} | {CALLER}) == 3


def test_a_share_of_the_requests_is_sent() -> None:
    """A caller's wish to be traced costs no more than our own."""
    with collector() as collecting:
        with tracing(collecting.url, sample_ratio=0.0) as made:
            for parent in (f"00-{CALLER}-b7ad6b7169203331-01", None):
                with made.tracer.request("GET", "/", {"traceparent": parent} if parent else {}) as span:
                    span.set({"http.response.status_code": 200})
                    span.child("view", NOW, NOW, {})
        assert collecting.got("traces") == []


def test_lines_of_the_log_name_the_span(capfd: pytest.CaptureFixture[str]) -> None:
    """Those of its thread, and those of its run from any other; none once it is over."""
    with collector() as collecting, tracing(collecting.url) as made:
        log = configure(LogSettings(), "orders", "one", environment={})
        log.trace_ids = made.export.ids
        with made.tracer.span("refresh", {}, run_id=RUN):
            log.emit(Event.REFRESH_FINISHED, run_id=RUN)
            with made.tracer.span("attempt", {}):
                log.emit(Event.DATABASE_LOST)
            other = threading.Thread(target=log.emit, args=(Event.VIEW_BLOCKED,), kwargs={"run_id": RUN})
            other.start()
            other.join()
            foreign = threading.Thread(target=log.emit, args=(Event.DAEMON_STARTED,))
            foreign.start()
            foreign.join()
        log.emit(Event.REFRESH_RETRY, run_id=RUN)
    lines = {line["event"]: line for line in map(json.loads, capfd.readouterr().err.splitlines())}
    run, attempt = lines["refresh.finished"], lines["database.lost"]
    assert len(run["trace_id"]) == 32
    assert len(run["span_id"]) == 16
    assert attempt["trace_id"] == run["trace_id"]
    assert attempt["span_id"] != run["span_id"]
    assert lines["view.blocked"]["span_id"] == run["span_id"]
    assert "trace_id" not in lines["daemon.started"]
    assert "trace_id" not in lines["refresh.retry"]


@pytest.mark.slow
def test_what_a_collector_rejects_is_counted_and_logged_once() -> None:
    """As of metrics."""
    with collector(400) as collecting, tracing(collecting.url) as made:
        with made.tracer.span("one", {}):
            pass
    assert made.failures == ["traces"]
    (line,) = made.log.of(Event.OTEL_EXPORT_FAILED)
    assert (line["signal"], line["error"]) == ("traces", "it answered 400 Bad Request")


@pytest.mark.slow
def test_a_collector_that_never_answers_delays_neither_work_nor_a_stop() -> None:
    """Spans wait in a queue that holds so many; a stop waits as long as it is told."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(1)
        over.wait(60)

    with raw_server(talk) as (url, _):
        made = Tracing(url.removesuffix("/hook"), timeout_seconds=60)
        began = time.monotonic()
        for _ in range(2100):  # more than the queue holds
            with made.tracer.span("one", {}):
                pass
        made.export.stop(0.2)
        assert time.monotonic() - began < 30  # an export itself would wait for 60 s


def test_without_traces_there_is_no_tracer() -> None:
    """`[otel] traces = false` makes no span."""
    export = OtelExport(
        OtelSettings("http://127.0.0.1:1", metrics=False, traces=False),
        collect=list,
        log=RecordingLog(),
        count_failure=print,
    )
    assert export.tracer is None
    assert export.ids(RUN) == {}
    export.start()
    export.stop(1)
