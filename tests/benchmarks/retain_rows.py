"""What it costs to delete rows in portions: time, WAL, the writers' p99, and how far a standby is behind.

    python -m tests.benchmarks.retain_rows --rows 1000000 --writers 4 --rate 100

Starts a PostgreSQL of its own with a streaming standby, durable as in production, in a temporary folder, and removes
both. Twice `--rows` are in the log, half of them older than `[retention] rows`, and frozen; `retain` deletes these
while writers insert a row at a time. Then `erase` redacts and deletes a person's rows, for its speed. Prints what was
found before and during, and the ratio of the two.
"""

import argparse
import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import psycopg

from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.data import fill
from tests.benchmarks.live_log import live
from tests.benchmarks.refresh_cost import SETTINGS
from tests.conftest import create_application
from tests.support.daemon import command
from tests.support.postgres import Server

_SETTINGS: dict[str, Any] = {
    "schedule__interval": "6h",
    "retention__rows": "60d",
    "retention__horizon": "auto",
    "retention__max_share": 1.0,
}


def _run(dsn: str, *words: str, **more: Any) -> str:
    done = command(dsn, *words, timeout=3600.0, **_SETTINGS, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def _written(connection: psycopg.Connection[Any]) -> float:
    """Return the bytes of WAL so far."""
    row = connection.execute("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8").fetchone()
    return float(row[0]) if row else 0.0


def _retained(dsn: str, connection: psycopg.Connection[Any], options: argparse.Namespace) -> None:
    token = json.loads(_run(dsn, "retain", "--dry-run", "--format", "json"))["token"]
    with live(dsn, writers=options.writers, rate=options.rate, standbys=True) as seen:
        time.sleep(2)
        begun, quiet = time.monotonic(), _written(connection)
        time.sleep(options.before)
        middle, wal = time.monotonic(), _written(connection)
        done = json.loads(_run(dsn, "retain", "--confirm", token, "--format", "json"))
        ended, all_wal = time.monotonic(), _written(connection)
    own = all_wal - wal - (wal - quiet) / (middle - begun) * (ended - middle)
    rows = int(done["rows_deleted"])
    print(seen.told("before", begun, middle))
    print(seen.told("retain", middle, ended))
    print(f"p99 of retain / before: {seen.p99(middle, ended) / seen.p99(begun, middle):.2f}")
    print(
        f"{rows} rows in {done['portions']} portions, {rows / (ended - middle):.0f} a second,"
        f" {own / 1048576:.0f} MiB of WAL ({own / rows:.0f} bytes a row)"
    )


def _erased(dsn: str, connection: psycopg.Connection[Any], key: Path) -> None:
    """Erase some triggers' rows in either mode, without writers."""
    for mode, triggers in (("redact", "trigger-1%"), ("delete", "trigger-2%")):
        connection.execute("insert into users (id, username) values (%s, %s)", [mode, mode])
        connection.execute("update triggers set user_id = %s where id like %s", [mode, triggers])
        asked = ("erase", "--user", mode, "--mode", mode, "--format", "json")
        given = {"retention__erasure_key_file": key}
        token = json.loads(_run(dsn, *asked, "--dry-run", **given))["token"]
        begun, wal = time.monotonic(), _written(connection)
        done = json.loads(_run(dsn, *asked, "--confirm", token, **given))
        seconds, size = time.monotonic() - begun, _written(connection) - wal
        (receipt,) = done["receipts"]
        rows = int(receipt["rows_erased"])
        print(
            f"erase --mode {mode}: {rows} rows in {seconds:.1f} s with the refresh at the end, {rows / seconds:.0f} a"
            f" second, {size / 1048576:.0f} MiB of WAL"
        )


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to be deleted; as many stay")
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="rows a second of each writer")
    parser.add_argument("--before", type=float, default=20.0, help="seconds of writes before")
    options = parser.parse_args()
    server = Server(settings=SETTINGS).start()
    standby: Server | None = None
    try:
        dsn = server.dsn()
        create_application(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            fill(connection, 2 * options.rows)
            connection.execute(
                "update action_results set executed_at = executed_at - interval '70 days' where hashtext(id) % 2 = 0"
            )
            connection.execute("vacuum analyze action_results")
            migrate(connection)
            _run(dsn, "migrate", "--incremental")
            standby = server.standby().start()
            _retained(dsn, connection, options)
            connection.execute("select * from refresh_action_analytics()")
            key = server.folder / "erasure.key"
            key.write_bytes(base64.b64encode(os.urandom(32)))
            key.chmod(0o600)
            _erased(dsn, connection, key)
    finally:
        if standby is not None:
            standby.destroy()
        server.destroy()


if __name__ == "__main__":
    main()
