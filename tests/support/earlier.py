"""The program as it was in an earlier version, beside this one: its wheel, unpacked."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, environment
from tests.support.pip import pip

COMMIT = "9777f56"
"""Version 0.1.0."""
_ITS_OWN = ("waitress>=3,<4",)
"""What it depends on and this version does not."""
_ROOT = Path(__file__).parents[2]


def take_out(commit: str, folder: Path, otherwise: str, *paths: str) -> None:
    """Put a commit's files into `folder`; skips the test where neither git nor the history is there."""
    words = ["git", "archive", commit, *paths]
    made = subprocess.run(words, cwd=_ROOT, capture_output=True, check=False) if shutil.which("git") else None
    if made is None or made.returncode != 0:
        pytest.skip(f"no git or no history here to take {commit} from: {otherwise}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=made.stdout, check=True)


@contextmanager
def _source(folder: Path) -> Iterator[Path]:
    """What the wheel is built from, taken out of the history."""
    take_out(COMMIT, folder, "set REFRESHD_TEST_EARLIER_WHEEL to its wheel")
    yield folder


def build_wheel(folder: Path) -> Path:
    """Build the earlier wheel in `folder`; skips the test where there is no history to build it from."""
    with _source(folder) as source:
        words = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "built"), str(source)]
        pip(*words)
    (wheel,) = (folder / "built").glob("*.whl")
    return wheel


def unpacked(folder: Path) -> Path:
    """The folder that holds the earlier program, to be put before all others on Python's path.

    From the wheel that REFRESHD_TEST_EARLIER_WHEEL names, as where tests run from a copy without history.
    """
    given = os.environ.get("REFRESHD_TEST_EARLIER_WHEEL")
    wheel = Path(given) if given else build_wheel(folder)
    words = ["install", "--quiet", "--no-deps", "--target", str(folder / "program"), str(wheel), *_ITS_OWN]
    pip(*words)
    return folder / "program"


class Earlier:
    """The earlier program's commands and daemon, with what this one depends on."""

    def __init__(self, program: Path) -> None:
        self.extra = {"PYTHONPATH": str(program)}

    def command(self, dsn: str, *words: str, **settings: Any) -> "subprocess.CompletedProcess[str]":
        """Run one of its commands to its end."""
        return subprocess.run(
            [sys.executable, "-m", "analytics_refreshd", *words],
            env=environment(dsn, **settings) | self.extra,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def daemon(self, dsn: str, **settings: Any) -> Daemon:
        """Its daemon, started on entry."""
        return Daemon(dsn, extra=self.extra, **settings)
