"""Runs tests against a server of another version: `python -m tests.support.other_server PROGRAMS PYTEST-ARGUMENT…`."""

import subprocess
import sys
from pathlib import Path

from tests.support.postgres import Server


def main() -> int:
    """Start a server of these programs, run pytest on it, and remove it."""
    programs, *words = sys.argv[1:]
    server = Server(programs=Path(programs), settings={"max_connections": "200"}).start()
    try:
        done = subprocess.run([sys.executable, "-m", "pytest", f"--dsn={server.dsn()}", *words], check=False)
        return done.returncode
    finally:
        server.destroy()


if __name__ == "__main__":
    raise SystemExit(main())
