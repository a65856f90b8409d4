"""The action rows of closed months in a warehouse are those of the database, a month replaced as a whole."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest

from analytics_refreshd.core.warehouse import Range, Sent
from analytics_refreshd.core.warehouse_rows import Month, RowSource
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Retention
from analytics_refreshd.postgres.state.outbox_months import PostgresMonths
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.months import ClickHouseMonths
from analytics_refreshd.warehouse.rows import MonthLoader
from analytics_refreshd.warehouse.sender import Sender
from tests.support.clickhouse import ClickHouse, needs_chdb
from tests.support.incremental import Changes
from tests.support.warehouse import Fed, settings

Connection = psycopg.Connection[Any]
pytestmark = [needs_chdb, pytest.mark.slow]
KEEP_SECONDS = 400 * 86_400.0
_ROWS = """
select to_char(executed_at at time zone 'UTC', 'YYYYMM') as month,
    to_char(executed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), coalesce(trigger_id, '-'), action_type, status,
    coalesce(duration_ms::text, '-'), coalesce(retry_count::text, '-')
from action_results
where date_trunc('month', executed_at, 'UTC') + interval '1 month 1 day' <= now()
    and executed_at > now() - interval '300 days'
"""
_THERE = """
select toString(month), toString(executed_at), ifNull(trigger_id, '-'), action_type, status,
    ifNull(toString(duration_ms), '-'), ifNull(toString(retry_count), '-')
from analytics.action_results where database = {name:String}
"""
_CELLS = """
select month, count() from (
    select toYYYYMM(toDateTime(hour_at, 'UTC')) as month, hour_at, trigger_id, action_type, status, sum(n), sum(timed),
        sum(duration_total), sum(retry_total), sum(retried)
    from (
        select hour_at, trigger_id, action_type, status, n, timed, duration_total, retry_total, retried
        from analytics.trigger_hours
        where (database, epoch) in (select database, epoch from analytics.current_epochs) and database = {name:String}
            and frozen = 0 and hour_at between 0 and 4102444800
        union all
        select toUnixTimestamp(toStartOfHour(executed_at)), trigger_id, action_type, status, -count(),
            -count(duration_ms), -sum(ifNull(duration_ms, 0)), -sum(ifNull(retry_count, 0)), -countIf(retry_count > 0)
        from analytics.action_results where database = {name:String} group by 1, 2, 3, 4)
    where month in (select month from analytics.action_results where database = {name:String})
    group by month, hour_at, trigger_id, action_type, status
    having sum(n) <> 0 or sum(timed) <> 0 or sum(duration_total) <> 0 or sum(retry_total) <> 0 or sum(retried) <> 0)
group by month
"""


class Loading:
    """A database whose rows are loaded in small parts. `between` is called before each of them."""

    def __init__(self, fed: Fed, connection: Connection) -> None:
        self.fed, self.connection = fed, connection
        self.changes = Changes(connection, 7)
        self.between: Callable[[], None] = lambda: None
        self.store = ClickHouseMonths(fed.client)
        self.sender = self.sending(
            Slowly(PostgresMonths(fed.session, KEEP_SECONDS, portion=40), lambda: self.between())
        )

    def sending(self, source: RowSource | None) -> Sender:
        """Another sender: of another process."""
        return Sender(self.fed.outbox, self.fed.warehouse, rows=MonthLoader(source, self.store))

    def change(self) -> None:
        """Change rows of many months, and fold that."""
        for _ in range(6):
            self.changes.insert()
        self.changes.update()
        self.changes.delete()
        self.refresh()

    def refresh(self) -> None:
        """Fold what changed."""
        failed = self.connection.execute("select error_message from refresh_action_analytics() where not success")
        assert not failed.fetchall()

    def send(self) -> Sent:
        """Send all that waits."""
        sent = self.sender.send()
        assert sent is not None
        return sent

    def exact(self) -> None:
        """Hold that each closed month's rows are those of the database, and what the cells say."""
        rows = Counter(tuple(row) for row in self.connection.execute(_ROWS).fetchall())
        there = self.there()
        assert rows
        assert there == rows
        assert self.fed.client.select(_CELLS, name=self.fed.client.settings.name) == []

    def there(self) -> Counter[tuple[str, ...]]:
        """The rows in the warehouse."""
        found = self.fed.client.select(_THERE, name=self.fed.client.settings.name)
        return Counter(tuple(row) for row in found)


