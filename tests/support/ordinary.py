"""Runs the command line as an ordinary user: root may read every file, so that much looks well as root."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_NOBODY = 65534
_PROGRAM = """
import contextlib, importlib, importlib.readers, io, json, os, pkgutil, sys
from pathlib import Path
import analytics_refreshd
# all of it before the change of user: the interpreter's own folder may be root's
for found in pkgutil.walk_packages(analytics_refreshd.__path__, "analytics_refreshd."):
    if not found.name.endswith("__main__") and ".demo" not in found.name:
        importlib.import_module(found.name)
from analytics_refreshd.cli import common
from analytics_refreshd.__main__ import main
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
unchanged, default, results = dict(os.environ), common.DEFAULT_CONFIG, []
for call in json.loads(sys.stdin.read()):
    os.environ.clear()
    os.environ.update(unchanged | call["environment"])
    common.DEFAULT_CONFIG = Path(call["default"]) if call["default"] else default
    sys.argv = ["analytics-refreshd", *call["words"]]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main()
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""


@dataclass(frozen=True)
class Call:
    """One command: its words, its environment, and what stands in for the default configuration's path."""

    words: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    default: str = ""


@dataclass(frozen=True)
class Done:
    """What became of it."""

    returncode: int
    stdout: str
    stderr: str


def commands(*calls: Call, user: int = _NOBODY) -> list[Done]:
    """Run commands one after the other, as `user`, or as who runs the tests where that is not root."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "ANALYTICS_REFRESHD_"))}
    given = [{"words": list(call.words), "environment": call.environment, "default": call.default} for call in calls]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(user)],
        env=kept,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Done(*result) for result in json.loads(done.stdout)]


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that everybody may look into, unlike pytest's own; its files become removable in the end."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            for parent, names, _ in os.walk(folder):
                for name in names:
                    if not Path(parent, name).is_symlink():
                        Path(parent, name).chmod(0o755)
