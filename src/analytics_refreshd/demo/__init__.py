"""Run the daemon on an embedded PostgreSQL with a realistic action log."""

from analytics_refreshd.core.errors import RefreshdError

DEFAULT_ROWS = 100_000


class DemoError(RefreshdError):
    """Say in one sentence why the demo cannot continue."""
