"""Debian trees, and a database in reach of one."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from analytics_refreshd.demo import loading
from analytics_refreshd.postgres.migrate.run import migrate
from tests.deploy.support import tool
from tests.support.postgres import Server

PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,procps,iproute2,ca-certificates"


@contextmanager
def debian_tree() -> Iterator[Path]:
    """Make a Debian 12 tree with systemd and Python, and nothing of ours; it is gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes namespaces and a system tree")
    # not below pytest's own folder, which it closes to every user but its own, the database server's among them
    folder = Path(tempfile.mkdtemp(prefix="refreshd-debian-"))
    folder.chmod(0o755)
    tree = folder / "root"
    sources = [str(path) for path in Path("/etc/apt/sources.list.d").glob("debian.sources")] or [
        "/etc/apt/sources.list"
    ]
    words = ["--mode=root", "--variant=minbase", "--quiet", "--skip=check/empty", f"--include={PACKAGES}", "bookworm"]
    try:
        made = subprocess.run(
            [tool("mmdebstrap"), *words, str(tree), *sources], capture_output=True, text=True, check=False
        )
        if made.returncode:
            pytest.skip(f"no Debian tree can be made here: {made.stderr[-300:]}")
        yield tree
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database_in(tree: Path) -> Iterator[Server]:
    """Run a migrated database with a second socket, in the tree's /var/postgresql."""
    socket = tree / "var" / "postgresql"
    socket.mkdir(exist_ok=True)
    database = Server()
    shutil.chown(socket, database.user or "root")
    database.settings["unix_socket_directories"] = f"{database.folder},{socket}"
    try:
        started = database.start()
        with psycopg.connect(started.dsn(), autocommit=True) as connection:
            loading.create_application(connection, "public")
            migrate(connection, app_schema="public")
        yield database
    except subprocess.CalledProcessError as error:
        log = database.folder / "log"
        raise AssertionError(log.read_text() if log.exists() else error.stderr) from error
    finally:
        database.destroy()
