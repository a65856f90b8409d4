"""Metrics over OpenTelemetry: the same as a scrape, whatever the collector does."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource
from prometheus_client import generate_latest

from analytics_refreshd import __version__
from analytics_refreshd.api.metrics import ApiMetrics
from analytics_refreshd.app.telemetry import telemetry
from analytics_refreshd.config import load
from analytics_refreshd.config.adapters import otel_settings
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.metrics import METRICS
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.otel_metrics import OTEL_EXPORT_FAILURES
from analytics_refreshd.core.telemetry import NoTelemetry
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.otel.export import OtelExport
from analytics_refreshd.observe.otel.families import metrics_data
from analytics_refreshd.observe.otel.metrics import SCOPE
from analytics_refreshd.observe.otel.settings import OtelSettings
from tests.support.collector import Key, collector, decoded_metrics, scraped
from tests.support.fakes import FakeHealth, RecordingLog
from tests.support.receivers import Answer, raw_server
from tests.support.states import NOW, healthy, run_at
from tests.support.waiting import eventually


def make() -> PrometheusMetrics:
    metrics = PrometheusMetrics("orders", "0.1.0", VIEWS, receivers=("ops",), endpoints=("actions/hourly",))
    metrics.watch(FakeHealth(healthy()))
    metrics.run_finished(run_at(0, NOW))
    metrics.cycle_finished(0.3)
    metrics.probed("actions/hourly", 0.004)
    return metrics


class Exporting:
    """An export to a collector, and what it counted and logged."""

    def __init__(self, settings: OtelSettings) -> None:
        self.metrics = make()
        self.log = RecordingLog()
        self.export = OtelExport(
            settings,
            collect=self.metrics.registry.collect,
            log=self.log,
            count_failure=lambda signal: self.metrics.count(OTEL_EXPORT_FAILURES, signal=signal),
        )

    @property
    def failures(self) -> float:
        """Failed exports of metrics, as a scrape tells."""
        text = generate_latest(self.metrics.registry).decode()
        return scraped(text)[OTEL_EXPORT_FAILURES.name, frozenset({"database": "orders", "signal": "metrics"}.items())]


@contextmanager
def exporting(settings: OtelSettings) -> Iterator[Exporting]:
    made = Exporting(settings)
    made.export.start()
    try:
        yield made
    finally:
        made.export.stop(30)


def quickly(url: str) -> OtelSettings:
    return OtelSettings(url, metrics_every_seconds=0.05, timeout_seconds=60)


def seldom(url: str) -> OtelSettings:
    return OtelSettings(url, metrics_every_seconds=3600, timeout_seconds=60)


def both_ways(metrics: PrometheusMetrics | ApiMetrics) -> tuple[dict[Key, float], dict[Key, float]]:
    """The samples of a scrape and of an export, without those of the process itself, which change meanwhile."""
    text = generate_latest(metrics.registry).decode()
    data = metrics_data(metrics.registry.collect(), Resource({}), SCOPE, started_ns=1, now_ns=2)
    export = decoded_metrics(encode_metrics(data).SerializeToString())
    scrape = scraped(text)
    assert set(export.samples) == set(scrape)
    assert {name for name, _ in scrape} > {"process_open_fds", "python_info"}
    kept = [
        {key: value for key, value in each.items() if key[0][:8] != "process_"} for each in (scrape, export.samples)
    ]
    return dict(kept[0]), dict(kept[1])


def test_an_export_is_a_scrape_name_by_name_and_value_by_value() -> None:
    """Who moves from Prometheus to a collector finds every series again, to the last digit."""
    scrape, export = both_ways(make())
    assert export == scrape
    assert len(scrape) > 200


def test_so_is_the_apis() -> None:
    """The API's process has a registry of its own."""
    metrics = ApiMetrics(
        "orders",
        "0.1.0",
        ["actions/summary"],
        streams=lambda: 2,
        connections=lambda: 3,
        log_lines_lost=lambda: 0,
        cache_bytes=lambda: 5,
    )
    metrics.answered("actions/summary", 200, 0.25)
    metrics.export_failed("metrics")
    scrape, export = both_ways(metrics)
    assert export == scrape
    assert (
        scrape[
            "analytics_otel_export_failures_total",
            frozenset({"database": "orders", "process": "api", "signal": "metrics"}.items()),
        ]
        == 1
    )


