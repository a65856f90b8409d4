"""Alert records and deliveries survive in the database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.ports import DeliveryRecord
from analytics_refreshd.postgres.state.alerts import PostgresAlertStore, PostgresDeliveryStore
from analytics_refreshd.postgres.state.leader import PostgresLeader
from tests.support.adapters import connector, session

_NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
_FIRING = AlertRecord(
    Alert.VIEW_STALE,
    "recent_failures",
    AlertState.FIRING,
    Severity.CRITICAL,
    _NOW,
    _NOW + timedelta(minutes=5),
    summary="stale",
    description="12 min old",
    run_id=uuid4(),
)
_PENDING = AlertRecord(Alert.NO_LEADER, "", AlertState.PENDING, Severity.WARNING, _NOW)


def test_records_come_back_as_they_were(dsn: str) -> None:
    """Records are written, changed and removed in one go, and a new session reads the same values."""
    resolved = replace(_FIRING, state=AlertState.RESOLVED, resolved_at=_NOW + timedelta(hours=1))
    with session(dsn) as first:
        store = PostgresAlertStore(first)
        assert store.load() == []
        store.save([_FIRING, _PENDING], [])
        store.save([resolved], [(_PENDING.alert, _PENDING.view)])
    with session(dsn) as second:
        assert PostgresAlertStore(second).load() == [resolved]


def test_L11_a_lead_that_is_over_is_seen(dsn: str, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """By the lock and the start of its holder's session: who holds it now, or that nobody does."""
    holders = [PostgresLeader(connector(dsn)) for _ in range(2)]
    with session(dsn) as shared:
        store = PostgresAlertStore(shared)
        assert not store.lead_over(0)
        reading = holders[0].acquire()
        assert reading.epoch is not None
        assert not store.lead_over(reading.epoch)
        connection.execute("select pg_terminate_backend(pid, 5000) from pg_locks where classid = 2583 and objid = 1")
        assert store.lead_over(reading.epoch)
        after = holders[1].acquire()
        assert after.held
        assert store.lead_over(reading.epoch)
        connection.execute("drop schema analytics_refresh cascade")
        assert store.lead_over(reading.epoch)
        assert not store.lead_over(after.epoch or 0)
    for holder in holders:
        holder.release()


def test_alerts_of_a_newer_version_are_left_alone(dsn: str, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """An alert, and a column, that only a newer version knows disturb nobody and stay."""
    connection.execute("alter table analytics_refresh.alerts add column owner text not null default 'x'")
    connection.execute(
        "insert into analytics_refresh.alerts (alert, state, severity, active_at)"
        " values ('AnalyticsFromTheFuture', 'firing', 'warning', now())"
    )
    with session(dsn) as shared:
        store = PostgresAlertStore(shared)
        store.save([_FIRING], [])
        assert store.load() == [_FIRING]
    assert connection.execute("select count(*) from analytics_refresh.alerts").fetchone() == (2,)


def test_deliveries_are_remembered(dsn: str) -> None:
    """A delivery is kept once per receiver, key and status, with its latest time, for a month."""
    with session(dsn) as shared:
        store, now = PostgresDeliveryStore(shared), datetime.now(UTC)
        store.save([_sent("firing", now)])
        store.save([_sent("firing", now + timedelta(minutes=1)), _sent("resolved", now)])
        store.save([_sent("firing", now)])
        assert sorted(store.load(), key=lambda record: record.status) == [
            _sent("firing", now + timedelta(minutes=1)),
            _sent("resolved", now),
        ]
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute("update analytics_refresh.deliveries set sent_at = now() - interval '31 days'")
        store.save([_sent("again", now)])
        assert store.load() == [_sent("again", now)]


def _sent(status: str, at: datetime) -> DeliveryRecord:
    return DeliveryRecord("ops", "key", status, at)


def test_without_our_schema_nothing_is_kept(application_dsn: str) -> None:
    """Without our schema both stores are empty and accept everything."""
    with session(application_dsn) as shared:
        PostgresAlertStore(shared).save([_FIRING], [(_PENDING.alert, _PENDING.view)])
        assert PostgresAlertStore(shared).load() == []
        PostgresDeliveryStore(shared).save([_sent("firing", datetime.now(UTC))])
        assert PostgresDeliveryStore(shared).load() == []
