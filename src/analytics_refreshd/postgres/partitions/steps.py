"""Writes the transactions of a conversion, and those that make a month."""

from datetime import datetime

from psycopg import sql

from analytics_refreshd.core.partitions import LOCK_MS, Layout, Lock, Month, Step, default_name, scan_seconds
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block
from analytics_refreshd.postgres.incremental.state import is_installed
from analytics_refreshd.postgres.partitions.layout import WORKING_NAME, Tables, query

_SWAP_SECONDS, _CHECK_SECONDS, _ATTACH_SECONDS = 0.03, 0.005, 0.02
_PATIENT_MS = 2_000
"""Nobody who reads or writes waits behind this one."""


class Steps:
    """Writes the steps for one database. Reads the catalogs, and changes nothing."""

    def __init__(self, connection: Connection, layout: Layout, tables: Tables) -> None:
        self._connection = connection
        self._layout = layout
        self._tables = tables
        self._log = _named(tables.log)
        self._incremental = is_installed(connection)
        self._captured = self._incremental and self._ask("captured", table=tables.log) > 0

    def convert(self) -> Step:
        """Return the step that puts a partitioned table in place.

        What was action_results becomes its DEFAULT partition.
        """
        whole = self._tables.name(WORKING_NAME)
        keys, referred = self._foreign_keys(whole)
        commands = [
            _text("create_whole", whole=_named(whole), table=self._log),
            *self._texts("indexes", source=self._tables.log, target=whole, whole=True),
            *self._texts("rights", source=self._tables.log, target=whole, commented=True),
            *(self._capture(whole) if self._captured else ()),
            _text("short_locks", milliseconds=sql.Literal(LOCK_MS)),
            *keys,
            _text("lock", table=self._log),
            *self._noted(
                _text("rename", table=self._log, name=sql.Identifier(default_name())),
                _text("rename", table=_named(whole), name=sql.Identifier("action_results")),
                _text("attach_default", table=self._log, partition=_named(self._tables.name(default_name()))),
            ),
            *self._texts("api_views", table=self._tables.log),
        ]
        locks = [
            *(Lock("SHARE ROW EXCLUSIVE", name, _SWAP_SECONDS) for name in referred),
            Lock("ACCESS EXCLUSIVE", self._tables.log, _SWAP_SECONDS),
        ]
        return Step("put a partitioned table in the place of action_results", tuple(commands), tuple(locks))

    def month(self, month: Month, default: str | None) -> tuple[Step, ...]:
        """Return the steps that make a month.

        `default` is the quoted name of the DEFAULT partition, None where there is none.
        """
        if default is None:
            return (self._attach(month, None),)
        names = {"table": _named(default), "check": sql.Identifier(month.check)}
        add = _text("add_check", **names, since=_at(month.start), until=_at(month.end))
        short = _text("short_locks", milliseconds=sql.Literal(LOCK_MS))
        patient = _text("short_locks", milliseconds=sql.Literal(_PATIENT_MS))
        validating = Lock("SHARE UPDATE EXCLUSIVE", default, scan_seconds(self._layout.rows))
        return (
            Step(
                f"refuse rows of {month} in the DEFAULT",
                (short, add),
                (Lock("ACCESS EXCLUSIVE", default, _CHECK_SECONDS),),
            ),
            Step(f"read whether it holds none of {month}", (patient, _text("validate", **names)), (validating,)),
            self._attach(month, default),
        )

    def release(self, default: str, checks: tuple[str, ...]) -> Step:
        """Return the step that drops CHECKs which a run left behind: they refuse rows of their months."""
        short = _text("short_locks", milliseconds=sql.Literal(LOCK_MS))
        drops = [_text("drop_check", table=_named(default), check=sql.Identifier(check)) for check in checks]
        locks = (Lock("ACCESS EXCLUSIVE", default, _CHECK_SECONDS),)
        return Step(f"drop what an earlier run left on {default}", (short, *drops), locks)

    def _attach(self, month: Month, default: str | None) -> Step:
        table, template = self._tables.name(month.table), self._tables.template
        _, referred = self._foreign_keys(table)
        attached = [
            _text("attach", table=self._log, partition=_named(table), since=_at(month.start), until=_at(month.end))
        ]
        if default is not None:
            attached.append(_text("drop_check", table=_named(default), check=sql.Identifier(month.check)))
        commands = [
            _text("create_month", month=_named(table), table=self._log),
            *self._texts("indexes", source=template, target=table, whole=False),
            *self._texts("storage", source=template, target=table),
            *self._texts("rights", source=template, target=table, commented=False),
            *([_text("index_failures", table=sql.Literal(table))] if self._captured else []),
            *(self._capture(table) if self._captured else ()),
            _text("short_locks", milliseconds=sql.Literal(LOCK_MS)),
            *self._noted(*attached),
        ]
        locks = [
            *(Lock("SHARE ROW EXCLUSIVE", name, _ATTACH_SECONDS) for name in referred),
            Lock("SHARE UPDATE EXCLUSIVE", self._tables.log, _ATTACH_SECONDS),
            *([Lock("ACCESS EXCLUSIVE", default, _ATTACH_SECONDS)] if default else []),
        ]
        return Step(f"make {table} and attach it", tuple(commands), tuple(locks))

    def _noted(self, *commands: str) -> tuple[str, ...]:
        """Surround commands that change which tables there are, and no row: nothing is built again for it."""
        if not self._incremental:
            return commands
        return (_text("note_capture"), *commands, _text("keep_capture"))

    def _capture(self, table: str) -> tuple[str, ...]:
        return (block("capture", "triggers", table=_named(table)).as_string(),)

    def _foreign_keys(self, target: str) -> tuple[list[str], list[str]]:
        values = {"source": self._tables.log, "target": target}
        rows = self._connection.execute(query("foreign_keys"), values).fetchall()
        return [str(text) for text, _ in rows], sorted({str(name) for _, name in rows})

    def _texts(self, name: str, **values: str | bool) -> list[str]:
        return [str(text) for (text,) in self._connection.execute(query(name), values).fetchall()]

    def _ask(self, name: str, **values: str) -> int:
        row = self._connection.execute(query(name), values).fetchone()
        return int(row[0]) if row else 0


def _text(name: str, /, **names: sql.Composable) -> str:
    return query(name, **names).as_string()


def _named(quoted: str) -> sql.SQL:
    """Return a name that is quoted already."""
    return sql.SQL(quoted)


def _at(moment: datetime) -> sql.Literal:
    return sql.Literal(f"{moment:%Y-%m-%d %H:%M:%S}+00")
