"""A warehouse holds exactly what the rollups were at the last batch that it acknowledged."""

import io
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.warehouse import CELLS, Sent, WarehouseFault
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Outbox, Retention
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import _SETTINGS, Client
from analytics_refreshd.warehouse.sender import Sender
from analytics_refreshd.warehouse.store import ClickHouseWarehouse
from tests.support.clickhouse import ClickHouse, needs_chdb
from tests.support.incremental import Changes
from tests.support.warehouse import Fed, settings

Connection = psycopg.Connection[Any]
pytestmark = [needs_chdb, pytest.mark.slow]


@pytest.fixture(scope="module")
def dsn_template(fed_template: str) -> str:
    """A database in incremental mode, with an outbox."""
    return fed_template


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


@pytest.mark.parametrize("cycles", [7, pytest.param(100, marks=pytest.mark.nightly)])
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


def test_W02_a_batch_counts_once_however_often_it_comes(
    fed: Fed, connection: Connection, clickhouse: ClickHouse
) -> None:
    """Answers that are lost, batches that are cut short, sent five times or late leave every cell as it is."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    for seed in (2, 3, 4):
        change_and_refresh(connection, seed)
    outbox = fed.outbox.state()
    assert outbox is not None
    assert len(outbox.waiting) == 3
    first, second, _ = outbox.waiting
    bodies = {}
    for batch in (first, second):
        bodies[batch] = io.BytesIO()
        fed.outbox.rows(batch, outbox.epoch, bodies[batch])
    for fault in ("half", "lose answer"):
        held = clickhouse.fault(fault)
        with pytest.raises(WarehouseFault, match="cannot be reached"):
            fed.sender.send()
        assert held.reached.is_set()
        assert fed.warehouse.rows_of(outbox.epoch, first) == (0 if fault == "half" else first.rows)
    assert fed.verify().differences == 0
    sent = fed.sender.send()
    assert sent is not None
    assert (sent.batches, sent.restarted) == (3, None)
    for batch in (second, first, first, second, first, second, second, first, first):
        bodies[batch].seek(0, io.SEEK_END)
        fed.warehouse.land(outbox.epoch, batch, bodies[batch])
    assert fed.verify().differences == 0
    found = fed.outbox.state()
    assert found is not None
    assert not found.waiting


@pytest.mark.parametrize("table", [*CELLS, "batches"])
def test_W02_a_table_that_refused_gets_what_it_missed(fed: Fed, connection: Connection, table: str) -> None:
    """A batch that landed, and that one of the tables fed from it has not, is sent again until all of them have it."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    change_and_refresh(connection, 2)
    outbox = fed.outbox.state()
    assert outbox is not None
    fed.client.execute(f"alter table analytics.{table} add constraint refused check 1 = 0")
    try:
        with pytest.raises(WarehouseFault, match="VIOLATED_CONSTRAINT"):
            fed.sender.send()
    finally:
        fed.client.execute(f"alter table analytics.{table} drop constraint refused")
    there = "select count() from analytics.deltas where database = {name:String} and batch = {batch:UInt64}"
    landed = fed.client.select(there, name=fed.client.settings.name, batch=outbox.waiting[0].batch)
    assert landed == [[str(outbox.waiting[0].rows)]]
    sent = fed.sender.send()
    assert sent is not None
    assert (sent.batches, sent.restarted) == (1, None)
    assert fed.verify().differences == 0


