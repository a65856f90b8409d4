"""Tells what a warehouse refused, and what to do."""

import socket
import ssl
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

from analytics_refreshd.core.redaction import redact_error
from analytics_refreshd.core.warehouse import FaultKind, WarehouseFault

_REMEDIES = {
    60: "a table is missing there: run analytics-refreshd migrate --warehouse",
    81: "[warehouse] database does not exist there: run analytics-refreshd migrate --warehouse",
    16: "a table there is older than this program: run analytics-refreshd migrate --warehouse",
    497: "its user lacks a right there: look at deploy/guides/warehouse.md",
    516: "it refused user or password: look at [warehouse] user and password_file",
    193: "it refused user or password: look at [warehouse] user and password_file",
    194: "it refused user or password: look at [warehouse] user and password_file",
    243: "its disk is full: make room there, and what waits is sent with the next run",
    115: "it knows no setting of this program: custom_settings_prefixes there must name SQL_, as in deploy/clickhouse",
    369: "all replicas that it could ask lag: look at system.replicas there",
    201: "its user has used up its quota: wait, or raise the quota there",
    202: "it runs as many queries as it may: ask again later",
    241: "its memory does not suffice for this: ask for less, or raise max_memory_usage there",
    159: "it took too long: ask for less, or allow it more time",
    396: "it would have answered too much: ask for less",
}
"""What to do, by the number of ClickHouse's exception."""
_KINDS = {159: FaultKind.TIMEOUT, 396: FaultKind.TOO_LARGE}
_MOST_DIGITS = 6


def refusal(status: int, number: str, data: bytes, password: str) -> WarehouseFault:
    """Return the fault for an answer that is an error.

    Its text may repeat what was sent: the password is masked.
    """
    code = int(number) if number.isdecimal() and len(number) <= _MOST_DIGITS else 0
    remedy = _REMEDIES.get(code)
    if remedy is None and status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        remedy = _REMEDIES[516]
    if remedy is not None:
        return WarehouseFault(f"the warehouse refused: {remedy}", _KINDS.get(code, FaultKind.REFUSED))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return WarehouseFault(
            f"the warehouse answered {status}, which leads elsewhere: let [warehouse] url name the ClickHouse itself"
        )
    text = data.decode(errors="replace")
    return WarehouseFault(f"the warehouse answered {status}: {redact_error(_masked(text, password))}")


def unreachable(error: Exception, *, late: bool) -> WarehouseFault:
    """Return the fault for a request that came to nothing.

    `late` says that its connection stood.
    """
    text = f"the warehouse cannot be reached: {_why(error)}; look at [warehouse] url"
    return WarehouseFault(text, FaultKind.TIMEOUT if late and isinstance(error, TimeoutError) else FaultKind.AWAY)


def not_understood() -> WarehouseFault:
    """Return the fault for an answer that no ClickHouse gives."""
    return WarehouseFault("the warehouse answered what no ClickHouse does: look at [warehouse] url")


def too_long(most_bytes: int) -> WarehouseFault:
    """Return the fault for an answer that has no end."""
    return WarehouseFault(
        f"the warehouse answered more than {most_bytes >> 20} MiB, and was cut off: look at [warehouse] url",
        FaultKind.TOO_LARGE,
    )


def _masked(text: str, password: str) -> str:
    return text.replace(password, "***") if password else text


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, BadStatusLine | HTTPException) and not isinstance(error, RemoteDisconnected | IncompleteRead):
        return "what answers does not speak HTTP as a ClickHouse does"
    return "it refused the connection" if isinstance(error, ConnectionRefusedError) else "the connection broke"
