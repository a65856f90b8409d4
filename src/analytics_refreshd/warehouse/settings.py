"""What the sink to a warehouse is told."""

from dataclasses import dataclass
from pathlib import Path

from analytics_refreshd.core.files import read_small
from analytics_refreshd.core.warehouse import WarehouseFault

_MOST_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class WarehouseSettings:
    """How to reach a ClickHouse over HTTP, and whose figures these are.

    `name` is the daemon's, and the first part of every key there; `database` is the one that the tables are in. The
    password is read from its file for each request, so that a new one needs no restart. `ca_file` is for a server
    whose certificate the system's authorities did not sign. On a `cluster`, `migrate --warehouse` creates the tables on
    all of its servers, and the url leads to the replicas of one shard. With `rows`, closed months of action rows are
    loaded, and kept for `rows_keep_days`.
    """

    name: str
    url: str
    database: str = "analytics"
    user: str = "default"
    password_file: Path | None = None
    ca_file: Path | None = None
    connect_seconds: float = 5.0
    request_seconds: float = 300.0
    keep_days: int = 30
    cluster: str | None = None
    rows: bool = False
    rows_keep_days: int = 400

    def password(self) -> str:
        """Read the password. Raises WarehouseFault."""
        if self.password_file is None:
            return ""
        try:
            return read_small(self.password_file, _MOST_CHARACTERS).decode().strip()
        except (OSError, UnicodeDecodeError):
            raise WarehouseFault(
                "the password of the warehouse cannot be read: look at [warehouse] password_file"
            ) from None
