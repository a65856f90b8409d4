"""Run a ClickHouse beside the demo, and bring the demo's figures there."""

import shlex
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from analytics_refreshd.app.commands import migrate
from analytics_refreshd.app.commands import warehouse as command
from analytics_refreshd.config import Config
from analytics_refreshd.core.warehouse import WarehouseFault
from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.child import FollowingProcess
from analytics_refreshd.demo.clickhouse import USER, installed
from analytics_refreshd.demo.ports import HOST

EXTRA = "demo-warehouse"
_WITHIN_SECONDS = 120.0
_EVERY_SECONDS = 0.1


def require() -> None:
    """Refuse where ClickHouse is not installed. Raises DemoError with the command that installs it."""
    if not installed():
        install = shlex.join([sys.executable, "-m", "pip", "install", f"analytics-refreshd[{EXTRA}]"])
        raise DemoError(
            "--warehouse needs a ClickHouse, which is not installed: run "
            f"{install} (560 MB, and 330 MB more for the packages that it needs)"
        )


class ClickHouse(FollowingProcess):
    """A ClickHouse as a child that ends with the demo. `folder` is the demo's: its data go with it."""

    module = "analytics_refreshd.demo.clickhouse"

    def __init__(self, folder: Path, held: socket.socket, password: str) -> None:
        super().__init__()
        self._folder = folder
        self._held = held
        self._port: int = held.getsockname()[1]
        self._password = folder / "warehouse-password"
        self._log = folder / "clickhouse.log"
        self._password.touch(0o600)
        self._password.write_text(password)

    @property
    def settings(self) -> dict[str, object]:
        """Return the section `[warehouse]` for it."""
        return {"url": f"http://{HOST}:{self._port}", "user": USER, "password_file": str(self._password)}

    def start(self) -> None:
        """Start it on the port that was held for it."""
        self._held.close()
        self.begin(str(self._folder / "clickhouse"), str(self._password), str(self._port), log=self._log)

    def fill(self, config: Config, note: Callable[[str], None]) -> None:
        """Wait for it, and bring all figures there. Raises DemoError and RefreshdError."""
        note("Bringing the figures to ClickHouse …")
        self._wait(config)
        migrate.switch(
            config,
            to_incremental=True,
            replace=False,
            accept_publication=False,
            discard_frozen=None,
            told=lambda step: None,
        )
        command.install(config, told=lambda step: None)
        command.send(config)

    def _wait(self, config: Config) -> None:
        until = time.monotonic() + _WITHIN_SECONDS
        while self.is_running() and time.monotonic() < until:
            with suppress(WarehouseFault):
                command.version(config)
                return
            time.sleep(_EVERY_SECONDS)
        said = self._log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
        raise DemoError(f"ClickHouse does not start: {said[-1]}")
