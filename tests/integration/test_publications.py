"""Publications that send every table: no refresh fails, and no subscriber stops, because of our schema."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from analytics_refreshd.core.errors import MigrationError, PublicationError
from analytics_refreshd.postgres.check.findings import Level
from analytics_refreshd.postgres.check.run import CheckSettings, Finding, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import dry_run, migrate, status, subscriber_sql
from analytics_refreshd.postgres.schema.publications import slots
from tests.conftest import create_application
from tests.support.adapters import connector, status_reader
from tests.support.daemon import command
from tests.support.incremental import Changes, refresh_and_compare
from tests.support.postgres import Server
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]
KEYLESS = ("deltas", "hour_cells", "type_window", "window_edge")


def replication(dsn: str) -> list[Finding]:
    """What `check` finds about replication."""
    found = run_checks(connector(dsn), CheckSettings(), lambda: datetime.now(UTC))
    return [each for each in found if each.name == "replication"]


def publish_everything(connection: Connection) -> None:
    """Create the publication that Debezium and many guides create."""
    connection.execute("set client_min_messages = error; create publication everything for all tables")


@pytest.mark.fault
@pytest.mark.quick
def test_L05_refreshes_go_on_when_every_table_is_published(connection: Connection) -> None:
    """Updates and deletes of our tables without a key succeed after CREATE PUBLICATION … FOR ALL TABLES."""
    changes = Changes(connection, 5)
    incremental.install(connection)
    publish_everything(connection)
    for change in (changes.copy, changes.update, changes.delete, changes.retain):
        change()
        assert not refresh_and_compare(connection)
    incremental.rebuild(connection)
    assert not refresh_and_compare(connection)


@pytest.mark.fault
def test_L05_an_older_install_is_given_its_identities(dsn: str, connection: Connection) -> None:
    """Tables that an older version created without an identity are an error of check, and get one by migrate."""
    Changes(connection, 5).copy()
    incremental.install(connection)
    for table in KEYLESS:
        connection.execute(f"alter table analytics_refresh.{table} replica identity default")
    publish_everything(connection)
    (broken,) = [each for each in replication(dsn) if each.level is Level.ERROR]
    assert "deltas, hour_cells, type_window, window_edge" in broken.text
    incremental.install(connection)
    assert [each for each in replication(dsn) if each.level is Level.ERROR] == []
    Changes(connection, 6).update()
    assert not refresh_and_compare(connection)


@pytest.mark.fault
def test_L05_an_install_begun_after_the_publication_ends(dsn: str, connection: Connection) -> None:
    """The switch is refused with nothing changed, and goes through once it is said that subscribers are prepared."""
    Changes(connection, 5).copy()
    publish_everything(connection)
    with pytest.raises(PublicationError, match=r"publication everything sends .*logical slots: none now") as refused:
        incremental.install(connection)
    assert "create table if not exists analytics_refresh.deltas" in refused.value.subscriber_sql
    assert not incremental.state(connection).built
    assert connection.execute("select to_regclass('analytics_refresh.deltas')").fetchone() == (None,)
    incremental.install(connection, accept_publication=True)
    assert not refresh_and_compare(connection)
    assert incremental.install(connection) == ()


@pytest.mark.fault
@pytest.mark.parametrize("back", [False, True], ids=["resumed", "rolled back"])
@pytest.mark.slow
def test_L05_a_half_done_switch_is_told_and_resumed_or_rolled_back(
    dsn: str, connection: Connection, back: bool
) -> None:
    """What an interrupted switch left is an error of check and a broken contract, not while the switch is running."""
    Changes(connection, 5).copy()

    def unfinished() -> list[str]:
        found = run_checks(connector(dsn), CheckSettings(), lambda: datetime.now(UTC))
        with status_reader(dsn) as reader:
            told = list(reader.installation_problems())
        errors = [each for each in found if each.level is Level.ERROR]
        assert [each.name for each in errors] == ["installation"] * len(told)
        return told

    seen_meanwhile = []

    def interrupt(progress: incremental.InstallProgress) -> None:
        if progress.doing == "build the rollups":
            seen_meanwhile.append(unfinished())
            raise KeyboardInterrupt

    assert unfinished() == []
    with pytest.raises(KeyboardInterrupt):
        incremental.install(connection, progress=interrupt)
    assert seen_meanwhile == [[]]
    (told,) = unfinished()
    assert "migrate --incremental` to go on, or `analytics-refreshd migrate --plain` to take it back" in told
    Changes(connection, 6).insert_many()
    if back:
        incremental.uninstall_to_plain(connection)
        left = "select count(*) from pg_trigger where not tgisinternal and tgrelid = 'action_results'::regclass"
        assert connection.execute(left).fetchone() == (0,)
    else:
        incremental.install(connection)
    assert unfinished() == []
    assert not refresh_and_compare(connection)


@pytest.mark.fault
@pytest.mark.parametrize("ask", [migrate, status, dry_run])
@pytest.mark.slow
def test_L05_migrate_refuses_and_names_the_publication(
    application_dsn: str, ask: Callable[[Connection], object]
) -> None:
    """Nothing is changed where a publication would send our new tables; a publication of other tables is no matter."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        connection.execute("set client_min_messages = error")
        connection.execute("create publication actions for table action_results; create publication q for all tables")
        with pytest.raises(PublicationError, match=r"publication q sends .*--accept-publication") as refused:
            ask(connection)
        assert "create table if not exists analytics_refresh.runs" in refused.value.subscriber_sql
        assert connection.execute("select to_regnamespace('analytics_refresh')").fetchone() == (None,)
        assert replication(application_dsn)[0].level is Level.WARNING
        connection.execute("drop publication q")
        ask(connection)


