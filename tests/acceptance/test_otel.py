"""The daemon with a collector: what it sends by OpenTelemetry is what it serves."""

import socket
import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from tests.support.adapters import holding_refresh
from tests.support.api import Api, api_role, make_key
from tests.support.collector import collector, drawn, scraped
from tests.support.daemon import Daemon, Settings
from tests.support.faults import Connection, age_views
from tests.support.installs import make_stretchable, stretch
from tests.support.postgres import free_port
from tests.support.waiting import eventually

ROWS = """
insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)
select i::text, 'job', 'rest', case when i % 3 = 0 then 'failed' else 'success' end, now() - i * interval '1 minute', i
from generate_series(1, 500) i
"""
TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and application_name like 'analytics-refreshd/%'
"""
LONG: Settings = {"schedule__interval": "6h", "service__name": "orders", "service__replica": "one"}


@pytest.mark.quick
def test_a_daemon_exports_what_it_serves(dsn: str) -> None:
    """Every sample of `/metrics`, by name and value, and the resource that says whose it is; a stop sends the rest."""
    given = {"deployment.environment.name": "test"}
    with collector() as collecting:
        with Daemon(
            dsn, **LONG, otel__endpoint=collecting.url, otel__metrics_every="1s", otel__attributes=given
        ) as daemon:
            daemon.until(lambda: daemon.metric("analytics_leader") == 1)
            before = scraped(daemon.get("/metrics")[1])
            # the next export may have been collected before that scrape
            sent = len(collecting.got("metrics")) + 1
            collecting.wait_for("metrics", sent + 1)
            export = collecting.exports[sent]
            after = scraped(daemon.get("/metrics")[1])
            assert daemon.stop() == 0
            assert len(collecting.got("metrics")) > sent + 1
            assert daemon.events("otel.export_failed") == []
    assert set(before) & set(after) <= set(export.samples) <= set(before) | set(after)
    known = {key for key in set(before) & set(after) if not key[0].startswith("process_")}
    assert len(known) > 200
    for key in known:
        least, most = sorted((before[key], after[key]))
        # a moment carried on by another clock differs by microseconds each time
        assert least - 0.001 <= export.samples[key] <= most + 0.001, key
    assert export.resource["service.name"] == "analytics-refreshd"
    assert export.resource["service.namespace"] == "orders"
    assert export.resource["service.instance.id"] == "one"
    assert export.resource["db.system.name"] == "postgresql"
    assert export.resource["db.namespace"] == conninfo_to_dict(dsn)["dbname"]
    assert export.resource["deployment.environment.name"] == "test"


@pytest.mark.slow
def test_a_slow_run_is_one_trace(connection: Connection, dsn: str) -> None:
    """An attempt that waits until it is killed, and the next, with fold and views; lines of the log name the spans."""
    incremental.install(connection)
    make_stretchable(connection)
    age_views(connection)
    connection.execute(ROWS)
    stretch(connection, "recent_failures", 0.7)
    quickly = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
    with collector() as collecting:
        given = LONG | {"otel__endpoint": collecting.url, "otel__metrics": "false"}
        with holding_refresh(dsn, "trigger_performance_summary") as holder:
            with Daemon(dsn, extra=quickly, **given) as daemon:
                blocked = daemon.wait_for("view.blocked")
                connection.execute(TERMINATE)
                retry = daemon.wait_for("refresh.retry")
                holder.rollback()
                finished = daemon.wait_for("refresh.finished")
                assert daemon.stop() == 0
                started = daemon.events("daemon.started")[0]
        spans = collecting.spans
        assert collecting.got("metrics") == []
    print(drawn(spans))
    (run,) = (span for span in spans if span.name == "refresh")
    first, *_, last = sorted((span for span in spans if span.name == "attempt"), key=lambda span: span.began_ns)
    assert {span.trace_id for span in spans} == {run.trace_id}
    assert run.parent == ""
    assert run.attributes["analytics.run_id"] == finished["run_id"]
    assert run.attributes["analytics.outcome"] == "ok"
    assert run.attributes["analytics.attempts"] == finished["attempts"] >= 2
    assert run.resource["service.name"] == "analytics-refreshd"
    assert not run.failed
    assert first.parent == last.parent == run.span_id
    assert first.failed
    assert first.attributes["error.type"] == retry["reason"]
    assert "trigger_performance_summary" in [
        span.attributes["analytics.view"] for span in spans if span.parent == first.span_id and span.failed
    ]
    assert not last.failed
    parts = sorted((span for span in spans if span.parent == last.span_id), key=lambda span: span.began_ns)
    # a fold that is over before anybody looks at its locks is seen by nobody
    assert [span.name for span in parts if span.name != "fold"] == [f"view {view}" for view in VIEWS]
    assert [span.name for span in parts].count("fold") <= 1
    for part in parts:
        assert last.began_ns - 1_000_000 <= part.began_ns <= part.ended_ns <= last.ended_ns + 1_000_000, part.name
    (slow,) = (span for span in parts if span.name == "view recent_failures")
    assert slow.ended_ns - slow.began_ns >= 0.7e9
    assert slow.attributes["analytics.rows"] == next(
        view["rows"] for view in finished["views"] if view["view"] == "recent_failures"
    )
    for line in (blocked, retry, finished):
        assert line["trace_id"] == run.trace_id, line["event"]
        assert line["span_id"] in {run.span_id, first.span_id, last.span_id}
    assert "trace_id" not in started


@pytest.mark.slow
def test_the_api_traces_requests_by_their_template(connection: Connection, dsn: str, tmp_path: Path) -> None:
    """A request is a part of its caller's trace, and its span has no id of a tenant; a log line names the span."""
    caller = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{caller}-b7ad6b7169203331-01", "X-Request-ID": "asked-1"}
    with collector() as collecting, api_role(dsn, connection, tmp_path) as (own, secret):
        key = make_key(dsn, "--all-organizations")
        with Api(own, secret, otel__endpoint=collecting.url, otel__metrics_every="1s") as api:
            api.until(lambda: api.probe("/readyz").status == 200)
            answer = api.ask("triggers/CANARY-7f3a/stats?organization_id=CANARY-7f3b", key, headers)
            assert api.ask("/api/v1/nowhere", key).status == 404
            line = api.wait_for("request.finished", lambda line: line["request_id"] == "asked-1")
            assert api.stop() == 0
            assert api.events("otel.export_failed") == []
    (span,) = (span for span in collecting.spans if span.attributes["analytics.request_id"] == "asked-1")
    assert span.name == "GET /api/v1/analytics/triggers/{trigger_id}/stats"
    assert span.kind == "server"
    assert (span.trace_id, span.parent) == (caller, "b7ad6b7169203331")
    assert span.attributes["http.route"] == "/api/v1/analytics/triggers/{trigger_id}/stats"
    assert span.attributes["http.request.method"] == "GET"
    assert span.attributes["http.response.status_code"] == answer.status
    assert not span.failed
    assert span.resource["service.name"] == "analytics-refreshd-api"
    assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)
    assert not [body for body in collecting.bodies("traces") if b"CANARY" in body or key.encode() in body]
    kinds = collecting.exports[-1].kinds
    assert kinds["analytics_query_run_duration_seconds"] == "histogram"


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.create_connection(("127.0.0.1", port)):
        return True


