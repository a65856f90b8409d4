"""What `check` looks at."""

from collections.abc import Sequence

from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings
from analytics_refreshd.core.staleness import max_age_seconds
from analytics_refreshd.postgres.check.findings import Finding, ok, warning
from analytics_refreshd.postgres.check.run import CheckSettings, run_checks
from analytics_refreshd.postgres.connection.connector import Connector

__all__ = ["Finding"]


def check(config: Config, warnings: Sequence[str]) -> list[Finding]:
    """Return everything found, in reading order. Changes nothing.

    `warnings` are the configuration's own, one sentence each.
    """
    findings = [warning("configuration", text) for text in warnings] or [ok("configuration", "every key is valid")]
    limits = config.limits()
    settings = CheckSettings(
        function=config.refresh.function,
        status_function=config.refresh.status_function,
        views=tuple(config.refresh.views),
        isolation=config.refresh.isolation,
        parallel=config.refresh.parallel,
        max_age_seconds=max(max_age_seconds(limits, view) for view in config.refresh.views) + limits.interval_seconds,
    )
    return findings + run_checks(Connector(connection_settings(config)), settings, SystemClock().now)
