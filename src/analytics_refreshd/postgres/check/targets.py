"""Which views' intervals cannot hold, by the refreshes in history."""

from collections.abc import Iterator, Mapping, Sequence

from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.snapshot import ViewRun
from analytics_refreshd.core.staleness import interval_seconds
from analytics_refreshd.core.targets import refresh_time, unmet_target
from analytics_refreshd.core.wording import seconds_in_words
from analytics_refreshd.postgres.check.findings import Finding, ok, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.trust import trusting
from analytics_refreshd.postgres.state.history import PostgresHistory

_RUNS = 50
"""Of each view. Those that failed for another reason than a timeout do not count."""
_FOR_TARGET = "read deploy/runbooks/AnalyticsTargetUnmeetable.md"


def last_results(
    connection: BoundedConnection, connector: Connector, views: Sequence[str]
) -> Mapping[str, Sequence[ViewRun]]:
    """Read the last results of each view, newest first. Nothing where history may not be read."""
    schema = {"app_schema": connector.settings.app_schema}
    readable = {row[0] for row in connection.execute(trusting("state/status.sql"), schema)}
    if not {"runs", "view_results"} <= readable:
        return {}
    session = Session(connector)
    try:
        history = PostgresHistory(session)
        return {
            view: [(run, result) for run in history.recent(_RUNS, view=view) for result in run.views] for view in views
        }
    finally:
        session.close()


def target_findings(results: Mapping[str, Sequence[ViewRun]], isolation: str, limits: Limits) -> Iterator[Finding]:
    """Yield a warning for each view whose interval cannot hold.

    Nothing where no view was refreshed five times. `results` are those of each view's last runs.
    """
    known = {view: refresh_time(found, isolation) for view, found in results.items()}
    times = {view: time for view, time in known.items() if time is not None}
    unmet = [found for view in times if (found := unmet_target(view, times, limits)) is not None]
    for found in unmet:
        yield warning("schedule", f"{found.text}; {found.advice}", _FOR_TARGET)
    if times and not unmet:
        view = max(times, key=lambda name: times[name].seconds / interval_seconds(limits, name))
        took, interval = seconds_in_words(times[view].seconds), seconds_in_words(interval_seconds(limits, view))
        yield ok("schedule", f"each view is refreshed within its interval: {view} in {took} of {interval}")
