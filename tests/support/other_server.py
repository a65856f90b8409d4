"""Runs tests against a server of another version: `python -m tests.support.other_server 16 PYTEST-ARGUMENT…`."""

import subprocess
import sys

from tests.support.postgres import PROGRAMS, Server


def main() -> int:
    """Start a server of this version, run pytest on it, and remove it."""
    version, *words = sys.argv[1:]
    server = Server(programs=PROGRAMS[int(version)], settings={"max_connections": "200"}).start()
    try:
        done = subprocess.run([sys.executable, "-m", "pytest", f"--dsn={server.dsn()}", *words], check=False)
        return done.returncode
    finally:
        server.destroy()


if __name__ == "__main__":
    raise SystemExit(main())
