"""Makes connections: one time limit over everything that can hang, then the session's settings."""

import math
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakSet

import psycopg

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.errors import cannot_connect, connect_fault, translating
from analytics_refreshd.postgres.connection.server import BIGGEST_INTEGER
from analytics_refreshd.postgres.connection.session_settings import apply_settings
from analytics_refreshd.postgres.connection.settings import ConnectionSettings, addresses, application_name
from analytics_refreshd.postgres.connection.trust import refuse_other_schema

_MOST_HANGING = 4


@dataclass(frozen=True, slots=True)
class Profile:
    """A session's own settings. Limits are in seconds, and 0 is no limit.

    `search_path` comes between pg_catalog and pg_temp.
    """

    statement_timeout_seconds: float = 10.0
    lock_timeout_seconds: float = 5.0
    idle_in_transaction_seconds: float = 30.0
    idle_session_seconds: float = 0.0
    search_path: tuple[str, ...] = ()

    def parameters(self) -> dict[str, str]:
        """Return the settings by name, limits in milliseconds."""
        return {
            "search_path": search_path(*self.search_path),
            "statement_timeout": milliseconds(self.statement_timeout_seconds),
            "lock_timeout": milliseconds(self.lock_timeout_seconds),
            "idle_in_transaction_session_timeout": milliseconds(self.idle_in_transaction_seconds),
            "idle_session_timeout": milliseconds(self.idle_session_seconds),
        }


def search_path(*schemas: str) -> str:
    """Build the setting: pg_catalog first, `schemas`, then pg_temp.

    With pg_temp last, no temporary object hides another one.
    """
    return ", ".join(["pg_catalog", *('"{}"'.format(schema.replace('"', '""')) for schema in schemas), "pg_temp"])


def milliseconds(seconds: float) -> str:
    """Write a limit as PostgreSQL reads it.

    0 stays 0, which is no limit; others become 1 ms at least, and 24 days at most.
    """
    return str(min(max(1, round(seconds * 1000)), BIGGEST_INTEGER)) if seconds > 0 else "0"


class Connector:
    """Makes connections, each within one time limit.

    The limit covers name resolution, all hosts, the password and the session's settings.
    """

    def __init__(self, settings: ConnectionSettings, *, on_reconnect: Callable[[], None] | None = None) -> None:
        self.settings = settings
        self._on_reconnect = on_reconnect
        self._lock = threading.Lock()
        self._attempts: set[_Attempt] = set()
        self._made: WeakSet[BoundedConnection] = WeakSet()
        self.connections_made = 0
        self._stopped = False

    def connect(
        self,
        label: str,
        profile: Profile,
        *,
        instead_of_lost: bool = False,
        any_schema: bool = False,
        within_seconds: float = math.inf,
        kind: type[BoundedConnection] = BoundedConnection,
    ) -> BoundedConnection:
        """Make an autocommit connection with `label` in its application_name.

        Raises DatabaseFault of class connect, and WrongSchemaFault for a database that is installed for another
        application schema, unless `any_schema`. `instead_of_lost` counts it as a reconnect once it is made; replacing a
        connection that was closed on purpose is no reconnect. `kind` is the class of the connection.

        libpq resolves names by a blocking call that none of its timeouts covers. So a thread connects; at the deadline
        it is left behind, and closes the connection that it may still get. `within_seconds` ends the wait earlier.
        While four such threads hang, no further one is started.
        """
        attempt = _Attempt(lambda: self._connect(label, profile, kind, any_schema=any_schema))
        with self._lock:
            self._attempts = {earlier for earlier in self._attempts if earlier.under_way}
            if self._stopped:
                raise cannot_connect("the daemon is stopping")
            if sum(not earlier.wanted for earlier in self._attempts) >= _MOST_HANGING:
                raise cannot_connect("earlier attempts to connect still hang: check this machine's name resolution")
            self._attempts.add(attempt)
        threading.Thread(target=attempt.work, name="connect", daemon=True).start()
        connection = attempt.result(min(within_seconds, self.settings.longest_connect_seconds()))
        with self._lock:
            self._made.add(connection)
            self.connections_made += 1
        if instead_of_lost and self._on_reconnect:
            self._on_reconnect()
        return connection

    @property
    def open_connections(self) -> int:
        """Count the connections that are open, as far as this machine knows."""
        with self._lock:
            return sum(connection.is_open for connection in self._made)

    def stop(self) -> None:
        """Refuse every connection from now on; at shutdown, from any thread.

        Threads that wait for one get DatabaseFault at once.
        """
        with self._lock:
            self._stopped = True
            for attempt in self._attempts:
                attempt.give_up()

    def _connect(
        self, label: str, profile: Profile, kind: type[BoundedConnection], *, any_schema: bool
    ) -> BoundedConnection:
        parameters = self.settings.libpq()
        password = self.settings.password()
        if password is not None:
            parameters["password"] = password
        parameters["application_name"] = application_name(self.settings.name, label)
        try:
            connection = kind.connect(autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type]
        except psycopg.Error as error:
            secrets = [str(parameters[key]) for key in ("password", "sslpassword") if parameters.get(key)]
            raise connect_fault(error, secrets, addresses(parameters)) from None
        try:
            with translating(connection), connection.within(max(2.0, self.settings.connect_timeout_seconds)):
                apply_settings(connection, profile.parameters())
                if not any_schema:
                    refuse_other_schema(connection, self.settings.app_schema)
        except BaseException:
            connection.close()
            raise
        return connection


class _Attempt:
    """One attempt to connect, shared by the connecting thread and the waiting one."""

    def __init__(self, connect: Callable[[], BoundedConnection]) -> None:
        self._connect = connect
        self._answers: queue.SimpleQueue[BoundedConnection | BaseException] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.wanted = True
        self.under_way = True

    def work(self) -> None:
        try:
            answer: BoundedConnection | BaseException = self._connect()
        except BaseException as error:  # handed to the thread that waits
            answer = error
        with self._lock:
            self.under_way = False
            if self.wanted or isinstance(answer, BaseException):
                self._answers.put(answer)
                return
        answer.close()

    def give_up(self) -> None:
        self._answers.put(cannot_connect("the daemon is stopping"))

    def result(self, seconds: float) -> BoundedConnection:
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            answer = cannot_connect(
                f"no connection within {seconds:.3g} s: the host, or the look-up of its name, hangs"
            )
        with self._lock:
            self.wanted = False
        with suppress(queue.Empty):
            late = self._answers.get_nowait()
            if isinstance(late, BoundedConnection):
                late.close()
        if isinstance(answer, BaseException):
            raise answer
        return answer
