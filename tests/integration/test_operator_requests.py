"""What operators ask for: bounded where it is asked, done once, and kept."""

from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.requests import RequestOutcome
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.state.requests import PostgresRequests
from tests.integration.test_migrate_roles import psql
from tests.support.adapters import session
from tests.support.faults import Connection, as_role, value
from tests.support.installs import temporary_role
from tests.support.requests import ask, expire, state_of


@pytest.fixture
def stores(dsn: str) -> Iterator[tuple[PostgresRequests, PostgresRequests]]:
    """Two replicas' stores."""
    with session(dsn) as first, session(dsn) as second:
        yield PostgresRequests(first, "one"), PostgresRequests(second, "two")


IMPOSSIBLE: list[Any] = [
    ("drop", "key_1", None, None),
    (None, "key_1", None, None),
    ("refresh", " ", None, None),
    ("refresh", None, None, None),
    ("refresh", "x" * 301, None, None),
    ("refresh", "key\n1", None, None),
    ("refresh", "key_1", "x" * 501, None),
    ("refresh", "key_1", "a\x1bb", None),
    ("refresh", "key_1", None, "1 hour"),
    ("resume", "key_1", None, "1 hour"),
    ("pause", "key_1", None, "1 hour"),
    ("pause", "key_1", " ", "1 hour"),
    ("pause", "key_1", "import", None),
    ("pause", "key_1", "import", "0"),
    ("pause", "key_1", "import", "-1 hour"),
    ("pause", "key_1", "import", "7 days 1 second"),
]
"""Kind, actor, reason and length of what cannot be asked for."""


def test_arguments_are_checked(connection: Connection) -> None:
    """Whatever is asked with, nothing else than what the leader can do is kept."""
    for kind, actor, reason, length in IMPOSSIBLE:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            ask(connection, kind, actor=actor, reason=reason, length=length)
    assert value(connection, "select count(*) from analytics_refresh.operator_requests") == 0


def test_requests_of_an_hour_are_bounded(connection: Connection) -> None:
    """Twenty by one, two hundred by all; an actor at its limit keeps no other from resuming."""
    for _ in range(20):
        ask(connection, "refresh")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        ask(connection, "refresh")
    for number in range(180):
        ask(connection, "resume", actor=f"key_{number // 20 + 2}")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        ask(connection, "resume", actor="key_99")
    assert value(connection, "select count(*) from analytics_refresh.operator_requests") == 200


def test_the_api_may_ask_and_nothing_else(dsn: str, connection: Connection) -> None:
    """Its role calls two functions; the tables, and the schema that they are in, stay closed to it."""
    migrate(connection, tenants=True)
    with temporary_role(connection) as role:
        psql(dsn, "api.sql", "-v", f"role={role}")
        with psycopg.connect(as_role(dsn, role), autocommit=True) as api:
            made = value(api, "select analytics_api.request('pause', 'key_1', 'import', '2 hours')")
            found = api.execute("select kind, actor, state from analytics_api.request_state(%s)", [made]).fetchone()
            assert found == ("pause", "key_1", "waiting")
            closed: tuple[LiteralString, ...] = (
                "select analytics_refresh.request('refresh', 'key_1', null, null)",
                "select * from analytics_refresh.operator_requests",
                "insert into analytics_refresh.operator_request_steps values (gen_random_uuid(), 'taken')",
                "select analytics_refresh.pause('1 hour', 'x')",
            )
            for statement in closed:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    api.execute(statement)
        row = connection.execute("select database_role, pause_for::text from analytics_refresh.operator_requests")
        assert row.fetchone() == (role, "02:00:00")