def test_kinds_and_units_are_those_of_the_catalogue() -> None:
    """A counter is a cumulative sum, and a unit is named as OpenTelemetry does."""
    data = metrics_data(make().registry.collect(), Resource({}), SCOPE, started_ns=1, now_ns=2)
    found = {each.name: each for each in data.resource_metrics[0].scope_metrics[0].metrics}
    kinds = {"counter": "Sum", "gauge": "Gauge", "histogram": "Histogram"}
    for metric in METRICS:
        if metric.name in found:
            assert type(found[metric.name].data).__name__ == kinds[metric.kind], metric.name
            assert found[metric.name].description == metric.help
    assert found["analytics_cycle_duration_seconds"].unit == "s"
    assert found["process_cpu_seconds_total"].unit == "s"
    assert found["analytics_view_size_bytes"].unit == "By"
    assert found["analytics_success_rate_percent"].unit == "%"
    assert found["analytics_view_rows"].unit == ""


def test_a_stop_sends_what_is_left() -> None:
    """The last run before a stop is in the last export, with the resource that says whose it is."""
    with collector() as collecting:
        with exporting(replace(seldom(collecting.url), attributes={"service.name": "analytics-refreshd"})) as made:
            made.metrics.cycle_finished(0.3)
        (export,) = collecting.exports
    assert export.resource["service.name"] == "analytics-refreshd"
    assert export.resource["telemetry.sdk.language"] == "python"
    assert export.samples["analytics_cycle_duration_seconds_count", frozenset({"database": "orders"}.items())] == 2
    assert made.failures == 0
    assert made.log.lines == []


@pytest.mark.slow
def test_headers_are_read_again_for_each_export(tmp_path: Path) -> None:
    """A rotated token needs no restart; one that cannot be read is a failed export, and its text is in no log."""
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer CANARY-one\n\nX-Scope-OrgID: platform\n")
    with collector() as collecting:
        with exporting(replace(quickly(collecting.url), headers_file=file)) as made:
            collecting.wait_for("metrics", 1)
            assert collecting.got("metrics")[0].headers["Authorization"] == "Bearer CANARY-one"
            assert collecting.got("metrics")[0].headers["X-Scope-OrgID"] == "platform"
            file.write_text("Authorization: Bearer CANARY-two\n")
            eventually(lambda: collecting.got("metrics")[-1].headers["Authorization"] == "Bearer CANARY-two")
            file.write_text("CANARY-three\n")
            eventually(lambda: made.failures >= 1)
            file.unlink()
            eventually(lambda: made.failures >= 3)
    (line,) = made.log.of(Event.OTEL_EXPORT_FAILED)
    assert line["error"] == "line 1 of otel.headers_file is no header: write Name: value"
    assert "CANARY" not in str(made.log.lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "it answered 400 Bad Request"),
        (401, "it answered 401 Unauthorized"),
        (503, "it answered 503 Service Unavailable"),
    ],
)
def test_a_collector_that_rejects_is_counted_and_logged_once(status: int, words: str) -> None:
    """Nor does it end the exports: once it takes one again, that is said too."""
    # asked to wait longer than an export may take, it gives up at once
    refusal = Answer(status, {"Retry-After": "3600"})
    with collector(refusal) as collecting, exporting(quickly(collecting.url)) as made:
        eventually(lambda: made.failures >= 3)
        (line,) = made.log.of(Event.OTEL_EXPORT_FAILED)
        host = collecting.url.removeprefix("http://")
        assert line == {"level": "warning", "signal": "metrics", "host": host, "error": words}
        assert made.log.of(Event.OTEL_EXPORT_RESTORED) == []
        collecting.answer(200)
        (restored,) = eventually(lambda: made.log.of(Event.OTEL_EXPORT_RESTORED))
        assert restored["failures"] == made.failures
    assert len(made.log.lines) == 2


