"""What the live tests need: a Debian tree, the wheel with what it depends on, and a database in reach of both."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from analytics_refreshd.demo import loading
from analytics_refreshd.postgres.migrate.run import migrate
from tests.deploy.booted import Machine, boot, install
from tests.deploy.support import DEPLOY, accepted, copy_sources, tool
from tests.support.postgres import Server

PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,procps,iproute2,ca-certificates"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def _needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes namespaces and a system tree")


@pytest.fixture(scope="session")
def debian() -> Iterator[Path]:
    """A Debian 12 tree with systemd and Python, and nothing of ours."""
    _needs_root()
    # not below pytest's own folder, which it closes to every user but its own, the database server's among them
    folder = Path(tempfile.mkdtemp(prefix="refreshd-debian-"))
    folder.chmod(0o755)
    tree = folder / "root"
    sources = [str(path) for path in Path("/etc/apt/sources.list.d").glob("debian.sources")] or [
        "/etc/apt/sources.list"
    ]
    words = ["--mode=root", "--variant=minbase", "--quiet", "--skip=check/empty", f"--include={PACKAGES}", "bookworm"]
    made = subprocess.run(
        [tool("mmdebstrap"), *words, str(tree), *sources], capture_output=True, text=True, check=False
    )
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"no Debian tree can be made here: {made.stderr[-300:]}")
    yield tree
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of what it is made of."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    copy_sources(source)
    accepted(*PIP, "wheel", "--no-deps", "--wheel-dir", folder, source)
    (built,) = folder.glob("analytics_refreshd-*.whl")
    return built


@pytest.fixture(scope="session")
def wheels(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, and those that both locks name, for the Python of Debian 12."""
    folder = tmp_path_factory.mktemp("wheels")
    folder.chmod(0o755)
    shutil.copy(wheel, folder)
    for lock in ("requirements.lock", "build.lock"):
        target: list[str | Path] = ["--only-binary", ":all:", "--python-version", "3.11", "--dest", folder]
        accepted(*PIP, "download", "--require-hashes", "-r", DEPLOY / "container" / lock, *target)
    return folder


@pytest.fixture(scope="session")
def machine(debian: Path, wheels: Path) -> Iterator[Machine]:
    """The tree with the program in it, booted."""
    install(debian, wheels)
    with boot(debian) as booted:
        yield booted


@pytest.fixture(scope="module")
def reachable(debian: Path) -> Iterator[Server]:
    """A migrated database with a second socket, in the tree's /var/postgresql."""
    socket = debian / "var" / "postgresql"
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
