"""Break the database and the daemons, and fix them."""

import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from analytics_refreshd.demo.background import BackgroundThread
from analytics_refreshd.demo.chaos.daemons import Daemon
from analytics_refreshd.demo.chaos.model import LOCK_HOLDER, Break, Kind
from analytics_refreshd.demo.chaos.settings import INTERVAL_SECONDS, ROLE
from analytics_refreshd.demo.loading import statement
from analytics_refreshd.demo.server import Server
from analytics_refreshd.postgres.migrate.run import migrate

_STATEMENT_SECONDS = 30
_EARLY_SECONDS = 0.3
_SLOWED_SECONDS = 1.6


class Breaker:
    """Breaks one thing at a time, and fixes it. Both raise psycopg.Error and DemoError."""

    def __init__(self, server: Server, daemons: dict[str, Daemon]) -> None:
        self._server = server
        self._daemons = daemons
        self._fix: Callable[[], str] | None = None
        self._holds_lock = False

    def break_now(self, broken: Break) -> str:
        """Break it, and return how, in words."""
        self._holds_lock = broken.kind in (Kind.LOCK, Kind.SLOW)
        match broken.kind:
            case Kind.LOCK:
                return self._lock(broken.view)
            case Kind.DROP:
                return self._drop(broken.view)
            case Kind.REVOKE:
                return self._revoke(broken.view)
            case Kind.SLOW:
                return self._slow()
            case Kind.STOP:
                return self._stop()
            case Kind.KILL:
                return self._kill(broken.replica)

    def fix(self) -> str:
        """Fix what is broken, and return how, in words. Harmless twice."""
        fix, self._fix = self._fix, None
        return fix() if fix else ""

    def close(self) -> None:
        """Let go of what is held. What is broken otherwise goes with the demo."""
        if self._holds_lock:
            self.fix()

    def _connect(self, name: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            self._server.dsn,
            autocommit=True,
            connect_timeout=10,
            application_name=name,
            options=f"-c statement_timeout={_STATEMENT_SECONDS}s",
        )

    def _lock(self, view: str) -> str:
        holder = self._connect(LOCK_HOLDER)
        self._fix = lambda: _end(holder)
        holder.execute("begin")
        holder.execute(statement("chaos_lock", view=view))
        return f"{LOCK_HOLDER} refreshes it by itself, and leaves its transaction open"

    def _drop(self, view: str) -> str:
        with self._connect("a-person") as connection:
            connection.execute(statement("chaos_drop", view=view))
        self._fix = self._migrate
        return "DROP MATERIALIZED VIEW"

    def _migrate(self) -> str:
        with psycopg.connect(self._server.dsn, autocommit=True) as connection:
            migrate(connection, app_schema="public")
        return "created again, with its grants, by `analytics-refreshd migrate`"

    def _revoke(self, view: str) -> str:
        self._on_view("chaos_revoke", view)
        self._fix = lambda: self._on_view("chaos_grant", view)
        return f"REVOKE MAINTAIN FROM {ROLE}"

    def _on_view(self, name: str, view: str) -> str:
        with self._connect("a-person") as connection:
            connection.execute(statement(name, view=view, role=ROLE))
        return f"GRANT MAINTAIN TO {ROLE}"

    def _slow(self) -> str:
        slow = SlowTable(self._connect("schema-change"))
        slow.start()
        self._fix = slow.end
        return f"schema-change locks action_results for {_SLOWED_SECONDS} s whenever a refresh begins"

    def _stop(self) -> str:
        self._fix = self._start
        self._server.halt()
        return "pg_ctl stop"

    def _start(self) -> str:
        self._server.start()
        return "pg_ctl start"

    def _kill(self, replica: str) -> str:
        self._fix = lambda: self._restart(replica)
        self._daemons[replica].kill()
        return "kill -9"

    def _restart(self, replica: str) -> str:
        self._daemons[replica].start()
        return "started again, as systemd does"


def _end(holder: psycopg.Connection[tuple[object, ...]]) -> str:
    holder.close()
    return f"the session of {LOCK_HOLDER} is ended"


class SlowTable(BackgroundThread):
    """Makes each refresh wait for its table. It waits for less than its lock timeout."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        super().__init__("chaos-slow")
        self._connection = connection

    def end(self) -> str:
        """Stop, and return how in words."""
        self.stop()
        self._connection.close()
        return "schema-change is over"

    def _run(self) -> None:
        with suppress(psycopg.Error):
            while not self._stopping.wait(_until_slot(time.time())):
                with self._connection.transaction():
                    self._connection.execute(statement("chaos_wait"))
                    self._stopping.wait(_EARLY_SECONDS + _SLOWED_SECONDS)


def _until_slot(now: float) -> float:
    """Return the seconds until shortly before the next slot."""
    return (-now - _EARLY_SECONDS) % INTERVAL_SECONDS
