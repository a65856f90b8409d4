"""The errors that this project raises, and the classes of database faults.

Adapters wrap what their libraries raise once, at the edge, with ``raise ... from error``; above the edge
nobody parses an exception's text. Source: PostgreSQL Appendix A (SQLSTATE) and observation with psycopg 3.3.
"""

from enum import StrEnum

from analytics_refreshd.core.model import Reason


class ErrorClass(StrEnum):
    """What to do about a database fault."""

    CONNECT = "connect"
    CONN_LOST = "conn_lost"
    NOT_PRIMARY = "not_primary"
    CANCELLED = "cancelled"
    CONTENTION = "contention"
    RESOURCE = "resource"
    PERMANENT = "permanent"

    @property
    def away(self) -> bool:
        """Whether the database itself is away; every other fault is its answer."""
        return self in (ErrorClass.CONNECT, ErrorClass.CONN_LOST, ErrorClass.NOT_PRIMARY)

    @property
    def unreachable(self) -> bool:
        """Whether no usable connection could be made, so that nothing began."""
        return self in (ErrorClass.CONNECT, ErrorClass.NOT_PRIMARY)

    @property
    def ends_connection(self) -> bool:
        """Whether the connection that met the fault must be replaced."""
        return self in (ErrorClass.CONN_LOST, ErrorClass.NOT_PRIMARY)


UNREACHABLE = frozenset({Reason.CONNECT, Reason.NOT_PRIMARY})
"""The reasons of the unreachable classes, for runs and log lines, which hold no class."""

_BY_STATE: dict[str, tuple[ErrorClass, Reason]] = {
    "57014": (ErrorClass.CANCELLED, Reason.TIMEOUT),
    "57P01": (ErrorClass.CONN_LOST, Reason.CONN_LOST),
    "57P02": (ErrorClass.CONN_LOST, Reason.CONN_LOST),
    "57P03": (ErrorClass.CONN_LOST, Reason.CONN_LOST),
    "57P05": (ErrorClass.CONN_LOST, Reason.CONN_LOST),
    "25P03": (ErrorClass.CONN_LOST, Reason.CONN_LOST),
    "25P04": (ErrorClass.CONN_LOST, Reason.TIMEOUT),
    "25006": (ErrorClass.NOT_PRIMARY, Reason.NOT_PRIMARY),
    "55P03": (ErrorClass.CONTENTION, Reason.LOCK_TIMEOUT),
    "40P01": (ErrorClass.CONTENTION, Reason.DEADLOCK),
    "40001": (ErrorClass.CONTENTION, Reason.SERIALIZATION),
    "53100": (ErrorClass.RESOURCE, Reason.DISK_FULL),
    "53200": (ErrorClass.RESOURCE, Reason.OUT_OF_RESOURCES),
    "53300": (ErrorClass.RESOURCE, Reason.TOO_MANY_CONNECTIONS),
    "53400": (ErrorClass.RESOURCE, Reason.DISK_FULL),
    "58030": (ErrorClass.RESOURCE, Reason.OUT_OF_RESOURCES),
    "42501": (ErrorClass.PERMANENT, Reason.PERMISSION),
    "42P01": (ErrorClass.PERMANENT, Reason.UNDEFINED),
    "42883": (ErrorClass.PERMANENT, Reason.UNDEFINED),
    "55000": (ErrorClass.PERMANENT, Reason.NO_UNIQUE_INDEX),
    "0A000": (ErrorClass.PERMANENT, Reason.NOT_POPULATED),
    "21000": (ErrorClass.PERMANENT, Reason.DUPLICATE_ROWS),
}
_BY_STATE_CLASS: dict[str, tuple[ErrorClass, Reason]] = {
    "08": (ErrorClass.CONN_LOST, Reason.CONN_LOST),
    "22": (ErrorClass.PERMANENT, Reason.DATA),
    "3F": (ErrorClass.PERMANENT, Reason.UNDEFINED),
    "53": (ErrorClass.RESOURCE, Reason.OUT_OF_RESOURCES),
    "58": (ErrorClass.RESOURCE, Reason.OUT_OF_RESOURCES),
}


