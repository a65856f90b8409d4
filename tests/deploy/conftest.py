"""What the live tests need: a Debian tree, the wheel with what it depends on, and a database in reach of both."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker

from tests.deploy.booted import Machine, boot, install
from tests.deploy.support import DEPLOY, copy_sources
from tests.deploy.trees import database_in, debian_tree
from tests.generate.licences import DEBIAN
from tests.support.pip import pip
from tests.support.postgres import Server


@pytest.fixture(scope="session")
def debian() -> Iterator[Path]:
    """A Debian 12 tree with systemd and Python, and nothing of ours."""
    with debian_tree() as tree:
        yield tree


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of what it is made of."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    copy_sources(source)
    pip("wheel", "--no-deps", "--wheel-dir", folder, source)
    (built,) = folder.glob("analytics_refreshd-*.whl")
    return built


@pytest.fixture(scope="session")
def wheels(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, and those that the locks name, for the Python of Debian 12."""
    folder = tmp_path_factory.mktemp("wheels")
    folder.chmod(0o755)
    shutil.copy(wheel, folder)
    for lock in ("api.lock", "build.lock"):
        needed = folder / lock
        needed.write_text(_for_debian((DEPLOY / "container" / lock).read_text()))
        target: list[str | Path] = ["--only-binary", ":all:", "--python-version", "3.11", "--dest", folder]
        pip("download", "--require-hashes", "-r", needed, *target)
        needed.unlink()
    return folder


def _for_debian(lock: str) -> str:
    """A lock without what Debian 12's Python does not need; pip would go by the Python that downloads."""

    def kept(pin: re.Match[str]) -> str:
        return f"{pin[1]} \\{pin[3]}" if Marker(pin[2]).evaluate(DEBIAN) else ""

    return re.sub(r"^(\S+==\S+) ; ([^\\\n]+) \\((?:\n    --hash=.+)+)$", kept, lock, flags=re.MULTILINE)


@pytest.fixture(scope="session")
def machine(debian: Path, wheels: Path) -> Iterator[Machine]:
    """The tree with the program in it, booted."""
    install(debian, wheels)
    with boot(debian) as booted:
        yield booted


@pytest.fixture(scope="module")
def reachable(debian: Path) -> Iterator[Server]:
    """A migrated database with a second socket, in the tree's /var/postgresql."""
    with database_in(debian) as database:
        yield database