@pytest.mark.fault
def test_L05_a_new_column_of_a_published_table_is_refused_too(connection: Connection) -> None:
    """A later version that changes what an accepted publication sends asks again, whatever publishes the table."""
    connection.execute("set client_min_messages = error")
    connection.execute("create publication ours for tables in schema analytics_refresh")
    assert migrate(connection).steps == ()
    # as it was before the second version
    connection.execute("drop function analytics_refresh.pause, analytics_refresh.resume")
    connection.execute("drop table analytics_refresh.pauses cascade")
    connection.execute("delete from analytics_refresh.schema_version where version >= 2")
    with pytest.raises(PublicationError, match="publication ours sends") as refused:
        migrate(connection)
    assert "add column if not exists pause_id bigint" in refused.value.subscriber_sql
    report = migrate(connection, accept_publication=True)
    assert any("publication ours sends" in warning for warning in report.warnings)


@pytest.mark.fault
@pytest.mark.slow
def test_L05_the_command_prints_the_sql_of_the_subscriber(application_dsn: str) -> None:
    """The refusal is one sentence on stderr and exit 1; stdout is SQL alone."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        publish_everything(connection)
        refused = command(application_dsn, "migrate")
        assert refused.returncode == 1
        assert "publication everything sends" in refused.stderr
        asked = command(application_dsn, "migrate", "--subscriber-sql")
        assert asked.returncode == 0
        for text in (refused.stdout, asked.stdout):
            with connection.transaction(force_rollback=True):
                connection.execute(text)
                names = "select count(*) from pg_class where relnamespace = 'analytics_refresh'::regnamespace"
                assert (connection.execute(names).fetchone() or (0,))[0] > 8
        assert command(application_dsn, "migrate", "--accept-publication").returncode == 0
        assert command(application_dsn, "migrate", "--incremental").returncode == 1
        assert command(application_dsn, "migrate", "--incremental", "--accept-publication").returncode == 0


@dataclass
class Pair:
    """A publisher with every table published, and a subscriber that receives."""

    publisher: Connection
    publisher_dsn: str
    subscriber: Connection

    def arrives(self, key: str) -> None:
        """Insert an action and wait for it at the subscriber."""
        self.publisher.execute(
            "insert into action_results (id, job_id, action_type, status) values (%s, 'j', 'rest', 'failed')", [key]
        )
        eventually(self._received(key), within=60)

    def _received(self, key: str) -> Callable[[], bool]:
        question = "select count(*) from action_results where id = %s"
        return lambda: self.subscriber.execute(question, [key]).fetchone() == (1,)

    def errors(self) -> int:
        """How often the subscriber's apply worker failed."""
        row = self.subscriber.execute("select apply_error_count from pg_stat_subscription_stats").fetchone()
        return int(row[0]) if row else -1


@pytest.fixture(scope="module")
def logical() -> Iterator[Server]:
    """A server that replicates logically."""
    server = Server(settings={"wal_level": "logical"}).start()
    yield server
    server.destroy()