class Slowly:
    """A source that lets something happen before each part."""

    def __init__(self, source: PostgresMonths, between: Callable[[], None]) -> None:
        self._source, self._between = source, between
        self.months, self.parts, self.moved = source.months, source.parts, source.moved

    def write(self, month: Month, part: Range, body: IO[bytes]) -> int:
        """Write a part, late."""
        self._between()
        return self._source.write(month, part, body)


@pytest.fixture
def loading(
    databases: Callable[..., str], fed_template: str, clickhouse: ClickHouse, tmp_path: Path
) -> Iterator[Loading]:
    """A database with rows of several months, and its warehouse."""
    dsn = databases(fed_template)
    name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
    fed = Fed(dsn, Client(settings(clickhouse.url, name, tmp_path)))
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        found = Loading(fed, connection)
        # three closed months in any case, with more hours than one part holds
        connection.execute(
            "insert into action_results"
            " (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)"
            " select 'old ' || i, 'job', case when i % 9 > 0 then 'trigger ' || i % 9 + 1 end, 'rest',"
            " case when i % 7 = 0 then 'failed' else 'success' end, now() - i * interval '7 hours', i, i % 3"
            " from generate_series(1, 500) i"
        )
        found.refresh()
        yield found
    fed.close()


def test_closed_months_are_there(loading: Loading) -> None:
    """Newest first, without the open one; a second run has nothing to do."""
    sent = loading.send()
    assert len(sent.months) >= 3
    assert list(sent.months) == sorted(sent.months, reverse=True)
    loading.exact()
    assert loading.send().months == ()
    assert loading.sending(PostgresMonths(loading.fed.session, KEEP_SECONDS)).send() == Sent()


def test_a_month_whose_cells_moved_is_replaced(loading: Loading) -> None:
    """That one alone, for a row that came late, changed or went."""
    months = loading.send().months
    month = months[1]
    within = f"to_char(executed_at at time zone 'UTC', 'YYYYMM') = '{month}'"
    for change in (
        f"update action_results set status = 'retrying' where id = (select max(id) from action_results where {within})",
        f"delete from action_results where id = (select min(id) from action_results where {within})",
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        f" select 'late', 'job', 'mcp', 'failed', max(executed_at) from action_results where {within}",
    ):
        loading.connection.execute(change)
        loading.refresh()
        assert loading.send().months == (month,)
        loading.exact()
    # of many months at once
    loading.change()
    assert len(loading.send().months) > 1
    loading.exact()


def test_batches_go_before_rows(loading: Loading) -> None:
    """While months are loaded, what is folded is sent between their parts; a month that moved waits its turn."""
    lags: list[int] = []
    moved: list[None] = []

    def between() -> None:
        outbox = loading.fed.outbox.state()
        assert outbox is not None
        lags.append(len(outbox.waiting))
        if len(moved) < 2:
            loading.change()
            moved.append(None)

    loading.between = between
    sent = loading.send()
    assert sent.batches >= 2
    assert max(lags) == 0
    while loading.send().months:
        pass
    loading.exact()


