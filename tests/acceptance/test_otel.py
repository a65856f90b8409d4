"""The daemon with a collector: what it sends by OpenTelemetry is what it serves."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.collector import collector, scraped
from tests.support.daemon import Daemon, Settings

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
