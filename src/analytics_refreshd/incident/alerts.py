"""Follow the daemon's alerts through a log, with their deliveries."""

from collections.abc import Callable
from datetime import datetime

from analytics_refreshd.core.alerts.lifecycle import Alert
from analytics_refreshd.incident.fields import Fields, count_of, moment_of, text_of
from analytics_refreshd.incident.model import LIMIT, AlertSeen, DeliveryFailed, DeliverySeen

_EPISODES = 500
_OF_THE_APPLICATION = frozenset(
    alert.value for alert in (Alert.LOW_SUCCESS_RATE, Alert.HIGH_LATENCY, Alert.UNUSUAL, Alert.TRIGGER_FAILING)
)
"""Alerts about the application's own figures. They neither cause nor belong to an incident of the refreshes."""


class AlertEpisodes:
    """Keep the latest episode of every alert, from firing to resolved.

    `attach` adds a new one to the current incident. It returns False if there is none.
    """

    def __init__(self, attach: Callable[[AlertSeen], bool]) -> None:
        self._attach = attach
        self._latest: dict[tuple[str, str | None], AlertSeen] = {}
        self.outside: list[AlertSeen] = []
        self.outside_beyond = 0
        self.delivers = False

    def take_firing(self) -> list[AlertSeen]:
        """Return what fires now, for an incident that begins."""
        firing = [
            alert
            for alert in self._latest.values()
            if alert.resolved_at is None and alert.alert not in _OF_THE_APPLICATION
        ]
        self.outside = [item for item in self.outside if all(item is not alert for alert in firing)]
        return firing

    def _episode(self, fields: Fields, *, new_episode: bool) -> AlertSeen | None:
        """Return the alert's episode, and begin one if none is known."""
        name, view = text_of(fields, "alert"), text_of(fields, "view")
        if name is None:
            return None
        known = self._latest.get((name, view))
        if known is not None and not (new_episode and known.resolved_at is not None):
            return known
        if known is None and len(self._latest) >= _EPISODES:
            return None
        made = self._latest[name, view] = AlertSeen(name, view, text_of(fields, "severity"), None, None)
        if name in _OF_THE_APPLICATION or not self._attach(made):
            if len(self.outside) < LIMIT:
                self.outside.append(made)
            else:
                self.outside_beyond += 1
        return made

    def firing(self, at: datetime, fields: Fields) -> None:
        """Handle `alert.firing`."""
        alert = self._episode(fields, new_episode=True)
        if alert is not None:
            alert.fired_at = alert.fired_at or at
            alert.active_at = alert.active_at or moment_of(fields, "active_at")
            alert.severity = text_of(fields, "severity") or alert.severity
            alert.summary = alert.summary or text_of(fields, "summary")

    def escalated(self, fields: Fields) -> None:
        """Handle `alert.escalated`."""
        alert = self._episode(fields, new_episode=False)
        if alert is not None:
            alert.severity = text_of(fields, "severity") or alert.severity
            alert.active_at = alert.active_at or moment_of(fields, "active_at")
            alert.fired_at = alert.fired_at or moment_of(fields, "fired_at")
            alert.summary = alert.summary or text_of(fields, "summary")

    def resolved(self, at: datetime, fields: Fields) -> None:
        """Handle `alert.resolved`, which also says when the alert fired."""
        alert = self._episode(fields, new_episode=False)
        if alert is not None:
            alert.resolved_at = alert.resolved_at or at
            alert.fired_at = alert.fired_at or moment_of(fields, "fired_at")
            alert.active_at = alert.active_at or moment_of(fields, "active_at")
            alert.summary = alert.summary or text_of(fields, "summary")

    def delivered(self, at: datetime, fields: Fields) -> None:
        """Handle `alert.delivered`."""
        self.delivers = True
        alert = self._episode(fields, new_episode=False)
        if alert is not None and len(alert.deliveries) < LIMIT:
            receiver, host, status = (text_of(fields, name) for name in ("receiver", "host", "status"))
            alert.deliveries.append(DeliverySeen(receiver, host, status, at, count_of(fields, "tries")))

    def delivery_failed(self, at: datetime, fields: Fields) -> bool:
        """Handle `alert.delivery_failed`. Returns False for a heartbeat, which has no alert."""
        alert = self._episode(fields, new_episode=False)
        if alert is None:
            return False
        self.delivers = True
        receiver, failures = text_of(fields, "receiver"), count_of(fields, "failures")
        for known in alert.failed_deliveries:
            if known.receiver == receiver:
                known.failures = failures if failures is not None else known.failures
                return True
        if len(alert.failed_deliveries) < LIMIT:
            failed = DeliveryFailed(receiver, text_of(fields, "host"), at, text_of(fields, "error"), failures)
            alert.failed_deliveries.append(failed)
        return True
