"""Faults are classified by SQLSTATE, then by whether the connection is closed, never by text."""

import pytest

from analytics_refreshd.core.errors import (
    UNREACHABLE,
    ConfigError,
    DatabaseFault,
    ErrorClass,
    PublicationError,
    RefreshdError,
    UsageError,
    WrongSchemaFault,
    classify,
    is_permanent,
)
from analytics_refreshd.core.model import Reason


@pytest.mark.parametrize(
    ("sqlstate", "error_class", "reason"),
    [
        ("57014", ErrorClass.CANCELLED, Reason.TIMEOUT),
        ("57P01", ErrorClass.CONN_LOST, Reason.CONN_LOST),
        ("57P02", ErrorClass.CONN_LOST, Reason.CONN_LOST),
        ("57P03", ErrorClass.CONN_LOST, Reason.CONN_LOST),
        ("57P05", ErrorClass.CONN_LOST, Reason.CONN_LOST),
        ("25P03", ErrorClass.CONN_LOST, Reason.CONN_LOST),
        ("25P04", ErrorClass.CONN_LOST, Reason.TIMEOUT),
        ("08006", ErrorClass.CONN_LOST, Reason.CONN_LOST),
        ("25006", ErrorClass.NOT_PRIMARY, Reason.NOT_PRIMARY),
        ("55P03", ErrorClass.CONTENTION, Reason.LOCK_TIMEOUT),
        ("40P01", ErrorClass.CONTENTION, Reason.DEADLOCK),
        ("40001", ErrorClass.CONTENTION, Reason.SERIALIZATION),
        ("53100", ErrorClass.RESOURCE, Reason.DISK_FULL),
        ("53200", ErrorClass.RESOURCE, Reason.OUT_OF_RESOURCES),
        ("53300", ErrorClass.RESOURCE, Reason.TOO_MANY_CONNECTIONS),
        ("53400", ErrorClass.RESOURCE, Reason.DISK_FULL),
        ("58030", ErrorClass.RESOURCE, Reason.OUT_OF_RESOURCES),
        ("53000", ErrorClass.RESOURCE, Reason.OUT_OF_RESOURCES),
        ("42501", ErrorClass.PERMANENT, Reason.PERMISSION),
        ("42883", ErrorClass.PERMANENT, Reason.UNDEFINED),
        ("42P01", ErrorClass.PERMANENT, Reason.UNDEFINED),
        ("42704", ErrorClass.PERMANENT, Reason.UNDEFINED),
        ("3F000", ErrorClass.PERMANENT, Reason.UNDEFINED),
        ("55000", ErrorClass.PERMANENT, Reason.NO_UNIQUE_INDEX),
        ("0A000", ErrorClass.PERMANENT, Reason.NOT_POPULATED),
        ("21000", ErrorClass.PERMANENT, Reason.DUPLICATE_ROWS),
        ("22003", ErrorClass.PERMANENT, Reason.DATA),
        ("P0001", ErrorClass.PERMANENT, Reason.OTHER),
        ("XX000", ErrorClass.PERMANENT, Reason.OTHER),
        (None, ErrorClass.PERMANENT, Reason.OTHER),
    ],
)
def test_an_error_on_a_live_connection(sqlstate: str | None, error_class: ErrorClass, reason: Reason) -> None:
    """Every SQLSTATE that the daemon meets has its class and reason; the unknown is not retried."""
    assert classify(sqlstate, connected=True, closed=False) == (error_class, reason)


def test_an_error_without_a_state_on_a_closed_connection_is_a_lost_one() -> None:
    """A crash of the server gives no SQLSTATE, and a state nobody knows on a closed connection is a loss too."""
    lost = (ErrorClass.CONN_LOST, Reason.CONN_LOST)
    assert [classify(state, connected=True, closed=True) for state in (None, "XX000", "42000", "22000")] == [lost] * 4


def test_a_state_decides_before_the_connection_does() -> None:
    """A full disk that also closed the connection is a full disk."""
    assert classify("53100", connected=True, closed=True) == (ErrorClass.RESOURCE, Reason.DISK_FULL)


def test_whatever_fails_while_connecting_is_a_connect_fault() -> None:
    """A wrong password and a server that starts look the same to code."""
    for state in (None, "28P01", "57P03"):
        assert classify(state, connected=False, closed=True) == (ErrorClass.CONNECT, Reason.CONNECT)


@pytest.mark.parametrize(
    ("reason", "sqlstate", "permanent"),
    [
        (Reason.PERMISSION, "42501", True),
        (Reason.MISSING, None, True),
        (Reason.OTHER, "P0001", True),
        (Reason.OTHER, None, False),
        (Reason.LOCK_TIMEOUT, "55P03", False),
        (Reason.CONN_LOST, "57P01", False),
        (None, None, False),
    ],
)
def test_what_waiting_cannot_mend(reason: Reason | None, sqlstate: str | None, permanent: bool) -> None:
    """Permanent failures alert at once, also those a function raised itself; a text without a state may pass."""
    assert is_permanent(reason, sqlstate) is permanent


def test_one_tree_of_errors() -> None:
    """Everything raised on purpose is a RefreshdError that carries what its reader needs."""
    fault = DatabaseFault(
        "no", error_class=ErrorClass.CONNECT, reason=Reason.CONNECT, sqlstate="08001", committing=True
    )
    assert (str(fault), fault.message, fault.error_class, fault.reason) == ("no", "no", "connect", "connect")
    assert (fault.sqlstate, fault.committing) == ("08001", True)
    other = fault.reworded("do this")
    assert (str(other), other.error_class, other.reason) == ("do this", fault.error_class, fault.reason)
    assert (other.sqlstate, other.committing) == ("08001", True)
    assert ConfigError(["a", "b"]).problems == ("a", "b")
    assert str(ConfigError(["a", "b"])) == "a; b"
    for error in (fault, ConfigError([]), UsageError()):
        assert isinstance(error, RefreshdError)


@pytest.mark.parametrize(
    ("error_class", "away", "unreachable", "ends_connection"),
    [
        (ErrorClass.CONNECT, True, True, False),
        (ErrorClass.CONN_LOST, True, False, True),
        (ErrorClass.NOT_PRIMARY, True, True, True),
        (ErrorClass.CANCELLED, False, False, False),
        (ErrorClass.CONTENTION, False, False, False),
        (ErrorClass.RESOURCE, False, False, False),
        (ErrorClass.PERMANENT, False, False, False),
    ],
)
def test_what_a_class_says_about_the_database(
    error_class: ErrorClass, away: bool, unreachable: bool, ends_connection: bool
) -> None:
    """Each class knows whether the database is away, whether anything began, and what becomes of the connection."""
    found = (error_class.away, error_class.unreachable, error_class.ends_connection)
    assert found == (away, unreachable, ends_connection)
    assert (error_class.value in UNREACHABLE) is unreachable


def test_what_is_refused_says_what_to_do() -> None:
    """A second schema and unprepared subscribers are refused with the way out."""
    fault = WrongSchemaFault("crm", "public")
    assert "set [database] schema to crm, or give public a database of its own" in fault.message
    assert (fault.error_class, fault.reason) == (ErrorClass.PERMANENT, Reason.CONTRACT)
    error = PublicationError("publication everything sends all tables", subscriber_sql="create schema x;")
    assert (str(error), error.subscriber_sql) == ("publication everything sends all tables", "create schema x;")
