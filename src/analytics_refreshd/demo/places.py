"""Say where a running demo can be looked at."""

import shlex
import sys
from pathlib import Path

from analytics_refreshd.demo.ports import HOST
from analytics_refreshd.demo.server import Server

_PACKAGE = "analytics_refreshd"


def where_to_look(server: Server, port: int, file: Path, *, warehouse: bool) -> str:
    """Return lines with addresses and commands. `file` is the daemon's configuration."""
    program = shlex.join([*_program(), "--config", str(file)])
    lines = [
        f"page     http://{HOST}:{port}/",
        f"metrics  http://{HOST}:{port}/metrics",
        f"status   {program} status",
        f"query    {program} query success-rate",
        f"psql     {server.psql}",
    ]
    if warehouse:
        lines.insert(4, f"warehouse  {program} query success-rate --engine warehouse")
    return "\n".join(lines)


def _program() -> list[str]:
    """Return how this program was called, so that another terminal can call it, too."""
    called = Path(sys.argv[0])
    return [str(called.absolute())] if called.name == "analytics-refreshd" else [sys.executable, "-m", _PACKAGE]
