"""Writes what is frozen as text, and takes it into another database."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from itertools import chain
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental import horizon
from analytics_refreshd.postgres.incremental.blocks import block
from analytics_refreshd.postgres.incremental.building import InstallProgress, Report, build, report_to_nobody
from analytics_refreshd.postgres.incremental.commands import Commands
from analytics_refreshd.postgres.incremental.folding import frozen_checksum
from analytics_refreshd.postgres.incremental.horizon import Frozen
from analytics_refreshd.postgres.incremental.state import is_installed
from analytics_refreshd.postgres.incremental.transactions import alone, transaction
from analytics_refreshd.postgres.schema.definitions import Definitions

_FORMAT = "analytics-refreshd frozen figures 1"
_KINDS = ("hour", "trigger", "type", "duration", "retry", "day")
_BATCH = 5_000


def export_frozen(connection: Connection, write: Callable[[str], object]) -> Frozen:
    """Write what is frozen, a JSON object a line, by `write(line)`.

    All of it is of one snapshot. Raises UsageError where nothing is frozen, MigrationError where an older program
    installed this.
    """
    with connection.transaction():
        connection.execute(block("verify", "begin"))
        horizon.refuse_older(connection)
        found = horizon.frozen(connection)
        if found is None:
            raise UsageError("nothing is frozen in this database: there is nothing to export")
        until, checksum, days_since = connection.execute(block("transfer", "header")).fetchall()[0]
        header = {"format": _FORMAT, "frozen_until": until.isoformat(), "days_since": days_since}
        write(json.dumps(header | {"checksum": _seal(header, checksum)}) + "\n")
        with connection.cursor(name="frozen") as cursor:
            cursor.itersize = _BATCH
            for kind, row in cursor.execute(block("transfer", "rows")):
                write(f'{{"{kind}": {row}}}\n')
    return found


def import_frozen(
    connection: Connection,
    app_schema: str,
    lines: Iterable[str],
    *,
    discard_frozen: date | None = None,
    progress: Report | None = None,
) -> Frozen:
    """Take in what `export_frozen` wrote, then build the rollups again.

    Rows older than its horizon count no more: what is taken in holds them. Raises UsageError, with nothing changed,
    where the text is no export or is not whole, where the mode is not incremental, and where figures are frozen here
    already, unless `discard_frozen` is the day of their horizon.
    """
    report = progress or report_to_nobody
    with alone(connection, app_schema) as found:
        if found.mode != "incremental" or not is_installed(connection):
            raise UsageError("frozen figures are taken in by the incremental mode: run migrate --incremental first")
        horizon.refuse_discarding(connection, discard_frozen)
        commands = Commands(Definitions(app_schema, connection.info.server_version), frozen=True)
        with transaction(connection, found.home):
            for each in commands.objects():
                connection.execute(each)
            connection.execute(block("transfer", "empty"))
            _take_in(connection, _parsed(lines))
            for each in (*commands.grants(), commands.record_functions()):
                connection.execute(each)
            report(InstallProgress("take in what was frozen", 1.0))
            taken = horizon.frozen(connection)
            if taken is None:
                raise UsageError("the export holds nothing that is frozen")
        build(connection, report, found.home)
    return taken


def _parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not found:
            raise UsageError(f"line {number} is not one of an export of frozen figures")
        yield found


def _take_in(connection: Connection, objects: Iterator[dict[str, Any]]) -> None:
    header = next(objects, {})
    if header.get("format") != _FORMAT:
        raise UsageError("this is not an export of frozen figures, as migrate --export-frozen writes it")
    try:
        for kind, rows in _batches(objects):
            connection.execute(block("transfer", f"put_{kind}", rows=sql.Literal(json.dumps(rows))))
        finish = block(
            "transfer",
            "finish",
            frozen_until=sql.Literal(str(header["frozen_until"])),
            # an export of before has no days
            days_since=sql.Literal(str(header.get("days_since") or header["frozen_until"])),
            checksum=frozen_checksum(),
        )
        connection.execute(finish)
    except (psycopg.errors.DataError, psycopg.errors.IntegrityError, KeyError) as error:
        raise UsageError(f"the export cannot be taken in: {type(error).__name__}; nothing was changed") from None
    kept, _ = horizon.checksums(connection)
    if _seal(header, kept) != header.get("checksum"):
        raise UsageError("the export is not whole, or was changed: its checksum differs; nothing was changed")


def _seal(header: Mapping[str, Any], checksum: str) -> str:
    """Return a hash of the times in the header and of the checksum of what is frozen."""
    times = " ".join(str(header[name]) for name in ("frozen_until", "days_since") if name in header)
    return hashlib.sha256(f"{times} {checksum}".encode()).hexdigest()


def _batches(objects: Iterator[dict[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield rows of one kind together, so many at a time."""
    kind, rows = "", list[Any]()
    for each in chain(objects, [{}]):
        ((found, row),) = each.items() if len(each) == 1 else (("", None),)
        if each and found not in _KINDS:
            raise UsageError(f"the export has a row of a kind that is not known: {found[:40]!r}")
        if rows and (found != kind or len(rows) == _BATCH):
            yield kind, rows
            rows = []
        kind = found
        rows.append(row)


__all__ = ["export_frozen", "import_frozen"]