def test_what_was_asked_and_done_stays(
    connection: Connection, stores: tuple[PostgresRequests, PostgresRequests]
) -> None:
    """For 400 days nobody changes or deletes it, the owner included; then it goes, with its steps."""
    request_id = ask(connection, "resume")
    (request,) = stores[0].open()
    assert stores[0].resume(request) is not None
    forbidden: tuple[LiteralString, ...] = (
        "update analytics_refresh.operator_requests set actor = 'nobody'",
        "update analytics_refresh.operator_request_steps set replica = 'nobody'",
        "delete from analytics_refresh.operator_requests",
        "delete from analytics_refresh.operator_request_steps",
        "truncate analytics_refresh.operator_requests cascade",
        "truncate analytics_refresh.operator_request_steps",
    )
    for statement in forbidden:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute(statement)
    stores[0].prune()
    assert state_of(connection, request_id)["outcome"] == "ok"
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            "update analytics_refresh.operator_requests set requested_at = requested_at - interval '402 days'"
        )
    stores[0].prune()
    assert value(connection, "select count(*) from analytics_refresh.operator_requests") == 0
    assert value(connection, "select count(*) from analytics_refresh.operator_request_steps") == 0


def test_P16_two_leaders_do_each_request_once(
    connection: Connection, stores: tuple[PostgresRequests, PostgresRequests]
) -> None:
    """Both have read it; the first does it, the second finds it done."""
    ids = [ask(connection, "pause", actor="key_7", reason="import", length="2 hours"), ask(connection, "refresh")]
    seen_by_two = stores[1].open()
    pause, refresh = stores[0].open()
    assert [request.request_id for request in seen_by_two] == ids
    done = stores[0].pause(pause)
    assert done is not None
    assert (done.outcome, stores[1].pause(seen_by_two[0])) == (RequestOutcome.OK, None)
    runs = [uuid4(), uuid4()]
    assert stores[1].take([refresh.request_id], runs[1], joined=False) == [refresh.request_id]
    assert stores[0].take([refresh.request_id], runs[0], joined=False) == []
    pauses = connection.execute("select reason, created_by, ends_at from analytics_refresh.pauses").fetchall()
    assert pauses == [("import", "key_7", done.paused_until)]
    assert state_of(connection, ids[1])["run_id"] == runs[1]


def test_a_pause_that_cannot_be_is_not_half_done(
    connection: Connection, stores: tuple[PostgresRequests, PostgresRequests]
) -> None:
    """Its request stays open where the transaction fails."""
    ask(connection, "pause", reason="import", length="2 hours")
    (request,) = stores[0].open()
    connection.execute("alter table analytics_refresh.pauses rename to away")
    with pytest.raises(DatabaseFault):
        stores[0].pause(request)
    connection.execute("alter table analytics_refresh.away rename to pauses")
    assert [found.request_id for found in stores[0].open()] == [request.request_id]


def test_nobody_takes_what_is_expired(
    connection: Connection, stores: tuple[PostgresRequests, PostgresRequests]
) -> None:
    """Its state says so at once, whether or not a leader has noted it; no daemon leads, and that is said, too."""
    request_id = ask(connection, "refresh")
    assert (state_of(connection, request_id)["state"], state_of(connection, request_id)["led"]) == ("waiting", False)
    expire(connection, request_id)
    assert state_of(connection, request_id)["state"] == "expired"
    (request,) = stores[0].open()
    assert request.expired


def test_a_daemon_with_the_rights_of_before_takes_nothing(dsn: str, connection: Connection) -> None:
    """It reads no request, and fails at none; `deploy/sql/grants.sql` gives it what it needs."""
    ask(connection, "refresh")
    with temporary_role(connection) as role:
        psql(dsn, "grants.sql", "-v", f"role={role}")
        with session(as_role(dsn, role)) as own:
            store = PostgresRequests(own, "one")
            assert len(store.open()) == 1
            store.prune()
            revoke = "revoke insert on analytics_refresh.operator_request_steps from {}"
            connection.execute(sql.SQL(revoke).format(sql.Identifier(role)))
            assert store.open() == []
            connection.execute("drop table analytics_refresh.operator_request_steps")
            assert store.open() == []
