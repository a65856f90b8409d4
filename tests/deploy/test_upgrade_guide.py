"""The guides' commands for a wheel, run as they are written, where an older program and its wheel lie about."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_refreshd import __version__
from tests.deploy.support import DEPLOY, ROOT

pytestmark = [pytest.mark.fault, pytest.mark.nightly, pytest.mark.timeout(500)]
GUIDES = DEPLOY / "guides"
PREFIX = "/opt/analytics-refreshd"


def commands() -> list[str]:
    """The commands that build the wheel, by install.md, and those that put it in place, by both guides."""
    install, upgrade = ((GUIDES / name).read_text() for name in ("install.md", "upgrade.md"))
    blocks = re.findall(r"```\n(.*?)```", install, re.S)
    build = next(block for block in blocks if "pip wheel" in block).splitlines()
    (installs,) = {line for block in blocks for line in block.splitlines() if "dist/analytics_refreshd-" in line}
    row = next(line for line in upgrade.splitlines() if line.startswith("| systemd |"))
    (upgrades,) = [text for text in re.findall(r"`([^`]+)`", row) if "dist/analytics_refreshd-" in text]
    assert upgrades == installs
    return [*build, upgrades]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the source tree, in which an older version was built before."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(DEPLOY / "container", tmp_path / "deploy" / "container")
    for place in (tmp_path, tmp_path / "dist"):
        place.mkdir(exist_ok=True)
        (place / "analytics_refreshd-0.1.0-py3-none-any.whl").write_bytes(b"not even a wheel")
    return tmp_path


def test_L23_the_guides_commands_put_the_new_program_in_place(source: Path) -> None:
    """The version moves; and where it does not, as between two builds of one's own, the program does."""
    prefix = source / "opt"
    subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)

    def follow() -> None:
        lines = [line.removeprefix("sudo ").replace(PREFIX, str(prefix)) for line in commands()]
        given = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(source)}
        script = "set -euo pipefail\n" + "\n".join(lines)
        done = subprocess.run(
            ["bash", "-c", script], cwd=source, env=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def asked(question: str) -> str:
        words = [str(prefix / "bin/python"), "-c", question]
        return subprocess.run(words, cwd="/", capture_output=True, text=True, check=True).stdout.strip()

    follow()
    assert asked("import analytics_refreshd as it; print(it.__version__)") == __version__
    changed = source / "src" / "analytics_refreshd" / "__init__.py"
    changed.write_text(changed.read_text() + "\nbuilt_again = True\n")
    follow()
    assert asked("import analytics_refreshd as it; print(it.built_again)") == "True"
