"""The stream on real processes: live figures against SQL, refreshes, alerts, and the ends of a stream."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.incremental.install import install
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.api import Api, api_role, install_api, make_key
from tests.support.daemon import command
from tests.support.faults import Connection, FaultServer, value
from tests.support.postgres import Server
from tests.support.stream import PATH, StreamClient
from tests.support.tenants import fill
from tests.support.waiting import eventually, within_one_hour

pytestmark = pytest.mark.slow

INSERT = """
insert into action_results
    (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms, retry_count)
select 'live-' || %(tag)s || '-' || n, 'j', %(tenant)s || '-trigger-1', 'e', 'rest',
    case when n %% 5 = 0 then 'failed' else 'success' end, now(), nullif(n %% 11, 0) * 100, n %% 3
from generate_series(1, %(rows)s) n
"""
FIGURES = """
select count(*), count(*) filter (where a.status = 'success'), count(*) filter (where a.status = 'failed'),
    round(100.0 * count(*) filter (where a.status = 'success') / nullif(count(*), 0), 2)::float8,
    round(avg(a.duration_ms), 2)::float8, coalesce(sum(a.retry_count), 0),
    count(distinct date_trunc('hour', a.executed_at, 'UTC'))
from action_results a left join triggers t on t.id = a.trigger_id
where a.executed_at >= %(since)s::timestamptz and a.executed_at < %(until)s::timestamptz
    and (%(tenant)s::text is null or t.organization_id = %(tenant)s)
"""
NAMES = (
    *("total_executions", "total_successes", "total_failures", "success_rate", "avg_duration_ms", "total_retries"),
    "hours_with_data",
)


@dataclass(frozen=True)
class World:
    """The API in incremental mode over two tenants, with a key for each and one for all."""

    api: Api
    dsn: str
    connection: Connection
    everything: str
    acme: str

    def insert(self, tag: str, rows: int, tenant: str = "acme") -> None:
        """Insert actions of a tenant."""
        self.connection.execute(INSERT, {"tag": tag, "rows": rows, "tenant": tenant})

    def figures(self, meta: dict[str, Any], tenant: str | None) -> dict[str, object]:
        """Count the figures of an event's window."""
        row = self.connection.execute(FIGURES, {**meta["window"], "tenant": tenant}).fetchone()
        assert row is not None
        return dict(zip(NAMES, row, strict=True))

    def hear(self, client: StreamClient, tenant: str | None) -> dict[str, Any]:
        """Wait for the summary that says what SQL says now."""
        heard = client.next("summary", lambda event: shown(event) == self.figures(event["meta"], tenant))
        found: dict[str, Any] = heard.data
        return found


def shown(event: dict[str, Any]) -> dict[str, object]:
    """The figures of a summary that sums give."""
    return {name: event["data"][name] for name in NAMES}


@contextmanager
def serving(dsn: str, connection: Connection, folder: Path) -> Iterator[World]:
    """Fill a database and serve it."""
    fill(connection)
    install(connection, "public")
    assert all(row[3] for row in connection.execute("select * from refresh_action_analytics()"))
    with api_role(dsn, connection, folder) as (own, secret):
        everything = make_key(dsn, "--all-organizations", "--role", "admin")
        acme = make_key(dsn, "--organization", "acme")
        with Api(own, secret, schedule__interval="1h", staleness__max_age="3h") as api:
            yield World(api, dsn, connection, everything, acme)


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One for all tests that compare with what SQL says at that moment."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True) as connection:
        with serving(dsn, connection, tmp_path_factory.mktemp("api")) as made:
            yield made


@pytest.fixture(autouse=True)
def in_one_hour() -> None:
    """A window of 24 hours begins with a whole one: where that moves on, figures are others, and rightly so."""
    within_one_hour(40)


