"""This environment's pip."""

import subprocess
import sys
from pathlib import Path

_SECONDS = 600.0
"""It may fetch dozens of packages on a busy machine."""


def pip(*words: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run it. Raises CalledProcessError, after what it said, where it fails and `check` is set."""
    made = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(made, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if check:
        print(done.stdout, done.stderr)
        done.check_returncode()
    return done
