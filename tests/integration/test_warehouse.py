"""A warehouse holds exactly what the rollups were at the last batch that it acknowledged."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.warehouse import WarehouseFault
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Outbox, Retention
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.sender import Sender
from tests.support.clickhouse import ClickHouse, needs_chdb, serving
from tests.support.incremental import Changes
from tests.support.warehouse import Fed, settings

Connection = psycopg.Connection[Any]
pytestmark = [needs_chdb, pytest.mark.slow]


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A ClickHouse with the tables."""
    with serving(tmp_path_factory.mktemp("clickhouse")) as server:
        tables.create(Client(settings(server.url, "none", tmp_path_factory.mktemp("password"))))
        yield server


@pytest.fixture(scope="module")
def fed_template(templates: Callable[..., str], migrated_template: str) -> str:
    """Name of a database in incremental mode, with an outbox."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True) as connection:
        incremental.install(connection, outbox=Outbox(True))
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


@pytest.fixture
def dsn(databases: Callable[..., str], fed_template: str) -> str:
    """A fresh database of that kind."""
    return databases(fed_template)


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    """A connection to it."""
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as opened:
        yield opened


@pytest.fixture
def fed(dsn: str, clickhouse: ClickHouse, tmp_path: Path) -> Iterator[Fed]:
    """The database and its warehouse."""
    name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
    found = Fed(dsn, Client(settings(clickhouse.url, name, tmp_path)))
    yield found
    found.close()


def refresh(connection: Connection) -> None:
    """Refresh all views."""
    failed = connection.execute("select error_message from refresh_action_analytics() where not success").fetchall()
    assert not failed


@pytest.mark.parametrize("cycles", [8, pytest.param(100, marks=pytest.mark.nightly)])
def test_every_cell_is_the_rollups(fed: Fed, connection: Connection, cycles: int) -> None:
    """Random changes, NULLs and TRUNCATE included, leave no cell different, both ways."""
    changes = Changes(connection, 1)
    for cycle in range(cycles):
        changes.truncate() if cycle % 20 == 5 else changes.any()
        changes.insert()
        changes.update()
        if cycle % 3 == 1:
            changes.delete()
        refresh(connection)
        sent = fed.sender.send()
        assert sent is not None
        assert (sent.exported_epoch is not None) >= (cycle in (0, 5))
        report = fed.verify()
        assert report.differences == 0, (cycle, report)
    assert all(table.cells for table in report.tables)


def change_and_refresh(connection: Connection, seed: int) -> None:
    """Change some rows, and fold that."""
    changes = Changes(connection, seed)
    changes.rows = seed * 1000
    changes.insert()
    changes.copy()
    changes.update()
    refresh(connection)


def test_a_batch_counts_once_however_often_it_comes(fed: Fed, connection: Connection, clickhouse: ClickHouse) -> None:
    """Answers that are lost, batches that are cut short, sent five times or late leave every cell as it is."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    for seed in (2, 3, 4):
        change_and_refresh(connection, seed)
    outbox = fed.outbox.state()
    assert outbox is not None
    assert len(outbox.waiting) == 3
    first, second, _ = outbox.waiting
    clickhouse.fault("lose-answer")
    with pytest.raises(WarehouseFault, match="cannot be reached"):
        fed.sender.send()
    bodies = {}
    for batch in (first, second):
        bodies[batch] = io.BytesIO()
        fed.outbox.rows(batch, outbox.epoch, bodies[batch])
    fed.sender.send()
    for batch in (second, first, first, second, first):
        bodies[batch].seek(0, io.SEEK_END)
        fed.warehouse.land(outbox.epoch, batch, bodies[batch])
    assert fed.verify().differences == 0
    found = fed.outbox.state()
    assert found is not None
    assert not found.waiting


def test_batches_that_are_alike_are_two(fed: Fed, connection: Connection) -> None:
    """Two folds of equal rows count twice."""
    fed.sender.send()
    for number in range(2):
        connection.execute(
            "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
            " values (%s, 'job', 'rest', 'success', '2026-03-01 12:34:56+00', 70)",
            [f"alike {number}"],
        )
        refresh(connection)
        fed.sender.send()
    report = fed.verify()
    assert report.differences == 0
    query = "select sum(n) from analytics.hour_durations where database = {name:String}"
    assert fed.client.select(query, name=fed.client.settings.name) == [["2"]]


def test_an_export_goes_on_where_it_was_left(fed: Fed, connection: Connection) -> None:
    """Folds between its parts, and an end after each of them, leave no cell different."""
    change_and_refresh(connection, 1)
    change_and_refresh(connection, 2)
    connection.execute("select analytics_refresh.outbox_start(10)")
    started = fed.outbox.state()
    assert started is not None
    assert started.ranges_left == started.ranges > 3
    for seed in range(3, 3 + started.ranges):
        asked = iter([False, False, False])
        sent = Sender(fed.outbox, fed.warehouse, lambda: next(asked, True)).send()  # noqa: B023
        assert sent is not None
        change_and_refresh(connection, seed)
        if sent.exported_epoch is not None:
            break
    sent = fed.sender.send()
    assert sent is not None
    assert sent.batches >= 2
    assert fed.verify().differences == 0
    found = fed.outbox.state()
    assert found is not None
    assert found.epoch == started.epoch


