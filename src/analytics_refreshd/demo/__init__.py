"""Run an embedded PostgreSQL with a realistic action log, and the daemon on it."""

from analytics_refreshd.core.errors import RefreshdError

DEFAULT_ROWS = 100_000


class DemoError(RefreshdError):
    """Report why the demo cannot continue, and what to do, in one sentence."""