@pytest.mark.slow
def test_a_collector_that_is_away_is_counted_and_logged_once() -> None:
    """The reason is the innermost one, in a word."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with exporting(replace(quickly(f"http://127.0.0.1:{port}"), timeout_seconds=2)) as made:
        eventually(lambda: made.failures >= 1)
    (line,) = made.log.lines
    assert line[1]["error"] == "Connection refused"


def test_a_collector_that_never_answers_delays_neither_work_nor_a_stop() -> None:
    """What counts and what stops is never the thread that waits for it."""
    asked = threading.Event()

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(1)
        asked.set()
        over.wait(60)

    with raw_server(talk) as (url, _):
        made = Exporting(quickly(url.removesuffix("/hook")))
        made.export.start()
        assert asked.wait(60)
        began = time.monotonic()
        made.metrics.run_finished(run_at(1, NOW))
        generate_latest(made.metrics.registry)
        made.export.stop(0.2)
        assert time.monotonic() - began < 30  # the export itself would wait for 60 s


def test_metrics_can_be_left_out() -> None:
    """Who scrapes needs them once."""
    with collector() as collecting:
        with exporting(replace(quickly(collecting.url), metrics=False)):
            pass
        assert collecting.got("metrics") == []


def test_a_defect_while_collecting_ends_no_thread() -> None:
    """It is a failed export, and the next one may succeed."""

    def broken() -> Iterator[object]:
        raise ValueError("no such family")

    failures: list[str] = []
    log = RecordingLog()
    with collector() as collecting:
        export = OtelExport(quickly(collecting.url), collect=broken, log=log, count_failure=failures.append)  # type: ignore[arg-type]
        export.start()
        eventually(lambda: len(failures) >= 2)
        export.stop(30)
    assert log.of(Event.OTEL_EXPORT_FAILED)[0]["error"] == "ValueError: no such family"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that cannot be served is no reason to run without it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    monkeypatch.delitem(sys.modules, "analytics_refreshd.observe.otel.export")
    config = load({"database": {"dbname": "app"}, "otel": {"endpoint": "http://127.0.0.1:1"}})
    with pytest.raises(ConfigError) as caught:
        telemetry(config, "analytics-refreshd", collect=list, log=RecordingLog(), count_failure=print)
    (problem,) = caught.value.problems
    assert problem.startswith("otel.endpoint needs the extra otel, and opentelemetry")
    assert problem.endswith("is missing: pip install 'analytics-refreshd[otel]'")


def test_without_an_endpoint_nothing_is_sent() -> None:
    """Off by default; what is there then does nothing."""
    config = load({"database": {"dbname": "app"}})
    made = telemetry(config, "analytics-refreshd", collect=list, log=RecordingLog(), count_failure=print)
    assert isinstance(made, NoTelemetry)
    made.start()
    made.stop(1)


def test_what_cannot_be_used_is_refused_by_name() -> None:
    """Before anything is sent, and without the address."""
    with pytest.raises(ConfigError) as caught:
        load(
            {
                "database": {"dbname": "app"},
                "otel": {
                    "endpoint": "http://u:CANARY@otel.example.net",
                    "headers_file": "/missing",
                    "ca_file": "/missing",
                },
            }
        )
    assert list(caught.value.problems) == [
        "otel.endpoint must hold no user and no password: they would be logged",
        "otel.headers_file cannot be read: No such file or directory",
        "otel.ca_file cannot be read: No such file or directory",
    ]


def test_the_resource_is_named_by_convention() -> None:
    """The configuration's own attributes come before ours."""
    config = load(
        {
            "service": {"name": "orders", "replica": "one"},
            "database": {"dbname": "app"},
            "otel": {"endpoint": "http://otel.example.net/in/", "attributes": {"service.namespace": "shop"}},
        }
    )
    settings = otel_settings(config, "analytics-refreshd")
    assert settings is not None
    assert settings.attributes == {
        "service.name": "analytics-refreshd",
        "service.namespace": "shop",
        "service.version": __version__,
        "service.instance.id": "one",
        "db.system.name": "postgresql",
        "db.namespace": "app",
    }
    assert settings.address("metrics") == "http://otel.example.net/in/v1/metrics"
    assert settings.host == "otel.example.net"
