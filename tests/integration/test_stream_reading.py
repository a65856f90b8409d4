"""What the poller reads, each at one moment: never half of a fold, and never another tenant's."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analytics_refreshd.api.pool import ReadPool
from analytics_refreshd.api.routes import SUMMARY, routes_of
from analytics_refreshd.api.stream.reading import LiveReader, Wanted
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import reading_settings
from analytics_refreshd.core.live import Hours, hours_plus, total
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.stream import Audience
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.incremental.install import install
from analytics_refreshd.postgres.tenants.wall import Wall
from tests.support.api import api_role
from tests.support.faults import Connection
from tests.support.tenants import SECRET, fill

AUDIENCES: tuple[Audience, ...] = (None, ("acme",), ("acme", "bolt"), ("none",))
COUNT = """
select count(*)::int from action_results a left join triggers t on t.id = a.trigger_id
where a.executed_at >= %s and a.executed_at < %s and (%s::text[] is null or t.organization_id = any (%s))
"""


@dataclass(frozen=True)
class World:
    """A reader over a database in incremental mode, and its owner's connection."""

    reader: LiveReader
    connection: Connection

    def insert(self, tag: str) -> None:
        """Insert seven actions of one tenant and two of the other."""
        self.connection.execute(
            "insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at)"
            " select %s || n, 'j', case when n > 2 then 'acme' else 'bolt' end || '-trigger-1', 'e', 'rest', 'success',"
            " now() from generate_series(1, 9) n",
            (tag,),
        )

    def check(self, audience: Audience, hours: Hours, since: datetime, until: datetime) -> None:
        """The hours hold as many executions as the table."""
        wanted = [] if audience is None else list(audience)
        every = None if audience is None else wanted
        row = self.connection.execute(COUNT, (since, until, every, wanted)).fetchone()
        assert (total(hours.values()).executions,) == row, audience


@pytest.fixture
def world(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[World]:
    """Its own database: it changes."""
    fill(connection)
    install(connection)
    with api_role(dsn, connection, tmp_path) as (own, _):
        connector = Connector(reading_settings(Config(database={"url": own})))  # type: ignore[arg-type]
        pool = ReadPool(connector, Profile(10, 5), 1)
        pool.open()
        route = next(route for route in routes_of(Catalogue.load()) if route.query.name == SUMMARY)
        try:
            yield World(LiveReader(pool, route, VIEWS, Wall(SECRET), 10), connection)
        finally:
            pool.close()


@pytest.mark.slow
def test_what_was_read_and_what_waits_are_all_there_is(world: World) -> None:
    """For each audience, before a fold and after it; what was read before a fold continues nothing after it."""
    now, reader = datetime.now(UTC), world.reader
    world.insert("before")
    read = {audience: reader.base(audience, now) for audience in AUDIENCES}
    world.insert("after")
    marker = read[None][0].marker
    assert marker is not None
    waiting = reader.waiting(AUDIENCES, marker, now)
    assert waiting is not None
    for audience, (base, _) in read.items():
        assert base.settled is not None
        world.check(audience, hours_plus(base.settled, waiting[audience]), base.since, base.until)
    assert reader.state(Wanted(), now).marker == marker
    world.connection.execute("select * from refresh_action_analytics()")
    assert reader.waiting(AUDIENCES, marker, now) is None
    state = reader.state(Wanted(), now)
    for audience, (old, _) in read.items():
        assert not old.holds(state.marker, old.since, old.successes)
        base, none = reader.base(audience, now)
        assert none == {}
        assert base.settled is not None
        world.check(audience, base.settled, base.since, base.until)
        assert base.holds(state.marker, reader.since(now), state.successes)
