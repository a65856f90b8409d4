"""The demo: an embedded PostgreSQL, a realistic action log in it, and the daemon on top."""

from analytics_refreshd.core.errors import RefreshdError

DEFAULT_ROWS = 100_000


class DemoError(RefreshdError):
    """The demo cannot go on; the text is one sentence that says why and what to do."""
