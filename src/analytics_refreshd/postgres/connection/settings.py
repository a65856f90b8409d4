"""What libpq is told: from the configuration, with defaults that neither hang nor leak."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import conninfo, pq

from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.postgres.connection.passwords import password_from_command, password_from_file

_HEAD = "analytics-refreshd"
_NAME_BYTES = 63
_LIBPQ_LEAST_SECONDS = 2
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_CERTAIN_TLS = {"require", "verify-ca", "verify-full"}
_MALFORMED_URL = (
    "[database] url is not a valid connection string: write postgresql://user@host:port/dbname, special characters "
    "percent-encoded, and keep the password in password_file"
)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to reach the database. `url` and `parameters` are libpq's; the latter win. Times in seconds.

    Without an sslmode given anywhere it is `prefer` for local hosts and `verify-full` for all others. The password is
    that of `password_file` or of what `password_command` (a program and its arguments) prints, read for each
    connection; else libpq's own (PGPASSFILE, service file, the URL). `connect_timeout_seconds` counts per host, and
    libpq raises it to 2.
    """

    name: str
    url: str | None = field(default=None, repr=False)
    parameters: Mapping[str, str | int] = field(default_factory=dict, repr=False)
    app_schema: str = "public"
    password_file: Path | None = None
    password_command: tuple[str, ...] = ()
    password_command_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 5.0

    def libpq(self) -> dict[str, str | int]:
        """The parameters for libpq, without the password of file or command.

        Raises ConfigError, whose text is never libpq's: that one repeats parts of the password.
        """
        try:
            given = {
                key: value for key, value in conninfo.conninfo_to_dict(self.url or "").items() if value is not None
            }
        except psycopg.Error:
            raise ConfigError([_MALFORMED_URL]) from None
        merged: dict[str, str | int] = {**_KEEPALIVES, **given, **self.parameters}
        if "@" in str(merged.get("host", "")):
            raise ConfigError([_MALFORMED_URL])
        if str(merged["keepalives"]).strip("+-0 ") == "":  # libpq reads 00 as 0, too
            raise ConfigError(["[database] url: keepalives=0 would turn tcp_user_timeout off too; leave it out"])
        merged.setdefault("sslmode", os.environ.get("PGSSLMODE") or default_sslmode(merged))
        if merged["sslmode"] not in _CERTAIN_TLS and pq.version() >= 160_000:
            merged.setdefault("require_auth", os.environ.get("PGREQUIREAUTH") or "!password")
        if merged.get("target_session_attrs") != "primary":
            merged["target_session_attrs"] = "read-write"
        merged["connect_timeout"] = max(_LIBPQ_LEAST_SECONDS, round(self.connect_timeout_seconds))
        return merged

    def password(self) -> str | None:
        """The password as file or command have it now, None where neither is configured. Raises DatabaseFault."""
        if self.password_command:
            return password_from_command(self.password_command, self.password_command_timeout_seconds)
        return password_from_file(self.password_file) if self.password_file else None

    def longest_connect_seconds(self) -> float:
        """The limit of one attempt to connect, over all hosts, name resolution and password included."""
        hosts = len(str(self.libpq().get("host", "")).split(","))
        command = self.password_command_timeout_seconds if self.password_command else 0.0
        return max(float(_LIBPQ_LEAST_SECONDS), self.connect_timeout_seconds) * hosts + 1.0 + command


def default_sslmode(parameters: Mapping[str, str | int]) -> str:
    """`verify-full` where a password or data would cross a network, `prefer` where every host is this machine."""
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or os.environ.get("PGHOST") or "")
    if not hosts and "service" in parameters:
        return "verify-full"
    return "prefer" if all(is_local(host) for host in hosts.split(",")) else "verify-full"


def is_local(host: str) -> bool:
    """Whether a host, or a socket's folder, is this machine by its name."""
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def application_name(name: str, label: str) -> str:
    """`analytics-refreshd/NAME/LABEL` within the server's 63 bytes: NAME is cut, LABEL (a run_id, a role) kept."""
    plain = "".join(c if c.isascii() and c.isprintable() and c != "/" else "_" for c in name)
    room = _NAME_BYTES - len(_HEAD) - len(label) - 2
    return f"{_HEAD}/{plain[: max(0, room)]}/{label}"


def addresses(parameters: Mapping[str, str | int]) -> str:
    """`host:port` of each host among libpq's parameters; empty where it finds the host elsewhere, as in PGHOST."""
    ports = str(parameters.get("port") or "5432").split(",")
    hosts = enumerate(str(parameters.get("host") or "").split(","))
    return ", ".join(f"{host}:{ports[min(at, len(ports) - 1)]}" for at, host in hosts if host)
