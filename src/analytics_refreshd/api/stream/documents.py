"""The documents that events of the stream carry: what they say, and what makes them new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from analytics_refreshd.api.answers import cost_of, moment, plain
from analytics_refreshd.api.freshness import Successes, Timing, any_stale, as_of
from analytics_refreshd.core.live import Hours, hours_plus, summarized
from analytics_refreshd.core.thresholds import Threshold
from analytics_refreshd.postgres.tenants.live import LastCost

_PERCENTILES = ("p95_duration_ms", "p99_duration_ms")


@dataclass(frozen=True, slots=True)
class Base:
    """The summary of an audience as it was read, whole.

    `row` has the fields of `health/summary`, read from `views` with their last `successes`, and with `rows` from rows.
    `settled` has the exact sums by hour without the changes that wait for a fold; None where no changes are captured.
    Together with all that waits it is true as long as `marker` stays: nothing was folded since. `approximate` are the
    fields that are not exact, `limits` those of its health.
    """

    marker: str | None
    since: datetime
    until: datetime
    views: tuple[str, ...]
    rows: bool
    successes: Successes
    read_at: datetime
    row: Mapping[str, object]
    settled: Hours | None
    approximate: tuple[str, ...]
    limits: Threshold = field(default_factory=Threshold)

    def holds(self, marker: str | None, since: datetime, successes: Successes) -> bool:
        """Whether a new reading would give the same, changes that wait apart."""
        same = all(self.successes.get(view) == successes.get(view) for view in self.views)
        return self.marker == marker and self.since == since and same


def summary_document(
    base: Base, waiting: Hours | None, timing: Timing, now: datetime, frozen_until: datetime | None
) -> dict[str, object]:
    """Return the summary with the changes that wait.

    With None of them it is as it was read.
    """
    figures = dict(base.row)
    # a tenant's figures are those of its rows, at the moment of reading
    read = base.read_at if base.rows else as_of(base.views, base.successes, rows=False, now=base.read_at)
    live = base.settled is not None and waiting is not None
    if base.settled is not None and waiting is not None:
        figures |= summarized(hours_plus(base.settled, waiting), base.limits)
    return {
        "data": {name: plain(value) for name, value in figures.items()},
        "meta": {
            "as_of": moment(now if live else read),
            "percentiles_as_of": moment(read),
            "generated_at": moment(now),
            "live": live,
            "stale": any_stale(base.views, base.successes, timing, now),
            "window": {"since": moment(base.since), "until": moment(base.until)},
            "approximate": [name for name in base.approximate if not live or name in _PERCENTILES],
            "frozen_until": moment(frozen_until),
        },
    }


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run of the refresh. Only its beginning is known to tenants."""

    run_id: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    reason: str | None
    duration_seconds: float | None


def refresh_document(
    successes: Successes,
    runs: Sequence[RunRow],
    timing: Timing,
    now: datetime,
    frozen_until: datetime | None,
    *,
    whole: bool,
    cost: LastCost | None = None,
) -> dict[str, object]:
    """Return how fresh the views are, and whether a refresh runs.

    With `whole`, for platform administrators, the runs too, and what the last one cost."""
    views = [
        {"view_name": view, "last_refresh": moment(successes.get(view)), "stale": timing.stale(view, successes, now)}
        for view in timing.views
    ]
    running = next((run for run in runs if run.finished_at is None), None)
    data: dict[str, object] = {
        "views": views,
        "all_views_fresh": not any(view["stale"] for view in views),
        "refreshing_since": moment(running.started_at) if running else None,
    }
    if whole:
        last = next((run for run in runs if run.finished_at is not None), None)
        data |= {"run": _run(running), "last_run": _run(last), "last_cost": cost_of(cost)}
    return {"data": data, "meta": {"generated_at": moment(now), "frozen_until": moment(frozen_until)}}


def _run(run: RunRow | None) -> dict[str, object] | None:
    if run is None:
        return None
    return {
        "run_id": run.run_id,
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at),
        "outcome": run.outcome,
        "reason": run.reason,
        "duration_seconds": run.duration_seconds,
    }


@dataclass(frozen=True, slots=True)
class AlertRow:
    """A firing alert. `view_name` None: it is of the whole database."""

    alert: str
    view_name: str | None
    severity: str
    fired_at: datetime
    summary: str


def alerts_document(alerts: Sequence[AlertRow], now: datetime) -> dict[str, object]:
    """Return the alerts that fire."""
    data = [
        {
            "alert": each.alert,
            "view_name": each.view_name,
            "severity": each.severity,
            "fired_at": moment(each.fired_at),
            "summary": each.summary,
        }
        for each in alerts
    ]
    return {"data": data, "meta": {"generated_at": moment(now)}}


def news(document: Mapping[str, object]) -> object:
    """Return what of a document makes it another than the one before: all but the moment that it was made."""
    meta = document["meta"]
    assert isinstance(meta, dict)  # noqa: S101 - every document of this module has one
    live = bool(meta.get("live"))
    left = {"generated_at", "as_of"} if live else {"generated_at"}
    return document["data"], {name: value for name, value in meta.items() if name not in left}
