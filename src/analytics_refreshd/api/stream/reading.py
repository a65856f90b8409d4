"""Reads what the stream tells: one question for each organization, for all of its listeners."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from analytics_refreshd.api.answers import as_object
from analytics_refreshd.api.freshness import Successes
from analytics_refreshd.api.pool import PooledConnection, ReadPool
from analytics_refreshd.api.routes import SCHEMA, Route
from analytics_refreshd.api.stream.documents import AlertRow, Base, RunRow
from analytics_refreshd.core.live import Hours, hours_plus
from analytics_refreshd.core.stream import Audience
from analytics_refreshd.postgres.catalogue.page import Page, read_page
from analytics_refreshd.postgres.catalogue.run import BoundQuery, bind, read_only
from analytics_refreshd.postgres.catalogue.settings import DEFAULTS, QuerySettings
from analytics_refreshd.postgres.tenants import live
from analytics_refreshd.postgres.tenants.freshness import last_successes
from analytics_refreshd.postgres.tenants.horizon import frozen_horizon
from analytics_refreshd.postgres.tenants.live import LastCost
from analytics_refreshd.postgres.tenants.wall import Wall

_Value = TypeVar("_Value")
_NOBODY: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What all listeners share.

    `runs` and the last one's `cost` are for platform administrators, `running` for tenants. None of them or of
    `alerts`: nobody listens to it. Figures before `frozen_until` are frozen; None: none are.
    """

    marker: str | None
    successes: Successes
    runs: Sequence[RunRow] | None
    running: Sequence[RunRow] | None
    alerts: Sequence[AlertRow] | None
    frozen_until: datetime | None = None
    cost: LastCost | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who listens to what: to summaries, to the state of refreshes as tenant or administrator, and to alerts."""

    summaries: tuple[Audience, ...] = ()
    runs: bool = False
    running: bool = False
    alerts: bool = False


class LiveReader:
    """Reads on connections of the pool, each lent for one transaction."""

    def __init__(
        self,
        pool: ReadPool,
        summary: Route,
        views: Sequence[str],
        wall: Wall,
        seconds: float,
        settings: QuerySettings = DEFAULTS,
    ) -> None:
        self._pool = pool
        self._summary = summary
        self._views = list(views)
        self._wall = wall
        self._seconds = seconds
        self._settings = settings
        self._fields = summary.endpoint.fields
        self._columns = [field.column for field in self._fields]
        self._approximate = tuple(field.name for field in summary.endpoint.fields if field.column.approximated)

    def state(self, wanted: Wanted, now: datetime) -> State:
        """Read what all share, at one moment. Raises DatabaseFault."""

        def work(connection: PooledConnection) -> State:
            successes = last_successes(connection, self._views) if connection.records else {}
            told = live.streams(connection)
            horizon = frozen_horizon(connection) if connection.knows_horizon else None

            def runs(audience: Audience) -> list[RunRow]:
                self._wall.admit(connection, audience)
                return [_run(row) for row in live.last_runs(connection)] if told else []

            def cost() -> LastCost | None:
                self._wall.admit(connection, None)
                return live.last_cost(connection)

            def alerts() -> list[AlertRow]:
                self._wall.admit(connection, None)
                return [_alert(row) for row in live.firing_alerts(connection)] if told else []

            return State(
                live.fold_marker(connection),
                successes,
                runs(None) if wanted.runs else None,
                runs(_NOBODY) if wanted.running else None,
                alerts() if wanted.alerts else None,
                None if horizon is None else horizon.until,
                cost() if wanted.runs else None,
            )

        return self._read(self._bound(_NOBODY, now), work)

    def base(self, audience: Audience, now: datetime) -> tuple[Base, Hours | None]:
        """Read a summary whole, and what waits, at one moment. Raises DatabaseFault."""
        bound = self._bound(audience, now)
        since, until = window_of(bound)

        def work(connection: PooledConnection) -> tuple[Base, Hours | None]:
            successes = last_successes(connection, self._views) if connection.records else {}
            marker = live.fold_marker(connection)
            self._wall.admit(connection, audience)
            row = read_page(connection, bound, Page(1), self._columns).rows[0]
            waiting = settled = None
            if marker is not None:
                waiting = live.waiting_hours(connection, since, until)
                settled = live.whole_hours(connection, audience, since, until)
                if audience is not None:
                    settled = hours_plus(settled, waiting, -1)
            sources = bound.sources
            return (
                Base(
                    marker,
                    since,
                    until,
                    sources.views,
                    sources.rows,
                    successes,
                    now,
                    as_object(self._fields, row),
                    settled,
                    self._approximate,
                    self._settings.thresholds.of(audience),
                ),
                waiting,
            )

        return self._read(bound, work)

    def waiting(self, audiences: Sequence[Audience], marker: str, now: datetime) -> Mapping[Audience, Hours] | None:
        """Read the changes that wait for each audience, at one moment. Raises DatabaseFault.

        None: something was folded since `marker`.
        """
        bound = self._bound(_NOBODY, now)
        since, until = window_of(bound)

        def work(connection: PooledConnection) -> Mapping[Audience, Hours] | None:
            if live.fold_marker(connection) != marker:
                return None
            tokens = self._wall.tokens(connection, audiences)
            return dict(zip(audiences, live.waiting_hours_of(connection, tokens, since, until), strict=True))

        return self._read(bound, work)

    def since(self, now: datetime) -> datetime:
        """Return where the summary's window begins at `now`."""
        return window_of(self._bound(_NOBODY, now))[0]

    def _bound(self, audience: Audience, now: datetime) -> BoundQuery:
        return bind(self._summary.query, {}, audience, now, SCHEMA, settings=self._settings)

    def _read(self, bound: BoundQuery, work: Callable[[PooledConnection], _Value]) -> _Value:
        milliseconds = int(self._seconds * 1000)

        def within(connection: PooledConnection) -> _Value:
            with read_only(connection, bound, milliseconds, snapshot=True):
                return work(connection)

        # several statements, each of which may take its time
        return self._pool.read(within, 2 * self._seconds)


def window_of(bound: BoundQuery) -> tuple[datetime, datetime]:
    """Return the stretch of time that a bound query reads."""
    since, until = bound.values["since"], bound.values["until"]
    assert isinstance(since, datetime)  # noqa: S101 - the summary has a window
    assert isinstance(until, datetime)  # noqa: S101
    return since, until


def _run(row: Sequence[object]) -> RunRow:
    run_id, started_at, finished_at, outcome, reason, seconds = row
    assert isinstance(started_at, datetime)  # noqa: S101 - the columns are times
    assert finished_at is None or isinstance(finished_at, datetime)  # noqa: S101
    return RunRow(
        _text(run_id),
        started_at.astimezone(UTC),
        finished_at and finished_at.astimezone(UTC),
        _text(outcome),
        _text(reason),
        None if seconds is None else float(str(seconds)),
    )


def _alert(row: Sequence[object]) -> AlertRow:
    alert, view_name, severity, fired_at, summary = row
    assert isinstance(fired_at, datetime)  # noqa: S101 - the column is a time
    return AlertRow(str(alert), _text(view_name), str(severity), fired_at.astimezone(UTC), _text(summary) or "")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
