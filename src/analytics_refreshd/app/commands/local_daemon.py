"""Asks the daemon on this machine, where the database cannot be asked."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from analytics_refreshd.config import Config
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.observe.status.fetch import fetch_status, local_address


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """A daemon's status document, as JSON holds it.

    `address` is where it was had.
    """

    address: str
    document: dict[str, Any]

    @property
    def told_by(self) -> str:
        """Return who knows this, and since when."""
        replica, age = self.document["replica"], self.document["evaluated_seconds_ago"]
        read = "which has not read the database yet" if age is None else f"which read the database {age:.0f} s ago"
        return f"the daemon {replica} on {self.address}, {read}"

    def values(self) -> dict[str, Any]:
        """Return the document with its times as datetimes."""
        found: dict[str, Any] = _with_times(self.document)
        return found

    def runs(self) -> list[Run]:
        """Return the runs that the daemon remembers, newest first: the last 60 of each view.

        How a run was begun, its attempts and its lateness are not known here. An error is known of a view's last run
        and of its last failure.
        """
        views: dict[str, list[ViewResult]] = {}
        started: dict[str, str] = {}
        for view in self.document["views"]:
            for run in view["recent"]:
                started[run["run_id"]] = run["started_at"]
                views.setdefault(run["run_id"], []).append(_result(view, run))
        cells = {cell["run_id"]: cell for cell in self.document["slots"]["cells"] if "run_id" in cell}
        found = [_run(run_id, started[run_id], results, cells.get(run_id, {})) for run_id, results in views.items()]
        return sorted(found, key=lambda run: run.started_at, reverse=True)


def local_status(config: Config) -> LocalStatus | None:
    """Ask the daemon of this configuration. None where it does not answer, or is another database's."""
    document = fetch_status(config.http.host, config.http.port, config.name)
    return None if document is None else LocalStatus(local_address(config.http.host, config.http.port), document)


def _result(view: dict[str, Any], run: dict[str, Any]) -> ViewResult:
    last, failure = view["last_run"] or {}, view["last_error"] or {}
    told = last if last.get("run_id") == run["run_id"] else {}
    text = failure.get("text") if failure.get("run_id") == run["run_id"] else None
    return ViewResult(
        view["view"],
        run["success"],
        reason=_reason(told.get("reason")),
        sqlstate=told.get("sqlstate"),
        error=told.get("error") or text,
        rows=run["rows"],
        duration_seconds=run["duration_seconds"],
        reported_seconds=told.get("reported_seconds"),
    )


def _run(run_id: str, started_at: str, views: list[ViewResult], cell: dict[str, Any]) -> Run:
    good = sum(result.success for result in views)
    outcome = Outcome.OK if good == len(views) else Outcome.PARTIAL if good else Outcome.FAILED
    with suppress(ValueError):
        outcome = Outcome(str(cell.get("outcome")))
    return Run(
        UUID(run_id),
        Origin.SCHEDULE,
        datetime.fromisoformat(started_at),
        outcome=outcome,
        reason=_reason(cell.get("reason")),
        duration_seconds=cell.get("duration_seconds"),
        views=tuple(views),
    )


def _reason(word: str | None) -> Reason | None:
    with suppress(ValueError):
        return Reason(str(word))
    return None


def _with_times(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _with_times(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_times(item, name) for item in value]
    if isinstance(value, str) and (name.endswith(("_at", "_since")) or name in ("at", "since", "server_now")):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return value
