"""A PgBouncer of a test's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.adapters import address, through
from tests.support.ordinary import open_folder
from tests.support.postgres import free_port
from tests.support.waiting import eventually


@contextmanager
def pooler(dsn: str, mode: str, *extra: str) -> Iterator[str]:
    """A PgBouncer of the test's own in front of the server; yields the URL through it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    # not below pytest's own folder, which each new pytest closes to every user but its own
    with open_folder() as folder:
        yield from _pooler(program, folder, dsn, mode, *extra)


def _pooler(program: str, folder: Path, dsn: str, mode: str, *extra: str) -> Iterator[str]:
    host, port = address(dsn)
    listen = free_port()
    (folder / "users.txt").write_text('"postgres" ""\n')
    lines = [
        "[databases]",
        f"* = host={host} port={port}",
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1\nlisten_port = {listen}\nunix_socket_dir =",
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 5",
        f"ignore_startup_parameters = extra_float_digits\nlogfile = {folder / 'log'}\npidfile =",
        *extra,
    ]
    text = "\n".join(lines).replace("* = host=", f"{conninfo_to_dict(dsn)['dbname']} = user=postgres host=")
    (folder / "pgbouncer.ini").write_text(text)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    process = subprocess.Popen(
        [program, "-q", "-u", "nobody", str(folder / "pgbouncer.ini")]
        if os.geteuid() == 0
        else [program, "-q", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = through(dsn, listen)
    try:
        eventually(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url) as opened:
            return opened.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError as error:
        raise AssertionError(str(error)) from error
