"""A dead-man service's address: pinged at each cycle's start, success and failure, so that silence is noticed.

The convention is that of healthchecks.io and its like: success at the address itself, the rest at /start and /fail.
"""

import json

from analytics_refreshd import __version__
from analytics_refreshd.core.model import Outcome, Run
from analytics_refreshd.notify.exchange import Request, address
from analytics_refreshd.notify.messages import Message, Ping
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings
from analytics_refreshd.notify.webhook import bearer

_NO_FAILURE = frozenset({Outcome.SKIPPED, Outcome.CANCELLED, Outcome.UNKNOWN})


class HeartbeatChannel:
    """Speaks to one dead-man service."""

    def __init__(self, receiver: ReceiverSettings, settings: DeliverySettings) -> None:
        self._receiver = receiver
        self.settings = settings

    def request(self, message: Message, url: str) -> Request:
        """One ping, with what happened in its body."""
        ping = message.ping or Ping("success", None)
        parsed = address(url)
        if ping.phase != "success":
            parsed = parsed._replace(path=f"{(parsed.path or '').rstrip('/')}/{ping.phase}")
        run = ping.run
        facts = {
            "database": self.settings.database,
            "replica": self.settings.replica or None,
            "phase": ping.phase,
            "run_id": str(run.run_id) if run else None,
            "outcome": run.outcome.value if run and run.outcome else None,
            "reason": run.reason.value if run and run.reason else None,
            "duration_seconds": round(run.duration_seconds, 3) if run and run.duration_seconds is not None else None,
        }
        body = json.dumps({name: value for name, value in facts.items() if value is not None}).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"analytics-refreshd/{__version__}",
            **bearer(self._receiver),
        }
        return Request(parsed.url, body, headers)


def worth_a_ping(phase: str, run: Run | None) -> bool:
    """Whether a phase is told: a run that was skipped, cancelled or whose end is unknown has not failed."""
    return phase != "fail" or run is None or run.outcome not in _NO_FAILURE
