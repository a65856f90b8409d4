"""What the API may answer while rows and views change: the answers of SQL at each state, and each answer given."""

import hashlib
import json
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from analytics_refreshd.api.answers import as_object, moment
from analytics_refreshd.api.asking import asked
from analytics_refreshd.api.freshness import as_of
from analytics_refreshd.api.routes import BASE, Route, routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.page import read_page
from analytics_refreshd.postgres.catalogue.run import bind
from tests.support.tenants import TENANTS, add_organizations

ROUTES = {path.removeprefix(f"{BASE}/"): route for route in routes_of(Catalogue.load()) for path in route.paths}
NAMES = (
    "actions/success-rate", "actions/distribution", "actions/latency", "triggers/slowest", "triggers/health",
    "triggers/most-active", "failures/by-trigger", "failures/top-errors", "failures/recent", "organizations/top",
    "organizations/usage",
)  # fmt: skip
SEEN: dict[str, tuple[str, ...] | None] = {"acme": ("acme",), "bolt": ("bolt",), "both": TENANTS, "all": None}
# all of them young enough to stay in every window for hours
_TRIGGERS = """
insert into triggers (id, organization_id, name, enabled, created_at)
    select o || '-trigger-' || n, o, o || ' name ' || n, true, now() - interval '60 days'
    from unnest(array['acme', 'bolt']) o, generate_series(1, 6) n
"""
_BATCH = """
insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
    error_message, retry_count)
select o || '-' || %(batch)s || '-' || n, 'batch-' || %(batch)s, o || '-trigger-' || (1 + random() * 5)::int, 'e',
    (array['rest', 'telegram', 'mcp'])[1 + n %% 3], (array['success', 'success', 'failed', 'retrying'])[1 + n %% 4],
    now() - random() * interval '10 hours', (random() * 900)::int, case when n %% 4 = 2 then o || ' broke' end, n %% 3
from unnest(array['acme', 'bolt']) o, generate_series(1, 20) n
"""
_SUCCESSES = (
    "select view_name, greatest(last_success_at, last_checked_at) from analytics_refresh.last_refresh"
    " where last_success_at is not null"
)
KNOWN_SECONDS = 1.0
"""How long the API takes the views' last successes as it read them."""


@dataclass(frozen=True)
class Question:
    """An endpoint, and who asks it."""

    name: str
    who: str

    @property
    def route(self) -> Route:
        """The endpoint's route."""
        return ROUTES[self.name]


QUESTIONS = [
    Question(name, who) for name in NAMES for who in SEEN if SEEN[who] is None or ROUTES[name].query.organizations
]


@dataclass(frozen=True)
class State:
    """What SQL answers, from when it could be seen to when it was there for certain."""

    began: float
    ended: float
    as_of: str | None
    digest: str


@dataclass(frozen=True)
class Given:
    """An answer that came. `lags` is that of a standby; a 304 has no digest."""

    question: Question
    sent: float
    received: float
    as_of: str | None
    digest: str | None
    lags: bool


def digest_of(rows: object) -> str:
    """A hash of an answer's data."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


@dataclass
class Ledger:
    """Every state of every question. One thread writes rows and refreshes views; nobody else does."""

    dsn: str
    states: dict[Question, list[State]] = field(default_factory=lambda: {one: [] for one in QUESTIONS})
    of_rows: dict[Question, bool] = field(default_factory=dict)
    batches: int = 0
    refreshes: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._began_rows = self._began_views = time.monotonic()
        with self._connect() as connection:
            add_organizations(connection, {name: f"{name} name" for name in (*TENANTS, "crux")}, plan="pro")
            connection.execute(_TRIGGERS)
            self._write(connection)
            self._refresh(connection)

    def __enter__(self) -> "Ledger":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(120)

    def _connect(self) -> psycopg.Connection[Any]:
        options = "-c timezone=UTC -c lock_timeout=1s"
        return psycopg.connect(self.dsn, autocommit=True, options=options, connect_timeout=5)

    def _work(self) -> None:
        """Write and refresh; after a loss find out what came of it, before anything else is done."""
        while not self._over.is_set():
            with suppress(psycopg.Error), self._connect() as connection:
                self._note(connection, time.monotonic(), rows=True)
                self._note(connection, time.monotonic(), rows=False)
                while not self._over.wait(0.8):
                    self._write(connection)
                    if self.batches % 5 == 0:
                        self._refresh(connection)
            self._over.wait(0.5)

    def _write(self, connection: psycopg.Connection[Any]) -> None:
        self._began_rows = began = time.monotonic()
        self.batches += 1
        connection.execute(_BATCH, {"batch": str(self.batches)})
        self._note(connection, began, rows=True)

    def _refresh(self, connection: psycopg.Connection[Any]) -> None:
        self._began_views = began = time.monotonic()
        connection.execute("select * from refresh_action_analytics()")
        self.refreshes += 1
        self._note(connection, began, rows=False)

    def _note(self, connection: psycopg.Connection[Any], began: float, *, rows: bool) -> None:
        """Note what SQL answers now. What was lost may have come to be as soon as it began."""
        began = min(began, self._began_rows if rows else self._began_views)
        ended = time.monotonic()
        now = datetime.now(UTC)
        successes = dict(connection.execute(_SUCCESSES).fetchall())
        for question in QUESTIONS:
            route = question.route
            asks = asked(route, [], {})
            bound = bind(route.query, asks.given, SEEN[question.who], now, "public", asks.filters)
            sources = bound.sources
            if self.of_rows.setdefault(question, sources.rows) is not rows:
                continue
            columns = [field.column for field in route.endpoint.fields]
            found = read_page(connection, bound, asks.page, columns).rows
            fields = route.endpoint.fields
            at = None if rows else moment(as_of(sources.views, successes, rows=False, now=now))
            self.states[question].append(State(began, ended, at, digest_of([as_object(fields, row) for row in found])))

    def wrong(self, given: Given) -> str | None:
        """Why an answer is none that SQL gives at its `as_of`; None if it is."""
        states = self.states[given.question]
        if not self.of_rows[given.question]:
            return _wrong_of_views(given, states)
        # on a standby any earlier state; else one that was there at some moment between question and answer
        there = bisect_right(states, given.sent, key=lambda one: one.ended)
        first = 0 if given.lags or not there else there - 1
        fitting = [one for one in states[first:] if one.began <= given.received]
        if given.digest not in {one.digest for one in fitting}:
            return f"{given.question}: none of {len(fitting)} states has this answer"
        return None


def _wrong_of_views(given: Given, states: Sequence[State]) -> str | None:
    known = [one for one in states if one.as_of == given.as_of]
    if not known or (given.digest is not None and given.digest not in {one.digest for one in known}):
        return f"{given.question}: as of {given.as_of} SQL answers otherwise"
    newer = [one for one in states if one.ended < given.sent - KNOWN_SECONDS and str(one.as_of) > str(given.as_of)]
    if newer and not given.lags:
        return f"{given.question}: as of {given.as_of}, and {newer[-1].as_of} was known for over a second"
    return None