def classify(sqlstate: str | None, *, connected: bool, closed: bool) -> tuple[ErrorClass, Reason]:
    """Class and reason of a database error: by SQLSTATE first, then by whether the connection is closed.

    `connected` is False for an error raised while connecting, where libpq gives no SQLSTATE. `closed` is
    the connection's state after the error. Anything unknown is permanent: retrying what nobody understands
    hides it.
    """
    if not connected:
        return ErrorClass.CONNECT, Reason.CONNECT
    if sqlstate is not None:
        if sqlstate in _BY_STATE:
            return _BY_STATE[sqlstate]
        if sqlstate[:2] in _BY_STATE_CLASS and not closed:
            return _BY_STATE_CLASS[sqlstate[:2]]
    if closed:
        return ErrorClass.CONN_LOST, Reason.CONN_LOST
    if sqlstate is not None and sqlstate[:2] == "42":
        return ErrorClass.PERMANENT, Reason.UNDEFINED
    return ErrorClass.PERMANENT, Reason.OTHER


def is_permanent(reason: Reason | None, sqlstate: str | None = None) -> bool:
    """Whether waiting cannot fix this: such a failure alerts at once.

    The SQLSTATE decides where the reason says too little, as for what a function raised itself (P0001).
    """
    if sqlstate is not None and reason is Reason.OTHER:
        return classify(sqlstate, connected=True, closed=False)[0] is ErrorClass.PERMANENT
    return reason in {
        Reason.PERMISSION,
        Reason.UNDEFINED,
        Reason.NO_UNIQUE_INDEX,
        Reason.NOT_POPULATED,
        Reason.DUPLICATE_ROWS,
        Reason.DATA,
        Reason.MISSING,
        Reason.CONTRACT,
    }


class RefreshdError(Exception):
    """Base of everything raised on purpose. Its text is one sentence for the user, without secrets."""


class ConfigError(RefreshdError):
    """The configuration cannot be used; `problems` has one sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class UsageError(RefreshdError):
    """The user's input cannot be used; the text says what can."""


class DatabaseFault(RefreshdError):
    """A statement or a connection failed.

    `message` is the server's primary message, redacted, on one line and cut: DETAIL, HINT and CONTEXT, which
    hold row values, never get this far. `committing` is True when the connection went away while COMMIT was
    under way, so that the outcome is unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: ErrorClass,
        reason: Reason,
        sqlstate: str | None = None,
        committing: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_class = error_class
        self.reason = reason
        self.sqlstate = sqlstate
        self.committing = committing

    def reworded(self, text: str) -> "DatabaseFault":
        """Return a fault of the same class with another text."""
        return DatabaseFault(
            text,
            error_class=self.error_class,
            reason=self.reason,
            sqlstate=self.sqlstate,
            committing=self.committing,
        )


class OutOfTimeFault(DatabaseFault):
    """Earlier work took all the time that there was. The fault is that work's."""

    def __init__(self) -> None:
        super().__init__(
            "the database took all the time that there was", error_class=ErrorClass.CANCELLED, reason=Reason.TIMEOUT
        )


class WrongSchemaFault(DatabaseFault):
    """The database serves another application schema than the configured one."""

    def __init__(self, found: str, configured: str) -> None:
        super().__init__(
            f"this database is served for schema {found}, and [database] schema is {configured}: locks, history and "
            f"records hold for one schema of a database; set [database] schema to {found}, or give {configured} a "
            "database of its own",
            error_class=ErrorClass.PERMANENT,
            reason=Reason.CONTRACT,
        )


def not_writable() -> DatabaseFault:
    """Make the fault of a session that may not write: on a standby, or on a server that was made read-only."""
    return DatabaseFault(
        "the server is read-only: it is not the primary, or no longer, or was made read-only, as on a full disk",
        error_class=ErrorClass.NOT_PRIMARY,
        reason=Reason.NOT_PRIMARY,
        sqlstate="25006",
    )


class MigrationError(RefreshdError):
    """The schema cannot be migrated; the text says what to do."""


class PublicationError(MigrationError):
    """Subscribers would stop receiving. `subscriber_sql` is what each of them has to run first."""

    def __init__(self, text: str, *, subscriber_sql: str) -> None:
        super().__init__(text)
        self.subscriber_sql = subscriber_sql
