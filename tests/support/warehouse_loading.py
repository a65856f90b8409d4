"""Fills a warehouse's tables with what a PostgreSQL holds, without the daemon that sends."""

import io
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.tables import create, identifier
from tests.support.clickhouse import PASSWORD, USER, serving

_ACTIONS = """
select case when executed_at is null then '-9223372036854775808'
            when executed_at = 'infinity' then '9223372036854775807'
            when executed_at = '-infinity' then '-9223372036854775807'
            else extract(epoch from date_trunc('hour', executed_at, 'UTC'))::bigint::text end,
    trigger_id, action_type, status, duration_ms::text, retry_count::text
from action_results
"""
_SNAPSHOTS: dict[str, tuple[tuple[str, ...], LiteralString]] = {
    "triggers": (
        ("trigger_id", "organization_id", "name", "enabled", "created_at", "first_execution_at", "last_execution_at",
         "batch"),
        """select coalesce(t.id, s.trigger_id), t.organization_id, t.name, t.enabled, t.created_at,
               s.first_execution_at, s.last_execution_at, 3
           from triggers t full join trigger_performance_summary s on s.trigger_id = t.id""",
    ),
    "organizations": (
        ("organization_id", "name", "plan", "batch"),
        "select id, name, plan, 3 from organizations",
    ),
    "recent_failures": (
        ("id", "job_id", "trigger_id", "event_id", "action_type", "error_message", "retry_count", "executed_at",
         "duration_ms", "response_data", "batch"),
        """select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at, duration_ms,
               response_data::text, 3 from recent_failures""",
    ),
    "action_type_distribution": (
        ("action_type", "total_executions", "success_count", "failure_count", "percentage", "avg_duration_ms",
         "total_retries", "last_execution_at", "batch"),
        """select action_type, total_executions, success_count, failure_count, percentage, avg_duration_ms,
               total_retries, last_execution_at, 3 from action_type_distribution""",
    ),
}  # fmt: skip
_LANDING = ("database", "epoch", "batch", "batch_id", "folded_at", "hour_at", "trigger_id", "action_type", "status",
            "duration_ms", "retry_count", "n")  # fmt: skip


@contextmanager
def tables(settings: WarehouseSettings) -> Iterator[None]:
    """Create the warehouse's tables in a database of their own, which is dropped in the end."""
    client = Client(settings)
    create(client)
    try:
        yield
    finally:
        client.execute(f"drop database {identifier(settings.database)}")


@contextmanager
def walled_warehouse(
    connection: psycopg.Connection[Any], folder: Path, names: Sequence[str] = ("shop",)
) -> Iterator[WarehouseSettings]:
    """Serve a warehouse that holds what the PostgreSQL does, under each name, behind its row policies.

    The settings are those of the first name.
    """
    (folder / "password").write_text(PASSWORD)
    with serving(folder / "data", walled="analytics") as server:
        settings = WarehouseSettings(
            names[0], server.url, user=USER, password_file=folder / "password", connect_seconds=60.0
        )
        with tables(settings):
            for name in names:
                load(replace(settings, name=name), connection)
            yield settings


def load(settings: WarehouseSettings, connection: psycopg.Connection[Any]) -> None:
    """Load what the PostgreSQL holds: its actions as batches, with corrections, and the snapshots.

    Of every seventh action something wrong is sent first, and taken back by the last batch, as an update's is.
    """
    client, target, name = Client(settings), identifier(settings.database), settings.name
    rows = connection.execute(_ACTIONS).fetchall()
    _insert(
        client,
        f"{target}.epochs",
        ("database", "epoch", "epoch_id", "base_batch", "folded_at"),
        [(name, 1, uuid.uuid4(), 0, "2026-01-01 00:00:00")],
    )
    wrong = [
        (hour, trigger, kind, status, int(duration or 0) // 2, 9)
        for hour, trigger, kind, status, duration, _ in rows[::7]
    ]
    for number, (sign, batch) in enumerate(((1, wrong), (1, rows), (-1, wrong)), 1):
        head = (name, 1, number, uuid.uuid5(uuid.NAMESPACE_OID, str(number)), f"2026-01-01 00:00:0{number}")
        _insert(client, f"{target}.deltas", _LANDING, [(*head, *row, sign) for row in batch])
    for table, (columns, query) in _SNAPSHOTS.items():
        found = connection.execute(query).fetchall()
        _insert(client, f"{target}.{table}", ("database", *columns), [(name, *row) for row in found])


def _insert(client: Client, table: str, columns: tuple[str, ...], rows: Sequence[Sequence[object]]) -> None:
    lines = "".join("\t".join(_cell(value) for value in row) + "\n" for row in rows)
    if lines:
        client.insert(table, columns, io.BytesIO(lines.encode()))


def _cell(value: object) -> str:
    if value is None:
        return "\\N"
    text = str(value).removesuffix("+00:00")
    for character, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escape)
    return text
