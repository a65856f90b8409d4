"""The API's processes replaced one after the other, and a database whose schema is older or newer than the program."""

import http.client
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import urllib3

from analytics_refreshd.postgres.migrate.run import migrate
from tests.integration.test_migrate_roles import psql
from tests.support.api import BASE, Answer, Api, api_role, ask, make_key
from tests.support.faults import Connection
from tests.support.proxy import Proxy
from tests.support.stream import StreamClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ASKED = f"{BASE}/actions/hourly"
PATIENT = "import analytics_refreshd.api.service as service; service._NOTICE_SECONDS = 60.0"
"""Clients get longer than a second to hear that the process goes: here they may be slow to ask again."""


@dataclass(frozen=True)
class World:
    """A database, its owner's connection, and the API's role, secret and key."""

    dsn: str
    connection: Connection
    own: str
    secret: Path
    key: str

    def api(self, broken: str | None = None) -> Api:
        """A process of the API, which reads each answer."""
        settings: dict[str, Any] = {"api__cache_megabytes": 0, "api__concurrent_queries": 30, "broken": broken}
        return Api(self.own, self.secret, **settings, api__statement_timeout="60s")


@pytest.fixture
def world(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[World]:
    """A database with all that the API needs."""
    with api_role(dsn, connection, tmp_path) as (own, secret):
        yield World(dsn, connection, own, secret, make_key(dsn, "--all-organizations", "--operator"))


@dataclass
class Client:
    """Asks one question after the other; what it got, and what failed."""

    once: Callable[[], int]
    statuses: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Go on until told to stop."""
        while not self.over.wait(0.01):
            try:
                self.statuses.append(self.once())
            except Exception as error:
                self.failed.append(repr(error))


def asked_again(pool: urllib3.PoolManager, address: str, headers: Mapping[str, str]) -> int:
    """The status of a question on a connection that is kept, as long as the server keeps it."""
    return pool.request("GET", address, headers=headers).status


@contextmanager
def clients(port: int, key: str) -> Iterator[list[Client]]:
    """Two that connect for each question, and two that keep their connection as a proxy does."""
    pools = [urllib3.PoolManager(retries=False, timeout=60) for _ in range(2)]
    headers = {"X-API-Key": key}
    anew = [Client(lambda: ask(port, ASKED, headers, "GET").status) for _ in range(2)]
    kept = [Client(partial(asked_again, pool, f"http://127.0.0.1:{port}{ASKED}", headers)) for pool in pools]
    every = [*anew, *kept]
    threads = [threading.Thread(target=client.ask, daemon=True) for client in every]
    for thread in threads:
        thread.start()
    try:
        yield every
    finally:
        for client in every:
            client.over.set()
        for thread in threads:
            thread.join(60)
        for pool in pools:
            pool.clear()


def go_on(every: list[Client], more: int) -> None:
    """Wait until each client has got so many more answers."""
    wanted = [len(client.statuses) + more for client in every]
    eventually(
        lambda: all(len(client.statuses) >= least or client.failed for client, least in zip(every, wanted, strict=True))
    )


def test_P20_no_request_fails_while_a_process_is_replaced(world: World) -> None:
    """New requests go to the new one, the old one answers what was asked, streams are told to come again."""
    answers: list[Answer] = []
    with world.api(PATIENT) as old, world.api() as new, Proxy(("127.0.0.1", old.port)) as service:
        for api in (old, new):
            api.until(partial(ready, api))
        with clients(service.port, world.key) as every, StreamClient(service.port, world.key) as stream:
            go_on(every, 3)
            stream.next("open")
            kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
            assert asked_on(kept, world.key) == (200, None)
            slow = threading.Thread(
                target=lambda: answers.append(
                    ask(service.port, f"{BASE}/triggers/slowest", {"X-API-Key": world.key}, "GET")
                )
            )
            with psycopg.connect(world.dsn) as holder:
                holder.execute("lock table triggers in access exclusive mode")
                slow.start()
                old.until(lambda: waiting(world.connection))
                service.target = ("127.0.0.1", new.port)
                # as preStop waits: what came on the way to the old one is answered there
                go_on(every, 2)
                old.process.send_signal(signal.SIGTERM)
                old.wait_for("api.stopping")
                # a client that comes back on its connection is answered, and told to take another
                assert asked_on(kept, world.key) == (200, "close")
                holder.rollback()
            assert old.process.wait(60) == 0
            slow.join(60)
            go_on(every, 3)
            assert [answer.status for answer in answers] == [200]
            assert stream.rest()[-1].data["reason"] == "stopping"
            with StreamClient(service.port, world.key) as again:
                again.next("open")
        assert [client.failed for client in every] == [[]] * 4
        assert {status for client in every for status in client.statuses} == {200}
        assert old.events("request.finished")
        assert new.events("request.finished")
        assert not old.events("shutdown.forced")


def asked_on(kept: http.client.HTTPConnection, key: str) -> tuple[int, str | None]:
    """Ask on this connection; return the status, and whether the server keeps it."""
    kept.request("GET", ASKED, headers={"X-API-Key": key})
    found = kept.getresponse()
    found.read()
    return found.status, found.getheader("connection")


def ready(api: Api) -> bool:
    """Whether it can answer."""
    return api.probe("/readyz").status == 200


def waiting(connection: Connection) -> bool:
    """Whether some session waits for a lock."""
    return connection.execute("select exists (select from pg_locks where not granted)").fetchone() == (True,)


def test_P11_a_database_that_does_not_serve_the_api_yet(world: World) -> None:
    """No request is sent to a process that is not ready, and who asks all the same hears whose turn it is."""
    world.connection.execute("drop schema analytics_api cascade")
    with world.api() as api:
        api.until(lambda: "migrate --tenants" in api.probe("/readyz").body.decode())
        assert api.probe("/readyz").status == 503
        refused = api.ask("actions/hourly", world.key)
        assert (refused.status, refused.json["error"]) == (503, "service_unavailable")
        assert "analytics-refreshd check" in refused.json["message"]
        line = api.wait_for("request.finished", lambda line: line["status"] == 503)
        assert (line["code"], line["sqlstate"]) == ("service_unavailable", "3F000")
        migrate(world.connection, tenants=True)
        allow(world)
        api.until(partial(ready, api))
        api.until(lambda: api.ask("actions/hourly", world.key).status == 200)


def allow(world: World) -> None:
    """Let the API's role read again, as whoever migrates does."""
    role = psycopg.conninfo.conninfo_to_dict(world.own)["user"]
    psql(world.dsn, "api.sql", "-v", f"role={role}")


OLDER = """
drop function analytics_api.last_successes(), analytics_api.fold_marker(), analytics_api.last_runs(),
    analytics_api.firing_alerts(), analytics_api.waiting_hours(timestamptz, timestamptz),
    analytics_api.folded_hours(timestamptz, timestamptz), analytics_api.request(text, text, text, interval);
delete from analytics_refresh.schema_version where version > 10;
"""
NEWER = """
insert into analytics_refresh.schema_version (version, name)
    select max(version) + 1, 'newer' from analytics_refresh.schema_version;
alter table analytics_refresh.api_keys add column colour text not null default 'red';
alter table analytics_refresh.last_refresh add column colour text;
alter table analytics_refresh.runs add column colour text not null default 'red';
create table analytics_refresh.colours (colour text primary key);
create function analytics_api.colours() returns text language sql begin atomic select 'red'; end;
do $$ begin
    execute 'create or replace view analytics_api.organizations with (security_barrier) as '
        || replace(pg_get_viewdef('analytics_api.organizations'), ' FROM ', ', ''red''::text as colour FROM ');
end $$;
"""


@pytest.mark.parametrize("older", [True, False], ids=["older", "newer"])
def test_P11_a_schema_of_another_version(world: World, older: bool) -> None:
    """An older one answers what it can, and says what to do about the rest; a newer one only has more."""
    if older:
        world.connection.execute(OLDER)
    else:
        world.connection.execute(NEWER)
    assert all(row[3] for row in world.connection.execute("select * from refresh_action_analytics()"))
    with world.api() as api:
        api.until(partial(ready, api))
        told: dict[str, Any] = {}
        for path in ("actions/hourly", "triggers/slowest", "organizations/top", "failures/recent", "health/summary"):
            answer = api.ask(path, world.key)
            assert answer.status == 200, (path, answer.body)
            told[path] = answer.json["meta"]
        # whose success cannot be known is never called fresh
        assert told["actions/hourly"]["stale"] is older
        assert (told["actions/hourly"]["as_of"] is None) is older
        with StreamClient(api.port, world.key, "?topics=summary,refresh,alerts") as stream:
            stream.each("open", "summary", "refresh", "alerts")
        action = api.post("refresh", world.key)
        if older:
            assert (action.status, action.json["error"]) == (503, "service_unavailable")
            assert "analytics-refreshd check" in action.json["message"]
        else:
            assert action.status == 202, action.body
        assert not [line for line in api.events("library.message") if line["level"] == "error"]
        assert api.stop() == 0
