"""Where the shipped files lie, and how to find the validators that judge them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SYSTEMD = ROOT / "systemd"
RULES = DEPLOY / "prometheus" / "analytics-refreshd.rules.yaml"
MADE_OF = ("pyproject.toml", "README.md", ".github/LICENSE", "deploy/man", "src")
"""What a wheel is built from."""
DASHBOARD = DEPLOY / "grafana" / "analytics-refreshd.json"


def copy_sources(folder: Path) -> None:
    """Copy what a wheel is built from, as a builder that has nothing else gets it."""
    for name in MADE_OF:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)


def tool(name: str) -> str:
    """Path of a validator, beside this Python or on the PATH; skips the test where it is not installed."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(
    *words: str | Path, feed: str | None = None, cwd: Path | None = None, seconds: float = 110.0
) -> subprocess.CompletedProcess[str]:
    """Run a validator; what it printed, both streams, is in `stdout`."""
    return subprocess.run(
        [str(word) for word in words],
        input=feed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        check=False,
        timeout=seconds,
    )


def accepted(*words: str | Path, feed: str | None = None, cwd: Path | None = None, seconds: float = 110.0) -> str:
    """Run a validator that must find nothing; returns its output."""
    result = run(*words, feed=feed, cwd=cwd, seconds=seconds)
    assert result.returncode == 0, result.stdout
    return result.stdout