def test_databases_that_have_parted_begin_a_new_epoch(
    fed: Fed, connection: Connection, databases: Callable[..., str], clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """A copy that lacks the last acknowledged batch is found out, as after a failover, and the warehouse follows it."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    fed.session.close()
    connection.close()
    copied = Fed(
        databases(fed.client.settings.name), Client(settings(clickhouse.url, fed.client.settings.name, tmp_path))
    )
    with psycopg.connect(fed.dsn, autocommit=True) as original, psycopg.connect(copied.dsn, autocommit=True) as copy:
        change_and_refresh(original, 2)
        fed.sender.send()
        change_and_refresh(copy, 3)
        sent = copied.sender.send()
        assert sent is not None
        assert sent.restarted == "the warehouse has a batch that this database has not"
        assert copied.verify().differences == 0
        sent = copied.sender.send()
        assert sent is not None
        assert sent.restarted is None
    copied.close()


def test_a_warehouse_that_lost_batches_is_filled_again(fed: Fed, connection: Connection) -> None:
    """One that was restored, or was emptied, gets all of it again."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    change_and_refresh(connection, 2)
    fed.sender.send()
    epoch = fed.verify().epoch
    for table in ("batches", "deltas", "hour_totals"):
        fed.client.execute(f"alter table analytics.{table} drop partition ('{fed.client.settings.name}', {epoch})")
    assert fed.verify().differences > 0
    sent = fed.sender.send()
    assert sent is not None
    assert sent.restarted == "the warehouse lost batches"
    assert fed.verify().differences == 0


def test_a_full_outbox_is_given_up_and_exported_again(fed: Fed, connection: Connection) -> None:
    """It holds no more than its limit, and nothing while nobody sends."""
    fed.sender.send()
    epoch = fed.verify().epoch
    connection.execute("update analytics_refresh.outbox set rows_limit = 30")
    for seed in range(1, 7):
        change_and_refresh(connection, seed)
    found = fed.outbox.state()
    assert found is not None
    assert (found.recording, found.epoch, found.epoch_reason, found.rows) == (
        False,
        epoch + 1,
        "the outbox was full",
        0,
    )
    assert connection.execute("select count(*) from analytics_refresh.outbox_rows").fetchone() == (0,)
    connection.execute("update analytics_refresh.outbox set rows_limit = 100000")
    sent = fed.sender.send()
    assert sent is not None
    assert sent.exported_epoch == epoch + 1
    assert fed.verify().differences == 0


def test_what_is_frozen_stays_in_the_warehouse(fed: Fed, connection: Connection) -> None:
    """Rows that retention deletes leave their figures there too, in an epoch exported before and one after."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms, retry_count)"
        " select 'old ' || i, 'job', 'rest', 'success', now() - i * interval '7 hours', i, i % 3"
        " from generate_series(1, 300) i"
    )
    refresh(connection)
    fed.sender.send()
    incremental.install(connection, retention=Retention(31 * 86400.0))
    connection.execute("delete from action_results where executed_at < now() - interval '31 days'")
    change_and_refresh(connection, 1)
    fed.sender.send()
    assert fed.verify().differences == 0
    executions = "select sum(n) from analytics.{} where (database, epoch) in (select database, epoch from"
    executions += " analytics.current_epochs) and database = {{name:String}}"

    def counted(table: str) -> str:
        return fed.client.select(executions.format(table), name=fed.client.settings.name)[0][0]

    assert int(counted("hour_totals")) > 300
    assert counted("trigger_hours") == counted("hour_totals")
    before = counted("trigger_hours"), counted("hour_totals"), counted("hour_durations")
    fed.outbox.restart("on request", 0)
    fed.sender.send()
    assert fed.verify().differences == 0
    assert (counted("trigger_hours"), counted("hour_totals"), counted("hour_durations")) == before


def test_without_an_outbox_the_fold_is_as_it_was(dsn: str, connection: Connection) -> None:
    """Dropped, it leaves the functions that are installed without one."""
    query = (
        "select md5(string_agg(p.prosrc, '' order by p.proname)) from pg_proc p"
        " where p.pronamespace = 'analytics_refresh'::regnamespace"
    )
    with_outbox = connection.execute(query).fetchone()
    done = incremental.install(connection, outbox=Outbox(False))
    assert "drop the outbox" in done
    without = connection.execute(query).fetchone()
    assert without != with_outbox
    change_and_refresh(connection, 1)
    assert connection.execute(
        "select count(*) from pg_class"
        " where relnamespace = 'analytics_refresh'::regnamespace and relname like 'outbox%'"
    ).fetchone() == (0,)
    assert "create the outbox" in incremental.install(connection, outbox=Outbox(True))
    assert connection.execute(query).fetchone() == with_outbox
