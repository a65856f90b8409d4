"""Asks libpq what it will use: what is given, then the service file, the environment, and its own defaults."""

from collections.abc import Mapping

import psycopg
from psycopg import conninfo, pq

_KNOWS_SYSTEM_ROOTS = 160_000


def used_by_libpq(given: Mapping[str, str | int]) -> dict[str, str] | None:
    """Return every keyword that libpq would use, with its value.

    `given` are keywords as for a connection. libpq reads the service file and the environment, looks up no name and
    connects to nothing: `channel_binding` is made invalid for that, and left out of the result, as passwords are. None
    where libpq cannot read all of it, as with a service that does not exist.
    """
    asked = {key: str(value) for key, value in given.items() if key not in ("password", "sslpassword")}
    try:
        text = conninfo.make_conninfo(**{**asked, "channel_binding": "none of libpq's values"})
    except psycopg.Error:
        return None
    attempt = pq.PGconn.connect_start(text.encode())
    try:
        used = {item.keyword.decode(): item.val.decode() for item in attempt.info if item.val}
    except UnicodeDecodeError:
        return None
    finally:
        attempt.finish()
    for keyword in ("channel_binding", "password", "sslpassword"):
        used.pop(keyword, None)
    return used or None


def asks_for_sslmode(given: Mapping[str, str | int]) -> bool:
    """Whether an sslmode is given anywhere that libpq looks.

    libpq does not tell its default `prefer` from one that was asked for. But with the system's root certificates its
    default, and no other, is `verify-full`. An older libpq does not know those: its `prefer` counts as the default.
    """
    mode = (used_by_libpq(given) or {}).get("sslmode")
    if "sslmode" in given or mode != "prefer":
        return "sslmode" in given or mode is not None
    if pq.version() < _KNOWS_SYSTEM_ROOTS:
        return False
    return (used_by_libpq({**given, "sslrootcert": "system"}) or {}).get("sslmode") == "prefer"