def test_W02_a_batch_of_many_blocks_that_broke_off_is_completed(
    fed: Fed, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was killed has some of them; those count once, and the others come."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    change_and_refresh(connection, 2)
    outbox = fed.outbox.state()
    assert outbox is not None
    (batch,) = outbox.waiting
    assert batch.rows > 12
    blocks = {"max_insert_block_size": "4", "min_insert_block_size_rows": "4", "min_insert_block_size_bytes": "0"}
    monkeypatch.setattr("analytics_refreshd.warehouse.client._SETTINGS", _SETTINGS | blocks)
    whole = io.BytesIO()
    fed.outbox.rows(batch, outbox.epoch, whole)
    part = io.BytesIO(b"".join(whole.getvalue().splitlines(keepends=True)[:8]))
    fed.warehouse.land(outbox.epoch, batch, part)
    assert fed.warehouse.rows_of(outbox.epoch, batch) == 8
    sent = fed.sender.send()
    assert sent is not None
    assert (sent.batches, sent.restarted) == (1, None)
    assert fed.verify().differences == 0


def test_W02_a_part_of_a_batch_is_never_taken_for_all_of_it(fed: Fed, connection: Connection) -> None:
    """Where no sending can complete it any more, all is exported again."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    change_and_refresh(connection, 2)
    outbox = fed.outbox.state()
    assert outbox is not None
    (batch,) = outbox.waiting
    whole = io.BytesIO()
    fed.outbox.rows(batch, outbox.epoch, whole)
    half = io.BytesIO(b"".join(whole.getvalue().splitlines(keepends=True)[: batch.rows // 2]))
    half.seek(0, io.SEEK_END)
    # as a server would that took what came for all: the token is known now
    fed.warehouse.land(outbox.epoch, batch, half)
    sent = fed.sender.send()
    assert sent is not None
    assert (sent.restarted, sent.exported_epoch) == ("the warehouse has a part of a batch", outbox.epoch + 1)
    assert fed.verify().differences == 0


def test_W02_batches_that_are_alike_are_two(fed: Fed, connection: Connection) -> None:
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


def test_W10_databases_that_have_parted_begin_a_new_epoch(
    fed: Fed, connection: Connection, databases: Callable[..., str], clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """A copy that lacks the last acknowledged batch is found out, as after a failover, and the warehouse follows it."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    fed.session.close()
    connection.close()
    copied = Fed(databases(fed.dsn), Client(settings(clickhouse.url, fed.client.settings.name, tmp_path)))
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


def test_W12_a_warehouse_that_lost_batches_is_filled_again(fed: Fed, connection: Connection) -> None:
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


@pytest.mark.parametrize("parts_sent", [1, 1000])
def test_W12_a_warehouse_that_was_emptied_is_filled_again(fed: Fed, connection: Connection, parts_sent: int) -> None:
    """In the middle of an export, or after one that no batch has followed yet."""
    change_and_refresh(connection, 1)
    connection.execute("select analytics_refresh.outbox_start(10)")
    asked = iter([False] * (parts_sent + 1))
    Sender(fed.outbox, fed.warehouse, lambda: next(asked, True)).send()
    name = fed.client.settings.name
    tables_there = "select distinct table, partition from system.parts where database = 'analytics' and active"
    for table, partition in fed.client.select(f"{tables_there} and partition like {{name:String}}", name=f"%{name}%"):
        fed.client.execute(
            f"alter table analytics.{table} drop partition {partition if name != partition else repr(name)}"
        )
    sent = fed.sender.send()
    assert sent is not None
    assert sent.restarted == "the warehouse lost what was exported"
    assert fed.verify().differences == 0
    sent = fed.sender.send()
    assert sent is not None
    assert sent.restarted is None


def test_W11_a_full_outbox_is_given_up_and_exported_again(fed: Fed, connection: Connection) -> None:
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


def test_W11_an_outbox_that_is_full_during_an_export_begins_one_other(fed: Fed, connection: Connection) -> None:
    """The export under way is given up, and the next begins after it; two senders at once export the same one."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    fed.outbox.restart("on request", 0)
    connection.execute("select analytics_refresh.outbox_start(10)")
    before = fed.outbox.state()
    assert before is not None
    done: list[int] = []

    def fill(part: int, of: int) -> None:
        done.append(part)
        if part == 1 and len(done) == 2:
            connection.execute("update analytics_refresh.outbox set rows_limit = 3")
            change_and_refresh(connection, 2)
            connection.execute("update analytics_refresh.outbox set rows_limit = 100000")
            found = fed.outbox.state()
            assert found is not None
            assert (found.recording, found.epoch, found.rows) == (False, before.epoch + 1, 0)

    sent = Sender(fed.outbox, fed.warehouse, progress=fill).send()
    assert sent is not None
    # the part that was under way was the last of the first export, and all of the second came after it
    assert done[:3] == [0, 1, 0]
    assert done[2:] == sorted(done[2:])
    assert sent.exported_epoch == before.epoch + 1
    assert fed.client.select(
        "select epoch from analytics.epochs where database = {name:String} order by epoch",
        name=fed.client.settings.name,
    ) == [[str(before.epoch - 1)], [str(before.epoch + 1)]]
    assert fed.verify().differences == 0


def test_a_batch_that_lost_its_rows_is_exported_again(fed: Fed, connection: Connection) -> None:
    """Somebody emptied the table that holds them: it is not sent for ever."""
    change_and_refresh(connection, 1)
    fed.sender.send()
    change_and_refresh(connection, 2)
    connection.execute("truncate analytics_refresh.outbox_rows")
    steps = itertools.count()
    sent = Sender(fed.outbox, fed.warehouse, stopping=lambda: next(steps) > 20).send()
    assert sent is not None
    assert sent.restarted == "the outbox lost rows of a batch"
    assert sent.exported_epoch is not None
    assert fed.verify().differences == 0


def test_W01_two_senders_at_once_count_nothing_twice(
    fed: Fed, connection: Connection, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """A leader that does not know yet that it leads no more, and the next: during an export, and after it."""
    change_and_refresh(connection, 1)
    connection.execute("select analytics_refresh.outbox_start(10)")
    other = Fed(fed.dsn, Client(settings(clickhouse.url, fed.client.settings.name, tmp_path)))

    def send(each: Fed) -> Sent:
        try:
            sent = each.sender.send()
        finally:
            each.session.close()
        assert sent is not None
        return sent

    with ThreadPoolExecutor(2) as pool:
        for seed in range(2, 6):
            sent = [sending.result() for sending in [pool.submit(send, each) for each in (fed, other)]]
            assert [each.restarted for each in sent] == [None, None]
            change_and_refresh(connection, seed)
    # one that lost its connection, and with it the claim, goes on beside the next
    outbox = fed.outbox.state()
    assert outbox is not None
    (batch,) = outbox.waiting
    body = io.BytesIO()
    fed.outbox.rows(batch, outbox.epoch, body)
    send(other)
    fed.warehouse.land(outbox.epoch, batch, body)
    assert fed.outbox.acknowledge(outbox.epoch, batch.batch) is False
    assert fed.verify().differences == 0
    other.close()


@pytest.mark.parametrize("hour", [3, 15])
def test_what_is_frozen_stays_in_the_warehouse(fed: Fed, connection: Connection, hour: int) -> None:
    """Rows that retention deletes leave their figures there too, in an epoch exported before and one after.

    The days are compared with PostgreSQL's, whether the horizon is before their noon, where they are kept, or after it.
    """
    Changes(connection, 1)
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms,"
        " retry_count) select 'old ' || i, 'job', case when i % 4 > 0 then 'trigger ' || i % 4 end, 'rest', 'success',"
        " case when i > 1 then now() - i * interval '7 hours' end, nullif(i, 9), i % 3 from generate_series(1, 300) i"
    )
    refresh(connection)
    fed.sender.send()
    days = 31 * 86400.0 + (datetime.now(UTC).hour - hour) * 3600.0
    incremental.install(connection, retention=Retention(days, "apply"))
    horizon = connection.execute("select frozen_until from analytics_refresh.incremental").fetchone()
    assert horizon is not None
    assert horizon[0].hour == hour
    connection.execute("delete from action_results where executed_at < %s", horizon)
    change_and_refresh(connection, 1)
    # counted among what is frozen, and there by the hour
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " values ('late', 'job', 'rest', 'failed', %s::timestamptz - interval '90 minutes', 12)",
        horizon,
    )
    refresh(connection)
    assert frozen_days_compared(fed) > 100
    fed.sender.send()
    assert frozen_days_compared(fed) > 100
    executions = "select sum(n) from analytics.{} where (database, epoch) in (select database, epoch from"
    executions += " analytics.current_epochs) and database = {{name:String}}"

    def counted(table: str) -> str:
        return str(fed.client.select(executions.format(table), name=fed.client.settings.name)[0][0])

    assert int(counted("hour_totals")) > 300
    assert counted("trigger_hours") == counted("hour_totals")
    before = counted("trigger_hours"), counted("hour_totals"), counted("hour_durations")
    fed.outbox.restart("on request", 0)
    fed.sender.send()
    assert frozen_days_compared(fed) > 100
    assert (counted("trigger_hours"), counted("hour_totals"), counted("hour_durations")) == before
    fed.client.execute(
        "insert into analytics.trigger_hours (database, epoch, hour_at, action_type, status, frozen, n)"
        " select database, epoch, {day:Int64} + 43200, 'rest', 'success', 1, 1 from analytics.current_epochs"
        " where database = {name:String}",
        name=fed.client.settings.name,
        day=20_000 * 86_400,
    )
    found = fed.verify().tables[-1]
    assert (found.missing, found.extra) == (0, 1)
    assert found.first[0][1]["day_at"] == str(20_000 * 86_400)


def frozen_days_compared(fed: Fed) -> int:
    """Hold that no cell differs; returns how many frozen days of triggers were compared."""
    report = fed.verify()
    assert report.differences == 0, report
    assert report.tables[-1].table == "trigger_hours, frozen days"
    return report.tables[-1].cells


def test_who_may_fold_may_send(dsn: str, connection: Connection) -> None:
    """A role that may refresh gets what a sender needs of the outbox, the rollups, and what of them is frozen."""
    role = f"sender_{psycopg.conninfo.conninfo_to_dict(dsn)['dbname']}"
    connection.execute(f"create role {role}")
    try:
        connection.execute(f"grant execute on function refresh_action_analytics() to {role}")
        incremental.install(connection, outbox=Outbox(True))
        incremental.install(connection, retention=Retention(31 * 86400.0))
        tables_read = ("outbox", "outbox_batches", "outbox_rows", "outbox_sender", "outbox_ranges", "hour_cells",
                       "trigger_cells", "duration_counts", "retry_counts", "deltas", "incremental", "frozen_hours",
                       "frozen_series", "frozen_days")  # fmt: skip
        for table in tables_read:
            query = "select has_table_privilege(%s, 'analytics_refresh.' || %s, 'select')"
            assert connection.execute(query, [role, table]).fetchone() == (True,), table
        functions = ("outbox_restart(text, integer)", "outbox_start(bigint)", "outbox_range_sent(integer, integer)",
                     "outbox_acknowledge(integer, bigint)", "fold()")  # fmt: skip
        for function in functions:
            query = "select has_function_privilege(%s, 'analytics_refresh.' || %s, 'execute')"
            assert connection.execute(query, [role, function]).fetchone() == (True,), function
        settle = "select has_function_privilege(%s, 'analytics_refresh.outbox_settle()', 'execute')"
        assert connection.execute(settle, [role]).fetchone() == (False,)
    finally:
        connection.execute(f"drop owned by {role}")
        connection.execute(f"drop role {role}")


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


def test_how_long_rows_stay_can_be_changed(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """What is older than `keep` says goes, in tables that were made with another one."""
    made = replace(settings(clickhouse.url, "shop", tmp_path), database="kept", keep_days=30, rows_keep_days=400)
    client = Client(made)
    client.execute("create database kept")
    for name in ("deltas", "action_results", "incoming"):
        text = tables.filled(tables.statements()[name], made)
        client.execute(text.replace("{target}", "kept").replace("{table}", "action_results"))
    try:
        assert tables.keep(client) == []
        client.execute(
            "insert into kept.deltas"
            " (database, epoch, batch, batch_id, folded_at, hour_at, action_type, status, n, landed_at)"
            " select 'shop', 1, number, generateUUIDv4(), now(), 0, 'rest', 'success', 1, now() - interval number day"
            " from numbers(20)"
        )
        shorter = Client(replace(made, keep_days=10, rows_keep_days=90))
        assert tables.keep(shorter) == ["deltas", "action_results", "action_results_incoming"]
        client.execute("optimize table kept.deltas final")
        assert client.one("select count() from kept.deltas", int) == [10]
        assert tables.keep(shorter) == []
        assert tables.keep(client) == ["deltas", "action_results", "action_results_incoming"]
    finally:
        client.execute("drop database kept")


def test_only_older_epochs_of_the_same_database_go(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """Whatever characters its name has, and whatever others are called."""
    names = ["it's", "it\\s", "1)", "it"]
    for name in names:
        client = Client(settings(clickhouse.url, name, tmp_path))
        client.execute(
            "insert into analytics.hour_totals (database, epoch, hour_at, action_type, status, n)"
            " select {name:String}, arrayJoin([1, 2, 3]), 0, 'rest', 'success', 1",
            name=name,
        )
    left = "select groupArray(toString(epoch)) from (select distinct epoch from analytics.hour_totals"
    left += " where database = {name:String} order by epoch)"
    for number, name in enumerate(names):
        client = Client(settings(clickhouse.url, name, tmp_path))
        ClickHouseWarehouse(client)._drop_older(3)
        for other, each in enumerate(names):
            expected = "['3']" if other <= number else "['1','2','3']"
            assert client.one(left, str, name=each) == [expected], (name, each)