@pytest.fixture
def own_world(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[World]:
    """One whose API is stopped, or whose keys are revoked."""
    with serving(dsn, connection, tmp_path) as made:
        yield made


def test_figures_are_true_to_the_second(world: World) -> None:
    """Without a refresh, for all and for a tenant: what is inserted, changed and deleted is in the next event."""
    world.insert("early", 11)
    with StreamClient(world.api.port, world.everything) as whole, StreamClient(world.api.port, world.acme) as tenant:
        for client in (whole, tenant):
            assert client.response.getheader("Content-Type") == "text/event-stream"
            opened = client.next("open").data
            assert (opened["topics"], opened["resumed"]) == (["summary", "refresh"], False)
        before = {name: world.hear(client, name) for client, name in ((whole, None), (tenant, "acme"))}
        for event in before.values():
            assert event["meta"]["live"]
            assert event["meta"]["approximate"] == ["p95_duration_ms", "p99_duration_ms"]
        for change in (
            lambda: world.insert("a", 37),
            lambda: world.connection.execute("update action_results set status = 'failed' where id like 'live-a-1%'"),
            lambda: world.connection.execute("delete from action_results where id like 'live-a-2%'"),
        ):
            change()
            for client, name in ((whole, None), (tenant, "acme")):
                event = world.hear(client, name)
                assert event["meta"]["percentiles_as_of"] == before[name]["meta"]["percentiles_as_of"]
                assert event["data"]["p95_duration_ms"] == before[name]["data"]["p95_duration_ms"]
                assert event["meta"]["as_of"] > before[name]["meta"]["as_of"]
        answer = world.api.ask("health/summary", world.acme).json["data"]
        assert {name: answer[name] for name in NAMES if name != "avg_duration_ms"} == {
            name: value for name, value in shown(event).items() if name != "avg_duration_ms"
        }
        # what another tenant does is no news to this one
        world.insert("b", 5, "bolt")
        world.hear(whole, None)
        world.insert("c", 1)
        assert shown(tenant.next("summary").data) == world.figures(event["meta"], "acme")
        world.connection.execute("select * from refresh_action_analytics()")
        later = before[None]["meta"]["percentiles_as_of"]
        fresh = whole.next("summary", lambda each: each["meta"]["percentiles_as_of"] > later).data
        answer = world.api.ask("health/summary", world.everything).json
        assert fresh["data"]["p95_duration_ms"] == answer["data"]["p95_duration_ms"]
        assert fresh["meta"]["percentiles_as_of"] == answer["meta"]["as_of"]


def test_no_figure_is_lost_or_told_twice_while_changes_are_folded(world: World) -> None:
    """Rows come in while refreshes fold what came before: each event has more than the last, and the last has all."""
    done = threading.Event()

    def refresh() -> None:
        with psycopg.connect(world.dsn, autocommit=True) as own:
            while not done.is_set():
                own.execute("select * from refresh_action_analytics()")
                done.wait(0.3)

    with StreamClient(world.api.port, world.everything) as whole, StreamClient(world.api.port, world.acme) as tenant:
        begun = {client: world.hear(client, name)["data"] for client, name in ((whole, None), (tenant, "acme"))}
        refreshing = threading.Thread(target=refresh)
        refreshing.start()
        try:
            for number in range(60):
                world.insert(f"n{number}", 3)
                done.wait(0.05)
        finally:
            done.set()
            refreshing.join(60)
        for client in (whole, tenant):
            last = begun[client]["total_executions"]
            wanted = last + 180
            while last < wanted:
                found = client.next("summary").data["data"]["total_executions"]
                assert last <= found <= wanted
                last = found


def test_refreshes_and_alerts_are_told_to_who_may_hear_of_them(world: World) -> None:
    """A tenant hears that figures are fresh, an administrator how the run ended and which alerts fire."""
    port, topics = world.api.port, "?topics=refresh,alerts"
    with StreamClient(port, world.everything, topics) as whole, StreamClient(port, world.acme) as tenant:
        assert whole.next("alerts").data["data"] == []
        before = tenant.next("refresh").data["data"]
        assert before["all_views_fresh"]
        assert set(before) == {"views", "all_views_fresh", "refreshing_since"}
        done = command(world.dsn, "refresh")
        assert done.returncode == 0, done.stderr

        def newer(event: dict[str, Any]) -> bool:
            pairs = zip(event["data"]["views"], before["views"], strict=True)
            return all(now["last_refresh"] > then["last_refresh"] for now, then in pairs)

        assert set(tenant.next("refresh", newer).data["data"]) == set(before)
        ended = whole.next("refresh", lambda event: newer(event) and event["data"]["last_run"]).data["data"]
        assert ended["last_run"]["outcome"] == "ok"
        assert ended["run"] is None
        assert ended["last_cost"]["wal_bytes"] > 0
        told = world.api.ask("meta/refresh-status", world.everything).json["summary"]
        assert len(told.pop("outlook")) == 2
        assert told == {"all_views_fresh": True, "last_cost": ended["last_cost"]}
        world.connection.execute(
            "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at)"
            " values (gen_random_uuid(), 'd', 'r', 'schedule', clock_timestamp())"
        )
        assert tenant.next("refresh", lambda event: event["data"]["refreshing_since"] is not None)
        assert whole.next("refresh", lambda event: event["data"]["run"] is not None)
        world.connection.execute(
            "insert into analytics_refresh.alerts (alert, state, severity, active_at, fired_at, summary)"
            " values ('AnalyticsRefreshSlow', 'firing', 'warning', now(), now(), 'slow')"
        )
        (alert,) = whole.next("alerts", lambda event: event["data"]).data["data"]
        assert (alert["alert"], alert["view_name"], alert["summary"]) == ("AnalyticsRefreshSlow", None, "slow")
        world.connection.execute("update analytics_refresh.alerts set state = 'resolved', resolved_at = now()")
        assert whole.next("alerts", lambda event: not event["data"])
    answer = world.api.ask(PATH + topics, world.acme)
    assert (answer.status, answer.json["error"]) == (403, "forbidden")
    operator = make_key(world.dsn, "--organization", "acme", "--operator")
    with StreamClient(port, operator, "?topics=alerts") as client:
        assert client.next("alerts").data["data"] == []


def test_P15_who_comes_back_hears_what_was_missed(world: World) -> None:
    """By the id of the last event; one of another process begins anew."""
    port = world.api.port
    with StreamClient(port, world.everything) as stays, StreamClient(port, world.everything) as leaves:
        for client in (stays, leaves):
            begun = client.each("summary", "refresh")["summary"].data
            assert shown(begun) == world.figures(begun["meta"], None)
        last = leaves.last_event_id
        leaves.leave()
        for number in range(3):
            world.insert(f"r{number}", 2)
            world.hear(stays, None)
        with StreamClient(port, world.everything, headers={"Last-Event-ID": str(last)}) as back:
            assert back.next("open").data["resumed"]
            heard = back.next("summary")
            assert shown(heard.data) == world.figures(heard.data["meta"], None)
            assert heard.event_id == stays.last_event_id
        with StreamClient(port, world.everything, headers={"Last-Event-ID": "00000000-1"}) as other:
            assert not other.next("open").data["resumed"]
            assert other.each("summary", "refresh")["summary"].event_id == stays.last_event_id


def test_P14_P15_a_stop_ends_every_stream(own_world: World) -> None:
    """Each is told why, and the process ends with 0 as always."""
    clients = [StreamClient(own_world.api.port, key) for key in (own_world.everything, own_world.acme)]
    for client in clients:
        client.next("summary")
    assert own_world.api.stop() == 0
    for client in clients:
        assert client.next("end").data["reason"] == "stopping"
        assert client.ended.wait(60)
        client.leave()
    assert not own_world.api.events("shutdown.forced")
    assert not [line for line in own_world.api.events("library.message") if line["level"] == "error"]
    assert {line["ending"] for line in own_world.api.events("stream.finished")} == {"stopping"}


@pytest.mark.nightly
def test_P03_P15_a_key_that_is_revoked_ends_its_stream(own_world: World) -> None:
    """Within a minute; another key's stream goes on."""
    key_id = next(
        line.split()[0] for line in command(own_world.dsn, "keys", "list").stdout.splitlines() if "acme" in line
    )
    with (
        StreamClient(own_world.api.port, own_world.acme) as tenant,
        StreamClient(own_world.api.port, own_world.everything) as whole,
    ):
        tenant.next("summary")
        assert command(own_world.dsn, "keys", "revoke", key_id).returncode == 0
        assert tenant.next("end", seconds=60).data["reason"] == "access"
        own_world.insert("x", 1)
        own_world.hear(whole, None)
    assert own_world.api.ask(PATH, own_world.acme).status == 401


def test_requests_that_open_no_stream(world: World) -> None:
    """Each is a problem document; HEAD answers what GET would."""
    api = world.api
    for path in (PATH, "stream"):
        answer = api.ask(path, world.acme, method="HEAD")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    for query, status, error in (
        ("?topic=summary", 400, "validation_error"),
        ("?topics=summery", 400, "validation_error"),
        ("?topics=", 400, "validation_error"),
        ("?topics=summary&topics=refresh", 400, "validation_error"),
        ("?organization_id=bolt", 403, "forbidden"),
    ):
        answer = api.ask(PATH + query, world.acme)
        assert (answer.status, answer.json["error"]) == (status, error), query
    assert api.ask(PATH, "rfd_" + "x" * 43).status == 401
    assert api.ask(PATH, world.acme, method="POST").status == 405


def test_the_limits_on_streams(dsn: str, connection: Connection, tmp_path: Path) -> None:
    """One key's own, and the process's; who leaves makes room. In plain mode figures are as of the refresh."""
    fill(connection)
    with api_role(dsn, connection, tmp_path) as (own, secret):
        keys = [make_key(dsn, "--organization", name) for name in ("acme", "bolt")]
        settings = {"api__streams": 3, "api__streams_per_key": 2}
        with Api(own, secret, schedule__interval="1h", staleness__max_age="3h", **settings) as api:
            clients = [StreamClient(api.port, key) for key in (keys[0], keys[0], keys[1])]
            for client in clients:
                event = client.next("summary").data
                assert not event["meta"]["live"]
            answer = api.ask(PATH, keys[0])
            assert (answer.status, answer.json["error"]) == (429, "rate_limited")
            answer = api.ask(PATH, keys[1])
            assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
            assert int(answer.headers["retry-after"]) > 0
            metrics = api.probe("/metrics").body.decode()
            assert "analytics_api_streams{" in metrics
            assert api.ask("health/summary", keys[1]).json["data"] == event["data"]
            clients[0].leave()
            api.until(lambda: 'analytics_api_streams_ended_total{database="' in api.probe("/metrics").body.decode())
            api.wait_for("stream.finished", lambda line: line["ending"] == "gone")
            with StreamClient(api.port, keys[0]) as again:
                again.next("summary")
            for client in clients[1:]:
                client.leave()


@pytest.fixture
def older(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[Callable[[], Api]]:
    """An API over what an older `migrate --tenants` made."""
    fill(connection)
    install(connection, "public")
    with api_role(dsn, connection, tmp_path) as (own, secret):
        connection.execute("drop function analytics_api.fold_marker(), analytics_api.last_runs()")
        yield lambda: Api(own, secret, schedule__interval="1h", staleness__max_age="3h")


def test_P11_over_an_older_installation(older: Callable[[], Api], dsn: str, connection: Connection) -> None:
    """Figures are as of the refresh, and nothing fails."""
    key = make_key(dsn, "--all-organizations")
    with older() as api, StreamClient(api.port, key, "?topics=summary,refresh,alerts") as client:
        event = client.next("summary").data
        assert not event["meta"]["live"]
        answer = api.ask("health/summary", key).json
        assert (event["data"], event["meta"]["as_of"]) == (answer["data"], answer["meta"]["as_of"])
        connection.execute(INSERT, {"tag": "o", "rows": 9, "tenant": "acme"})
        connection.execute("select * from refresh_action_analytics()")
        later = client.next("summary", lambda each: each["data"] != event["data"]).data
        assert later["data"]["total_executions"] == event["data"]["total_executions"] + 9


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A migrated primary with two tenants in incremental mode, and a standby that is not started yet."""
    primary = Server(settings={"synchronous_commit": "on"}).start()
    try:
        create_application(primary.dsn())
        with primary.connect() as connection:
            migrate(connection)
            fill(connection)
            install(connection, "public")
            assert all(row[3] for row in connection.execute("select * from refresh_action_analytics()"))
        standby = primary.standby()
        try:
            yield primary, standby
        finally:
            standby.destroy()
    finally:
        primary.destroy()


@pytest.mark.nightly
def test_over_a_standby(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """What the primary commits is told as soon as the standby has it; so is that the standby is away."""
    primary, standby = pair
    with primary.connect() as connection:
        own, secret = install_api(primary.dsn(), connection, "api", tmp_path)
        everything = make_key(primary.dsn(), "--all-organizations", "--role", "admin")
        acme = make_key(primary.dsn(), "--organization", "acme")
        flushed = value(connection, "select pg_current_wal_flush_lsn()")
        standby.start()
        with standby.connect() as replica:
            eventually(lambda: value(replica, "select pg_last_wal_replay_lsn() >= %s", flushed))
        there = psycopg.conninfo.make_conninfo(own, port=standby.port)
        with Api(there, secret, schedule__interval="1h", staleness__max_age="3h") as api:
            world = World(api, primary.dsn(), connection, everything, acme)
            with StreamClient(api.port, everything) as whole, StreamClient(api.port, acme) as tenant:
                before = world.hear(whole, None)
                assert before["meta"]["live"]
                world.hear(tenant, "acme")
                world.insert("there", 7)
                world.hear(tenant, "acme")
                assert world.hear(whole, None)["meta"]["percentiles_as_of"] == before["meta"]["percentiles_as_of"]
                connection.execute("select * from refresh_action_analytics()")
                fresh = whole.next("summary", lambda each: each["meta"]["percentiles_as_of"] > before["meta"]["as_of"])
                answer = api.ask("health/summary", everything).json
                assert fresh.data["data"]["p95_duration_ms"] == answer["data"]["p95_duration_ms"]
                standby.stop("immediate")
                assert not whole.next("database").data["available"]
                world.insert("meanwhile", 3)
                standby.start()
                assert whole.next("database").data == {"available": True}
                world.hear(whole, None)


def test_P13_P15_the_database_goes_and_comes_back(fault_server: FaultServer, tmp_path: Path) -> None:
    """The stream says so and stays; figures go on by themselves."""
    with fault_server.connect() as connection:
        fill(connection)
        own, secret = install_api(fault_server.dsn, connection, "api", tmp_path)
    key = make_key(fault_server.dsn, "--all-organizations")
    with Api(own, secret, schedule__interval="1h", staleness__max_age="3h") as api:
        with StreamClient(api.port, key) as client:
            before = client.next("summary").data
            fault_server.server.stop("immediate")
            away = client.next("database").data
            assert (away["available"], away["error"]) == (False, "service_unavailable")
            with StreamClient(api.port, key) as another:
                assert not another.next("database").data["available"]
            fault_server.server.start()
            assert client.next("database").data == {"available": True}
            with fault_server.connect() as connection:
                connection.execute(INSERT, {"tag": "d", "rows": 4, "tenant": "acme"})
                connection.execute("select * from refresh_action_analytics()")
            after = client.next("summary", lambda event: event["data"] != before["data"]).data
            assert after["data"]["total_executions"] == before["data"]["total_executions"] + 4
        assert api.stop(signal.SIGTERM) == 0