def test_what_moves_while_it_is_read_is_not_shown(loading: Loading) -> None:
    """A row that went from a part that is read into one that is not would be there twice: the month is read again."""
    loading.send()
    before = loading.there()
    (month,) = loading.connection.execute(
        "select to_char(max(executed_at) at time zone 'UTC', 'YYYYMM') from action_results"
        " where date_trunc('month', executed_at, 'UTC') + interval '1 month 1 day' <= now()"
    ).fetchone() or ("",)
    within = f"to_char(executed_at at time zone 'UTC', 'YYYYMM') = '{month}'"
    loading.connection.execute(f"update action_results set retry_count = 9 where {within}")
    loading.refresh()
    calls: list[None] = []

    def between() -> None:
        calls.append(None)
        if len(calls) == 2:
            loading.connection.execute(
                f"update action_results set executed_at = (select max(executed_at) from action_results where {within})"
                f" where id = (select id from action_results where {within} order by executed_at limit 1)"
            )

    loading.between = between
    assert loading.send().months == ()
    assert len(calls) >= 2
    assert loading.there() == before
    loading.refresh()
    assert loading.send().months == (int(month),)
    loading.exact()


def test_two_who_load_one_month_show_neither(loading: Loading) -> None:
    """A process that lost its leadership and does not know: what both loaded would be there twice."""
    held: list[None] = []

    def between() -> None:
        if not held:
            held.append(None)
            month = loading.store
            source = PostgresMonths(loading.fed.session, KEEP_SECONDS)
            wanted = max(source.months(), key=lambda each: each.month)
            body = io.BytesIO()
            source.write(wanted, source.parts(wanted)[0], body)
            month.add("another", body)

    loading.between = between
    assert loading.send().months == ()
    assert loading.there() == Counter()
    loading.send()
    loading.exact()


def test_retention_and_erasure_reach_it(loading: Loading) -> None:
    """Months before the horizon go, a new epoch loads all again, and switched off nothing stays."""
    months = loading.send().months
    incremental.install(loading.connection, retention=Retention(45 * 86_400.0))
    loading.refresh()
    loading.connection.execute("delete from action_results where executed_at < now() - interval '46 days'")
    loading.refresh()
    loading.send()
    horizon = loading.connection.execute(
        "select to_char(frozen_until at time zone 'UTC', 'YYYYMM')::int from analytics_refresh.incremental"
    ).fetchone()
    assert horizon is not None
    assert set(loading.store.held()) == {month for month in months if month >= horizon[0]}
    assert len(loading.store.held()) < len(months)
    loading.fed.outbox.restart("on request", 0)
    assert set(loading.send().months) == {month for month in months if month >= horizon[0]}
    loading.sending(None).send()
    assert loading.store.held() == []
    assert loading.there() == Counter()


def test_verify_compares_the_rows_of_closed_months(loading: Loading) -> None:
    """By the hour, as of the last batch: what is not folded or not sent yet makes no difference."""
    months = loading.send().months
    fed = Fed(loading.fed.dsn, Client(replace(loading.fed.client.settings, rows=True)))
    try:
        report = fed.verify()
        found = report.tables[-1]
        assert (found.table, report.differences, report.months_due) == ("action_results", 0, ())
        assert found.cells > 100
        # one is not folded, the other folded and not sent
        loading.connection.execute("update action_results set duration_ms = 1 where id like 'old 1%'")
        loading.refresh()
        loading.connection.execute("delete from action_results where id like 'old 2%'")
        report = fed.verify()
        assert (report.differences, report.months_due) == (0, ())
        # sent, and the months that it changed are not loaded again yet
        loading.fed.sender.send()
        report = fed.verify()
        assert report.differences == 0
        assert report.months_due
        assert set(report.months_due) <= set(months)
        loading.refresh()
        loading.send()
        report = fed.verify()
        assert (report.differences, report.months_due) == (0, ())
        loading.fed.client.execute(
            "insert into analytics.action_results select * replace ('other' as status) from analytics.action_results"
            " where database = {name:String} and month = {month:UInt32} order by executed_at limit 1",
            name=fed.client.settings.name,
            month=months[1],
        )
        found = fed.verify().tables[-1]
        assert (found.missing, found.extra) == (0, 1)
        assert found.first[0][1]["status"] == "other"
        loading.store.drop(months[1])
        found = fed.verify().tables[-1]
        assert found.missing > 0
        assert found.extra == 0
    finally:
        fed.close()
