"""The built wheel, installed as people install it: what it packs is all it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_refreshd import __version__
from tests.deploy.support import accepted, copy_sources
from tests.support.daemon import environment
from tests.support.pip import pip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in a virtual environment outside of the source tree."""
    folder = tmp_path_factory.mktemp("installed")
    # this environment's pip does what one of its own would, which takes five seconds to install
    accepted(sys.executable, "-m", "venv", "--without-pip", folder)
    pip("--python", folder / "bin/python", "install", "--quiet", "--no-compile", wheel)
    return folder / "bin/analytics-refreshd"


@pytest.mark.nightly
def test_the_wheel_built_again_is_the_same(wheel: Path, tmp_path: Path) -> None:
    """From another copy of the same sources, byte by byte: who builds it can compare the checksum."""
    source = tmp_path / "source"
    source.mkdir()
    copy_sources(source)
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def says(program: Path, dsn: str, *words: str) -> str:
    """What a command prints on stdout; it must succeed."""
    given = {name: value for name, value in environment(dsn).items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [program, *words], cwd=program.parent, env=given, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_all_that_it_needs(installed: Path, application_dsn: str) -> None:
    """Its SQL, its catalogue and its metadata are in it: it migrates, checks and lists queries away from the source."""
    python = installed.with_name("python")
    where = subprocess.run(
        [python, "-c", "import analytics_refreshd as it; print(it.__file__)"],
        cwd=installed.parent,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout).is_relative_to(installed.parents[1])
    assert __version__ in says(installed, application_dsn, "--version")
    assert "weekly-growth" in says(installed, application_dsn, "query", "--list")
    assert "create materialized view" in says(installed, application_dsn, "migrate", "--dry-run").lower()
    says(installed, application_dsn, "migrate")
    assert "refresh_action_analytics" in says(installed, application_dsn, "check")
