"""What the user asked of a demo, and its output."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHAOS_ROWS = 20_000
DEFAULT_INTERVAL = "10s"
DEFAULT_HTTP_PORT = 9720
DEFAULT_API_PORT = 9721


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; None means the default.

    `rows` and `log_file` exclude each other. `http_port` is where page and metrics are served, `api_port`
    where the API is. With `warehouse` a ClickHouse runs beside it.
    """

    interval: str = DEFAULT_INTERVAL
    rows: int | None = None
    cycles: int | None = None
    log_file: Path | None = None
    http_port: int | None = None
    api_port: int | None = None
    data: Path | None = None
    warehouse: bool = False
    log_format: str = "json"


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What the user asked of `--chaos`; None means the default.

    Without `minutes` it ends with Ctrl-C. `seed` is the order of what breaks, by default a random one.
    """

    minutes: int | None = None
    seed: int | None = None
    rows: int | None = None
    http_port: int | None = None


class DemoOutput(Protocol):
    """Show the user the demo's progress."""

    def say(self, text: str) -> None:
        """Show a line on standard output."""

    def note(self, text: str) -> None:
        """Show a line on standard error: what the demo is doing."""

    def loading(self, rows: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar over `rows`.

        Yields a function that takes the number of rows done so far.
        """

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table on standard output."""