@pytest.mark.nightly
def test_a_real_collector_passes_on_what_it_got(dsn: str) -> None:
    """Rotel takes what the daemon sends, and what it sends on is the same, name by name and value by value."""
    rotel = pytest.importorskip("rotel", reason="Rotel is not installed")
    http, grpc = free_port(), free_port()
    with collector() as behind:
        words = ["--exporter", "otlp", "--otlp-exporter-endpoint", behind.url, "--otlp-exporter-protocol", "http"]
        ports = ["--otlp-http-endpoint", f"127.0.0.1:{http}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"]
        agent = subprocess.Popen([Path(rotel.__file__).with_name("rotel-agent"), "start", *ports, *words])
        try:
            eventually(lambda: listens(http))
            given = LONG | {"otel__endpoint": f"http://127.0.0.1:{http}", "otel__metrics_every": "1h"}
            with Daemon(dsn, **given) as daemon:
                daemon.until(lambda: daemon.metric("analytics_leader") == 1)
                served = scraped(daemon.get("/metrics")[1])
                assert daemon.stop() == 0
                assert daemon.events("otel.export_failed") == []
            behind.wait_for("metrics", 1)
        finally:
            agent.terminate()
            agent.wait(60)
        samples = {key: value for export in behind.exports for key, value in export.samples.items()}
    assert set(served) <= set(samples)
    steady = [key for key in served if "threshold" in key[0] or "buckets" in key[0] or "_total" in key[0]]
    assert len(steady) > 100
    assert {key: samples[key] for key in steady if key[0][:8] != "process_"} == {
        key: served[key] for key in steady if key[0][:8] != "process_"
    }
