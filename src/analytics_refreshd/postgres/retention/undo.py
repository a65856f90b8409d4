"""Puts a partition back that `retain` took."""

from collections.abc import Callable

import psycopg
from psycopg import sql

from analytics_refreshd.core.errors import MigrationError, UsageError
from analytics_refreshd.core.partitions import LOCK_MS, Lock, Month, Step, scan_seconds
from analytics_refreshd.core.retention_months import Months, OldPartition, Record, unmarked
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.incremental.commands import block
from analytics_refreshd.postgres.incremental.state import is_installed
from analytics_refreshd.postgres.incremental.transactions import alone, transaction
from analytics_refreshd.postgres.partitions.carrying import carry_out
from analytics_refreshd.postgres.partitions.layout import Tables, query, read
from analytics_refreshd.postgres.retention.months import records
from analytics_refreshd.postgres.schema.definitions import compose

_CHECK_SECONDS, _ATTACH_SECONDS = 0.005, 0.02


def put_back(connection: Connection, app_schema: str, asked: str, *, told: Callable[[str], None]) -> OldPartition:
    """Attach the table that `asked` names where it was.

    `asked` is a month such as `2026-05`, or a table. Returns it. Can be repeated wherever it ended. `connection` is
    idle and in autocommit mode. Raises UsageError where there is no such table, and MigrationError where rows of its
    time came meanwhile, or a lock could not be had.
    """
    with alone(connection, app_schema) as found:
        with transaction(connection, found.home):
            layout, tables, _ = read(connection, app_schema)
            ((recorded,),) = connection.execute(blocks("retention/months.sql")["recorded"]).fetchall()
            months = Months(layout.now, (), records(connection) if recorded else ())
            record = months.to_put_back(asked)
            if record is None:
                there = ", ".join(months.waiting()) or "none"
                raise UsageError(f"{asked} is no month that can be put back; there is {there}")
            default = tables.template if layout.default else None
            steps = _steps(connection, tables, record, default, layout.rows)
        try:
            for step in steps:
                told(step.title)
                carry_out(connection, found.home, step)
        except (MigrationError, psycopg.Error) as error:
            if default is not None:
                carry_out(connection, found.home, _released(default, record))
            if isinstance(error, psycopg.errors.CheckViolation):
                raise MigrationError(
                    f"{record.partition} cannot be put back: rows of its time came into {default} meanwhile; delete or"
                    " move them, then run this again"
                ) from None
            raise
        return record.partition


def _check(record: Record) -> sql.Identifier:
    """Return the name of the CHECKs, which a run of `partitions` drops where they were left behind."""
    return sql.Identifier(Month.of(record.partition.since or record.partition.until).check)


def _steps(connection: Connection, tables: Tables, record: Record, default: str | None, rows: int) -> tuple[Step, ...]:
    partition = record.partition
    table = sql.Identifier(partition.schema, partition.name)
    since = sql.Literal("-infinity" if partition.since is None else partition.since.isoformat())
    bounds = {"since": since, "until": sql.Literal(partition.until.isoformat())}
    check = {"check": _check(record)}
    short = _text("short_locks", milliseconds=sql.Literal(LOCK_MS))
    own = table.as_string()
    steps = [
        Step(
            f"read whether {partition} holds its own time alone",
            (short, _text("drop_check", table=table, **check), _text("add_bounds", table=table, **check, **bounds)),
            (Lock("ACCESS EXCLUSIVE", own, scan_seconds(partition.rows)),),
        )
    ]
    attached = [
        _text("attach", table=_quoted(tables.log), partition=table, **_from(partition, bounds)),
        _text("drop_check", table=table, **check),
    ]
    if default is not None:
        whole = {"table": _quoted(default), **check}
        steps += [
            Step(
                f"refuse rows of {partition} in the DEFAULT",
                (short, _text("drop_check", **whole), _text("add_check", **whole, **bounds)),
                (Lock("ACCESS EXCLUSIVE", default, _CHECK_SECONDS),),
            ),
            Step(
                "read whether it holds none",
                (_text("validate", **whole),),
                (Lock("SHARE UPDATE EXCLUSIVE", default, scan_seconds(rows)),),
            ),
        ]
        attached.append(_text("drop_check", **whole))
    noted = _of_months("note_returned", month_id=sql.Literal(record.month_id))
    names = {"partition": own}
    ((comment,),) = connection.execute(blocks("retention/months.sql")["comment_of"], names).fetchall()
    cleared = _of_months("comment", partition=table, comment=sql.Literal(unmarked(comment)))
    commands = (short, *_captured(connection, table), *attached, cleared, noted)
    steps.append(Step(f"attach {partition}", commands, (Lock("SHARE UPDATE EXCLUSIVE", tables.log, _ATTACH_SECONDS),)))
    return tuple(steps)


def _captured(connection: Connection, table: sql.Identifier) -> tuple[str, ...]:
    """Return what gives the table our triggers again, if `migrate` took them off it."""
    if not is_installed(connection):
        return ()
    names = {"partition": table.as_string()}
    ((triggers,),) = connection.execute(blocks("retention/months.sql")["triggers"], names).fetchall()
    return () if triggers else (block("capture", "triggers", table=table).as_string(),)


def _from(partition: OldPartition, bounds: dict[str, sql.Literal]) -> dict[str, sql.Composable]:
    return {**bounds, "since": sql.SQL("minvalue") if partition.since is None else bounds["since"]}


def _released(default: str, record: Record) -> Step:
    drop = _text("drop_check", table=_quoted(default), check=_check(record))
    return Step("let rows of it in again", (_text("short_locks", milliseconds=sql.Literal(LOCK_MS)), drop))


def _quoted(name: str) -> sql.SQL:
    return sql.SQL(name)


def _of_months(name: str, /, **names: sql.Composable) -> str:
    return compose(blocks("retention/months.sql")[name], **names).as_string()


def _text(name: str, /, **names: sql.Composable) -> str:
    return query(name, **names).as_string()
