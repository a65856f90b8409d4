"""libpq's parameters from the configuration, with safe defaults for timeouts and TLS."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import conninfo, pq

from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.postgres.connection.libpq import asks_for_sslmode, used_by_libpq
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
_SPLIT_BY_PSYCOPG = ("host", "hostaddr", "port", "load_balance_hosts")
_CERTAIN_TLS = ("require", "verify-ca", "verify-full")
_SSL_MODES = ("disable", "allow", "prefer", *_CERTAIN_TLS)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to reach the database. Times are in seconds.

    `url` and `parameters` are libpq's; the latter win. What they leave out is libpq's to find: in the service file, in
    the environment. Without an sslmode given anywhere it is `prefer` where libpq would connect to this machine, and
    `verify-full` for all others. The password is that of `password_file`, or what `password_command` (a program and
    its arguments) prints, read for each connection; else libpq's own (PGPASSFILE, service file, the URL).
    `connect_timeout_seconds` counts per host, and libpq raises it to 2. With `standby` any server will do, else
    only one that takes writes.
    """

    name: str
    url: str | None = field(default=None, repr=False)
    parameters: Mapping[str, str | int] = field(default_factory=dict, repr=False)
    app_schema: str = "public"
    password_file: Path | None = None
    password_command: tuple[str, ...] = ()
    password_command_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 5.0
    standby: bool = False

    def problems(self) -> list[str]:
        """Return what is wrong with `url` and `parameters`.

        Each is one sentence that begins with the parameter, and repeats nothing of a value: libpq's own text would
        repeat parts of the password.
        """
        try:
            given = self._given()
        except psycopg.Error:
            return [
                "url cannot be read: write postgresql://USER@HOST:PORT/DATABASE, percent-encode special characters, "
                "and keep the password in password_file"
            ]
        found = []
        # an @ at the beginning is an abstract socket
        if any("@" in host[1:] for host in str(given.get("host", "")).split(",")):
            found.append(f"{self._key('host')} has an @ within the user, the password or the host: write it as %40")
        if not all(port == "" or _is_port(port) for port in str(given.get("port", "")).split(",")):
            found.append(f"{self._key('port')} has a port that is not a number from 1 to 65535")
        if given.get("sslmode", "prefer") not in _SSL_MODES:
            found.append(f"{self._key('sslmode')} has an sslmode that does not exist; verify-full is the safe one")
        if str(given.get("keepalives", 1)).strip("+-0 ") == "":  # libpq reads 00 as 0, too
            found.append(
                f"{self._key('keepalives')} has keepalives=0, which turns tcp_user_timeout off too: leave it out"
            )
        return found

    def _given(self) -> dict[str, str | int]:
        """Return libpq's keywords as given, without our defaults. Raises psycopg.Error."""
        url = {key: value for key, value in conninfo.conninfo_to_dict(self.url or "").items() if value is not None}
        return {**url, **self.parameters}

    def _key(self, keyword: str) -> str:
        """Return where the keyword was given: as a parameter of its own, else in the URL."""
        return keyword if keyword in self.parameters else "url"

    def libpq(self) -> dict[str, str | int]:
        """Return the parameters for libpq, without the password of file or command.

        Raises ConfigError for the `problems`.
        """
        if problems := self.problems():
            raise ConfigError([f"[database] {problem}" for problem in problems])
        given = self._given()
        used = used_by_libpq(given) or given
        # psycopg splits hosts and looks names up itself, but reads no service file: it is told what is in there
        merged = given | {key: used[key] for key in _SPLIT_BY_PSYCOPG if key in used}
        for key, value in _KEEPALIVES.items():
            # a service file may tune keepalives, but not turn them off: tcp_user_timeout would go with them
            if key not in (given if key == "keepalives" else used):
                merged[key] = value
        merged["sslmode"] = (given | used)["sslmode"] if asks_for_sslmode(given) else default_sslmode(given)
        if merged["sslmode"] not in _CERTAIN_TLS and pq.version() >= 160_000:
            merged["require_auth"] = used.get("require_auth") or "!password"
        asked = used.get("target_session_attrs")
        merged["target_session_attrs"] = "primary"
        if self.standby:
            merged["target_session_attrs"] = asked or "any"
        elif asked != "primary":
            merged["target_session_attrs"] = "read-write"
        merged["client_encoding"] = "UTF8"
        merged["connect_timeout"] = max(_LIBPQ_LEAST_SECONDS, round(self.connect_timeout_seconds))
        return merged

    def password(self) -> str | None:
        """Read the password from file or command; None where neither is configured.

        Raises DatabaseFault.
        """
        if self.password_command:
            return password_from_command(self.password_command, self.password_command_timeout_seconds)
        return password_from_file(self.password_file) if self.password_file else None

    def longest_connect_seconds(self) -> float:
        """Return the time limit of one attempt to connect.

        It covers all hosts, name resolution, and the password command.
        """
        hosts = len(hosts_used(self.libpq()))
        command = self.password_command_timeout_seconds if self.password_command else 0.0
        return max(float(_LIBPQ_LEAST_SECONDS), self.connect_timeout_seconds) * hosts + 1.0 + command


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def default_sslmode(given: Mapping[str, str | int]) -> str:
    """Choose `prefer` where libpq would connect to this machine only, else `verify-full`."""
    used = used_by_libpq(given)
    if used is None:  # the hosts are unknown: a service file that cannot be read now may be there later
        return "verify-full"
    places = f"{used.get('host', '')},{used.get('hostaddr', '')}"
    return "prefer" if all(is_local(place) for place in places.split(",")) else "verify-full"


def is_local(host: str) -> bool:
    """Whether a host name or socket folder means this machine."""
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def application_name(name: str, label: str) -> str:
    """Build `analytics-refreshd/NAME/LABEL` within the server's 63 bytes.

    NAME is cut if necessary; LABEL (a run_id, a role) is kept whole.
    """
    plain = "".join(c if c.isascii() and c.isprintable() and c != "/" else "_" for c in name)
    room = _NAME_BYTES - len(_HEAD) - len(label) - 2
    return f"{_HEAD}/{plain[: max(0, room)]}/{label}"


def hosts_used(given: Mapping[str, str | int]) -> list[str]:
    """Return the hosts that libpq would try, in order. An address counts before the name beside it, as for libpq.

    An empty one is the default socket.
    """
    used = used_by_libpq(given) or {key: str(value) for key, value in given.items()}
    names, numbers = used.get("host", "").split(","), used.get("hostaddr", "").split(",")
    longer = max(len(names), len(numbers))
    padded = ([*found, *[""] * (longer - len(found))] for found in (names, numbers))
    return [number or name for name, number in zip(*padded, strict=True)]


def addresses(given: Mapping[str, str | int]) -> str:
    """Return `host:port` of each host that libpq would try.

    Empty where it is the default socket.
    """
    used = used_by_libpq(given) or given
    ports = str(used.get("port") or "5432").split(",")
    return ", ".join(f"{host}:{ports[min(at, len(ports) - 1)]}" for at, host in enumerate(hosts_used(given)) if host)