@pytest.fixture
def pair(logical: Server) -> Iterator[Pair]:
    """Two databases of one server, the second subscribed to every table of the first."""
    with logical.connect() as admin:
        for name in ("publisher", "subscriber"):
            admin.execute(f"create database {name}")
            create_application(logical.dsn(name))
        dsn = logical.dsn("publisher")
        with logical.connect("publisher") as publisher, logical.connect("subscriber") as subscriber:
            publisher.execute("create publication everything for all tables")
            # within one server CREATE SUBSCRIPTION would wait for itself
            publisher.execute("select pg_create_logical_replication_slot('receiver', 'pgoutput')")
            target = " ".join(f"{key}={value}" for key, value in conninfo_to_dict(dsn).items())
            subscriber.execute(
                f"create subscription receiver connection '{target}' publication everything"
                " with (create_slot = false, slot_name = 'receiver')"
            )
            found = Pair(publisher, dsn, subscriber)
            found.arrives("before")
            # the initial copies have slots of their own
            eventually(lambda: len(slots(publisher)) == 1, within=60)
            yield found
            subscriber.execute("alter subscription receiver disable")
            subscriber.execute("alter subscription receiver set (slot_name = none)")
            subscriber.execute("drop subscription receiver")
            eventually(lambda: _dropped(publisher), within=60)
        for name in ("publisher", "subscriber"):
            admin.execute(f"drop database {name} with (force)")


def _dropped(publisher: Connection) -> bool:
    publisher.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")
    return publisher.execute("select count(*) from pg_replication_slots").fetchone() == (0,)


@pytest.mark.fault
@pytest.mark.slow
def test_L05_a_prepared_subscriber_goes_on_receiving(pair: Pair) -> None:
    """Prepared by the printed SQL, it receives through migrate, refreshes, the switch and back; check says so."""
    with pytest.raises(PublicationError, match=r"logical slots: .*receiver \(active\)"):
        migrate(pair.publisher)
    pair.subscriber.execute(subscriber_sql(pair.publisher))
    migrate(pair.publisher, accept_publication=True)
    pair.arrives("migrated")
    pair.publisher.execute("select * from refresh_action_analytics()")
    pair.arrives("refreshed")
    assert [each.level for each in replication(pair.publisher_dsn)] == [Level.OK]
    incremental.install(pair.publisher, accept_publication=True)
    assert not refresh_and_compare(pair.publisher)
    pair.arrives("switched")
    incremental.uninstall_to_plain(pair.publisher)
    pair.arrives("switched back")
    assert pair.errors() == 0


@pytest.mark.fault
@pytest.mark.slow
def test_L05_a_subscriber_that_stops_is_an_error_of_check(pair: Pair) -> None:
    """Unprepared, it stops at our first row; check names the slot that keeps WAL, and the printed SQL ends it."""
    migrate(pair.publisher, accept_publication=True)
    eventually(lambda: pair.errors() > 0, within=60)
    pair.subscriber.execute("alter subscription receiver disable")
    eventually(lambda: [each.level for each in replication(pair.publisher_dsn)] == [Level.ERROR], within=60)
    (told,) = replication(pair.publisher_dsn)
    assert "receiver (not active, keeps" in told.text
    assert told.remedy is not None
    assert "--subscriber-sql" in told.remedy
    pair.subscriber.execute(subscriber_sql(pair.publisher))
    pair.subscriber.execute("alter subscription receiver enable")
    pair.arrives("after")
    eventually(lambda: [each.level for each in replication(pair.publisher_dsn)] == [Level.OK], within=60)


@pytest.mark.fault
@pytest.mark.slow
def test_L05_a_subscription_into_our_tables_is_an_error_of_check(pair: Pair, logical: Server) -> None:
    """A subscriber with views and history of its own is told that another's history comes in."""
    migrate(pair.publisher, accept_publication=True)
    pair.subscriber.execute(subscriber_sql(pair.publisher))
    pair.subscriber.execute("alter subscription receiver refresh publication with (copy_data = false)")
    told = [each for each in replication(logical.dsn("subscriber")) if each.level is Level.ERROR]
    assert [each.text.split(":")[0] for each in told] == ["subscription receiver writes into analytics_refresh"]
    with pytest.raises(MigrationError, match="no row in installation"):
        migrate(pair.subscriber)
