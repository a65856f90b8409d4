"""What `check` looks at."""

from collections.abc import Iterator, Sequence

from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.app.commands.local_daemon import local_status
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings
from analytics_refreshd.core.staleness import interval_seconds, max_age_seconds
from analytics_refreshd.postgres.check.findings import Finding, ok, warning
from analytics_refreshd.postgres.check.indexes import IndexReport, measure_index
from analytics_refreshd.postgres.check.queries import QueryReport, slow_queries
from analytics_refreshd.postgres.check.run import CheckSettings, run_checks
from analytics_refreshd.postgres.connection.connector import Connector

__all__ = ["Finding", "IndexReport", "QueryReport"]


def check(config: Config, warnings: Sequence[str]) -> list[Finding]:
    """Return everything found, in reading order. Changes nothing.

    `warnings` are the configuration's own, one sentence each.
    """
    findings = [warning("configuration", text) for text in warnings] or [ok("configuration", "every key is valid")]
    findings += _of_retention(config)
    limits = config.limits()
    settings = CheckSettings(
        function=config.refresh.function,
        status_function=config.refresh.status_function,
        views=tuple(config.refresh.views),
        isolation=config.refresh.isolation,
        parallel=config.refresh.parallel,
        max_age_seconds=max(
            max_age_seconds(limits, view) + interval_seconds(limits, view) for view in config.refresh.views
        ),
        limits=limits,
    )
    findings += run_checks(Connector(connection_settings(config)), settings, SystemClock().now)
    if any(finding.name == "connection" and finding.level == "error" for finding in findings):
        findings += _of_daemon(config)
    return findings


def indexes(config: Config) -> IndexReport:
    """Measure what a covering index would gain; creates none. Raises DatabaseFault."""
    return measure_index(Connector(connection_settings(config)))


def queries(config: Config) -> QueryReport:
    """Read the slowest statements on the log and its views. Raises DatabaseFault."""
    return slow_queries(Connector(connection_settings(config)))


def _of_retention(config: Config) -> Iterator[Finding]:
    """Warn where the figures of deleted rows are to go with them, for nothing brings them back."""
    retention = config.retention
    if retention.keep == "nothing" and retention.rows is not None:
        frozen = ', and horizon = "auto" freezes none' if retention.horizon == "auto" else ""
        yield warning(
            "retention",
            f'[retention] keep = "nothing": figures of deleted rows go with them, for ever{frozen}',
            'keep = "rollups" keeps them, in incremental mode with horizon = "auto" (deploy/guides/retention.md)',
        )


def _of_daemon(config: Config) -> Iterator[Finding]:
    """Yield what the daemon on this machine knows, where the database itself cannot be asked."""
    local = local_status(config)
    if local is None:
        return
    yield ok("daemon", f"from {local.told_by}, since the database cannot be asked")
    for notice in local.document["notices"]:
        yield (ok if notice["level"] == "info" else warning)("daemon", notice["text"])
    for view in local.document["views"]:
        last = view["last_run"]
        if last is not None and not last["success"]:
            why = " ".join(filter(None, (last["sqlstate"], last["error"])))
            yield warning("daemon", f"the last refresh of {view['view']} failed: {why or 'no text'}")
