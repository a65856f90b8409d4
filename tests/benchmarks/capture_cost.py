"""What capture costs a writer: none, this program's, and that of another source tree, turn by turn in one run.

    python tests/benchmarks/capture_cost.py --other ../other-checkout/src --rounds 40 --json result.json

Starts a PostgreSQL of its own with a database for each, durable as in production unless `--processor` asks for the
processor's share alone. Turns are short and many: what else the machine does falls on all alike. Times are the writer's
own, per row; nothing is asserted. `--other` becomes PYTHONPATH, so it may hold more than one folder.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conftest import create_application
from tests.support.postgres import Server

Connection = psycopg.Connection[Any]

SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "512MB"}
SINGLE_ROWS = 100
COPY_ROWS = 1_000
_COLUMNS = "id, job_id, trigger_id, event_id, action_type, status, duration_ms, response_data, retry_count"


def _values(turn: int, number: int) -> list[Any]:
    kind = ("rest", "telegram", "mcp")[number % 3]
    return [f"{turn}-{number}", "job", None, "event", kind, "success", 100 + number % 900, '{"code": 200}', 0]


def _single_rows(connection: Connection, turn: int) -> int:
    marks = sql.SQL(", ").join([sql.Placeholder()] * 9)
    statement = sql.SQL("insert into action_results (" + _COLUMNS + ") values ({})").format(marks)
    for number in range(SINGLE_ROWS):
        connection.execute(statement, _values(turn, number), prepare=True)
    return SINGLE_ROWS


def _copy(connection: Connection, turn: int) -> int:
    with connection.cursor() as cursor, cursor.copy(f"copy action_results ({_COLUMNS}) from stdin") as copy:
        for number in range(COPY_ROWS):
            copy.write_row(_values(turn, number))
    return COPY_ROWS


def _databases(server: Server, other: str | None) -> dict[str, Connection]:
    sources = {"without": None, "with": str(Path(__file__).parents[2] / "src")} | ({"other": other} if other else {})
    connections: dict[str, Connection] = {}
    for name, source in sources.items():
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        dsn = make_conninfo(server.dsn(), dbname=name)
        create_application(dsn)
        if source is not None:
            url = f"postgresql://postgres@127.0.0.1:{server.port}/{name}"
            environment = os.environ | {"PYTHONPATH": source, "ANALYTICS_REFRESHD_DATABASE__URL": url}
            for words in (["migrate"], ["migrate", "--incremental"]):
                program = [sys.executable, "-m", "analytics_refreshd", *words]
                subprocess.run(program, env=environment, check=True, capture_output=True)
        connections[name] = psycopg.connect(dsn, autocommit=True)
    return connections


def _measure(connections: dict[str, Connection], work: Callable[[Connection, int], int], rounds: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in connections}
    rows = 1
    for turn in range(rounds + 1):
        for name in sorted(connections, reverse=bool(turn % 2)):
            started = time.perf_counter()
            rows = work(connections[name], turn)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    found = {name: statistics.median(each) / rows * 1e6 for name, each in seconds.items()}
    ratios = {f"{name} / without": round(each / found["without"], 3) for name, each in found.items()}
    if "other" in found:
        ratios["with / other"] = round(found["with"] / found["other"], 3)
    return {"microseconds_per_row": {name: round(each, 1) for name, each in found.items()}, "ratios": ratios}


def main() -> None:
    """Measure both kinds of writes and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--other", help="src of another checkout, measured beside this one")
    parser.add_argument("--processor", action="store_true", help="wait for no disk: synchronous_commit off")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each; medians are shown")
    parser.add_argument("--json", type=Path, help="file for the result (default: stdout)")
    options = parser.parse_args()
    settings = SETTINGS | ({"synchronous_commit": "off"} if options.processor else {})
    server = Server(settings=settings, folder=Path(tempfile.mkdtemp(prefix="capture-cost-"))).start()
    try:
        connections = _databases(server, options.other)
        result = {
            f"{SINGLE_ROWS} single rows, one transaction each": _measure(connections, _single_rows, options.rounds),
            f"COPY of {COPY_ROWS} rows": _measure(connections, lambda c, turn: _copy(c, 10_000 + turn), options.rounds),
        }
        for connection in connections.values():
            connection.close()
    finally:
        server.destroy()
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
