"""Configure the two daemons to notice everything within seconds."""

from psycopg import conninfo

from analytics_refreshd.demo.chaos.signs import SLOW_SECONDS
from analytics_refreshd.demo.ports import HOST

ROLE = "analytics_refreshd"
REPLICAS = ("one", "two")
INTERVAL_SECONDS = 5


def settings(dsn: str, replica: str, port: int, receiver_url: str) -> dict[str, dict[str, object]]:
    """Return the sections of a daemon's configuration.

    The alerts come with the first run that shows them. Those on the application's own actions are off, since nobody
    breaks these.
    """
    return {
        "service": {"name": "demo", "replica": replica},
        "database": {"url": conninfo.make_conninfo(dsn, user=ROLE)},
        "schedule": {"interval": f"{INTERVAL_SECONDS}s"},
        # for what makes refreshes slow by waiting
        "refresh": {"lock_timeout": "3s"},
        "staleness": {"max_age": "20s"},
        "alerts": {
            "evaluate_every": "1s",
            "slow_after": f"{SLOW_SECONDS:g}s",
            "slow_after_runs": 1,
            "failed_after_runs": 1,
            "resolve_after_runs": 1,
            "database_unavailable_for": "2s",
            "min_executions": 1_000_000_000,
        },
        "http": {"host": HOST, "port": port},
        "receivers.on-call": {"type": "webhook", "url": receiver_url},
    }
