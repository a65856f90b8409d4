"""Where psycopg's exceptions end: each becomes a `core.errors.DatabaseFault`, without secrets and row values."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote

import psycopg

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass, classify
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.redaction import LIMIT_BYTES, printable, redact_error
from analytics_refreshd.postgres.connection.names import quoted

_STATE_PREFIX = re.compile(r"^(?=[0-9A-Z]{0,4}[0-9])([0-9A-Z]{5}): ?")
_MULTIPLE_ATTEMPTS = "Multiple connection attempts failed"

# patterns of libpq's own texts, which its binary wheel never translates, and of the server's, which it may: they choose
# a remedy, never a class; {role} and {database} are those that were asked for
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
    ("session is read-only", "no host of [database] is a writable primary at the moment"),
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
    """The server did not answer within the client's own limit, and the connection was given up."""


class Abandoned(psycopg.OperationalError):
    """Another thread asked that the connection be given up."""


@contextmanager
def translating(connection: psycopg.Connection[Sequence[object]] | None, *, committing: bool = False) -> Iterator[None]:
    """Raise DatabaseFault for whatever psycopg raises inside.

    `committing` marks the COMMIT: where the connection is lost there, the outcome is unknown. The fault has no cause
    attached, since psycopg's text holds DETAIL, hence row values, and a traceback would print it.
    """
    try:
        yield
    except psycopg.Error as error:
        raise fault_of(error, closed=connection is None or connection.closed, committing=committing) from None


def fault_of(error: psycopg.Error, *, closed: bool, committing: bool = False) -> DatabaseFault:
    """The fault that an error of an established connection means; `closed` is that connection's state now."""
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
    """What the server says went wrong, redacted; DETAIL, HINT and CONTEXT may hold row values and stay behind."""
    return redact_error(error.diag.message_primary or str(error))


def connect_fault(error: psycopg.Error, secrets: Sequence[str] = (), where: str = "") -> DatabaseFault:
    """The fault of a connection that could not be made, with what to do about it.

    libpq's text names host, port, user and database, which may be seen; any of `secrets` in it is masked. `where` is
    host and port as configured, for a text that names none.
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
        text = text.encode()[: LIMIT_BYTES - 200].decode(errors="ignore")
        text = f"{text}: {remedy}" if remedy else text
    return cannot_connect(text)


def cannot_connect(text: str) -> DatabaseFault:
    """A fault of class connect."""
    error_class, reason = classify(None, connected=False, closed=True)
    return DatabaseFault(text, error_class=error_class, reason=reason)


def split_state(text: str | None) -> tuple[str | None, Reason | None, str | None]:
    """SQLSTATE, reason and redacted text of a view's error as a refresh function reports it, `SQLSTATE: message`.

    An older install reports the message alone: then there is no SQLSTATE, and the reason stays unknown.
    """
    if text is None or not text.strip():
        return None, None, None
    found = _STATE_PREFIX.match(text)
    if found is None:
        return None, None, redact_error(text)
    reason = classify(found[1], connected=True, closed=False)[1]
    return found[1], reason, redact_error(text[found.end() :]) or None


def contract_fault(text: str) -> DatabaseFault:
    """A fault that says that the database is not as the contract says; waiting does not mend it."""
    return DatabaseFault(text, error_class=ErrorClass.PERMANENT, reason=Reason.CONTRACT)
