"""Translates psycopg's exceptions into `core.errors.DatabaseFault`, without secrets and row values."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote

import psycopg

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass, classify
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.redaction import LIMIT_BYTES, cut, printable, redact_error
from analytics_refreshd.postgres.connection.names import quoted

_STATE_PREFIX = re.compile(r"^(?=[0-9A-Z]{0,4}[0-9])([0-9A-Z]{5}): ?")
_MULTIPLE_ATTEMPTS = "Multiple connection attempts failed"
_REMEDY_BYTES = 200
_LONG_CHARACTERS = 64 * 1024

# Patterns of libpq's texts, which its binary wheel never translates, and of the server's, which may be translated. They
# choose a remedy only; the class comes from elsewhere. {role} and {database} are those of the attempt.
_CONNECT_REMEDIES = (
    ("failed to resolve host", "check [database] host and this machine's name resolution"),
    (
        "root certificate file",
        "set [database] sslrootcert to the file of the CA's certificate, or to \"system\" for the system's own",
    ),
    (
        "does not support SSL",
        "turn TLS on in the server, or set [database] sslmode for a network that you trust",
    ),
    (
        "certificate verify failed",
        "check that [database] sslrootcert holds the CA that signed the server's certificate, and that neither expired",
    ),
    ("does not match host name", "connect by the name that the server's certificate bears"),
    ("certificate has expired", "renew the server's certificate"),
    (
        'authentication method requirement "!password"',
        "the server asks for the password in clear text: use scram-sha-256 there, or TLS with sslmode verify-full",
    ),
    (
        "session is read-only",
        "no host of [database] is a writable primary at the moment, or default_transaction_read_only is on there",
    ),
    ("hot standby", "no host of [database] is a writable primary at the moment"),
    ("no password supplied", "set [database] password_file, or password_command, or use a PGPASSFILE"),
    ("password authentication failed", "check [database] user and the password in its file"),
    ("no pg_hba.conf entry", "let this host, user and database in by pg_hba.conf"),
    ("Connection refused", "check that the server runs and listens on this host and port"),
    ("permission denied for database", "GRANT CONNECT ON DATABASE {database} TO {role};"),
    ('role ".*" does not exist', "make the role with deploy/sql/grants.sql, or correct [database] user"),
    ("is not permitted to log in", "ALTER ROLE {role} LOGIN;"),
    ('database ".*" does not exist', "set [database] dbname to the application's database"),
    ("too many connections for", "raise that limit, or end other sessions: one replica needs three connections"),
    (
        "remaining connection slots|too many clients",
        "end other sessions of the server, or raise its max_connections",
    ),
    (
        "timeout expired",
        "check [database] host and port, and that no firewall lies between; connect_timeout says how long to try",
    ),
)


class DeadlineExceeded(psycopg.OperationalError):
    """The server exceeded the client's limit, and the connection was closed."""


class Abandoned(psycopg.OperationalError):
    """Another thread abandoned the connection."""


@contextmanager
def translating(connection: psycopg.Connection[Sequence[object]] | None, *, committing: bool = False) -> Iterator[None]:
    """Raise DatabaseFault for whatever psycopg raises inside.

    `committing` marks the COMMIT: where the connection is lost there, the outcome is unknown. The fault has no cause
    attached: a traceback would print psycopg's text, whose DETAIL holds row values.
    """
    try:
        yield
    except psycopg.Error as error:
        raise fault_of(error, closed=connection is None or connection.closed, committing=committing) from None
    except (UnicodeError, NotImplementedError) as error:  # what psycopg's adapters raise beside its own errors
        raise DatabaseFault(
            f"a value cannot be read or written in this session ({type(error).__name__})",
            error_class=ErrorClass.PERMANENT,
            reason=Reason.DATA,
        ) from None


def fault_of(error: psycopg.Error, *, closed: bool, committing: bool = False) -> DatabaseFault:
    """Translate an error of an established connection; `closed` is its state now."""
    error_class, reason = classify(error.sqlstate, connected=True, closed=closed)
    if isinstance(error, DeadlineExceeded):
        error_class, reason = ErrorClass.CANCELLED, Reason.TIMEOUT
    if isinstance(error, Abandoned):
        error_class, reason = ErrorClass.CANCELLED, Reason.CANCELLED
    if committing and closed:
        error_class, reason = ErrorClass.CONN_LOST, Reason.CONN_LOST
    return DatabaseFault(
        primary_text(error),
        error_class=error_class,
        reason=reason,
        sqlstate=error.sqlstate,
        committing=committing and closed,
    )


def primary_text(error: psycopg.Error) -> str:
    """Return the server's primary message, redacted.

    DETAIL, HINT and CONTEXT are left out: they may hold row values. The error loses a text over 64 kB.
    """
    told = str(error)
    if len(told) <= _LONG_CHARACTERS:
        return redact_error(error.diag.message_primary or told)
    # megabytes: libpq, psycopg and each further copy hold all of it, and whatever keeps a fault keeps its context
    result, error.args = error.pgresult, (told[:_LONG_CHARACTERS],)
    if result is not None:
        result.clear()
    return redact_error(told)


def connect_fault(error: psycopg.Error, secrets: Sequence[str] = (), where: str = "") -> DatabaseFault:
    """Translate a failure to connect, and add what to do about it.

    libpq's text names host, port, user and database, which are no secrets; any of `secrets` in it is masked. `where`
    is host and port as configured, for texts that name none.
    """
    if isinstance(error, psycopg.ProgrammingError):
        # its text repeats the malformed parameter, which may be the password
        text = "the connection parameters are not valid: check [database]"
    else:
        text = str(error).partition(_MULTIPLE_ATTEMPTS)[0]
        for secret in secrets:
            for form in {secret, quote(secret), quote(secret, safe="")} - {""}:
                text = text.replace(form, "***")
        remedy = next((words for mark, words in _CONNECT_REMEDIES if re.search(mark, text)), None)
        if remedy and error.pgconn:
            role, database = (quoted(name.decode(errors="replace")) for name in (error.pgconn.user, error.pgconn.db))
            remedy = printable(remedy.format(role=role, database=database))
        if where and isinstance(error, psycopg.errors.ConnectionTimeout):
            text = f"{where}: {text}"
        text = printable(text.replace("Is the server running on that host and accepting TCP/IP connections?", ""))
        text = cut(text, LIMIT_BYTES - _REMEDY_BYTES)
        text = f"{text}: {remedy}" if remedy else text
    return cannot_connect(text)


def cannot_connect(text: str) -> DatabaseFault:
    """Make a fault of class connect."""
    error_class, reason = classify(None, connected=False, closed=True)
    return DatabaseFault(text, error_class=error_class, reason=reason)


def split_state(text: str | None) -> tuple[str | None, Reason | None, str | None]:
    """Split a view's error, `SQLSTATE: message`, into SQLSTATE, reason and redacted text.

    An older install reports the message alone: SQLSTATE and reason are then None.
    """
    if text is None or not text.strip():
        return None, None, None
    found = _STATE_PREFIX.match(text)
    if found is None:
        return None, None, redact_error(text)
    reason = classify(found[1], connected=True, closed=False)[1]
    return found[1], reason, redact_error(text[found.end() :]) or None


def contract_fault(text: str) -> DatabaseFault:
    """Make a permanent fault of a database that breaks the contract."""
    return DatabaseFault(text, error_class=ErrorClass.PERMANENT, reason=Reason.CONTRACT)
