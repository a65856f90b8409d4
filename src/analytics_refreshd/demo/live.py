"""Actions that keep happening while the demo runs: a thread that inserts them and settles the retrying ones."""

import threading
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from random import Random

import psycopg

from analytics_refreshd.demo.actions import Action, Generator, live_incident
from analytics_refreshd.demo.interrupt import start_unsignalled
from analytics_refreshd.demo.loading import statement
from analytics_refreshd.demo.world import World

_PER_SECOND = 2.0
_RETRY_AFTER_SECONDS = (4.0, 20.0)
_RECONNECT_AFTER_SECONDS = 1.0


class Live:
    """Inserts about two actions a second into `dsn` from `start` to `stop`; survives a lost connection."""

    def __init__(self, dsn: str, world: World, seed: int, *, per_second: float = _PER_SECOND) -> None:
        self._dsn = dsn
        self._begun_at = datetime.now(UTC)
        self._seed = seed
        # Not the seed alone: a demo that goes on with kept data must not draw the same ids again.
        self._random = Random(f"live {seed} {self._begun_at}")  # noqa: S311
        self._generator = Generator(world, self._random)
        self._per_second = per_second
        self._retrying: list[tuple[datetime, Action]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-live", daemon=True)

    def start(self) -> None:
        """Begin."""
        start_unsignalled(self._thread)

    def stop(self) -> None:
        """End, and wait for the statement under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(
                    self._dsn, autocommit=True, connect_timeout=5, application_name="analytics-refreshd-demo"
                ) as connection:
                    self._act(connection)
            except psycopg.Error:
                # A visitor may stop the server or lock the table to see what happens; the stream goes on after it.
                self._stopping.wait(_RECONNECT_AFTER_SECONDS)

    def _act(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        while not self._stopping.wait(self._random.expovariate(self._per_second)):
            now = datetime.now(UTC)
            action = self._generator.at(now, live_incident(self._seed, self._begun_at, now))
            connection.execute(statement("insert_action"), asdict(action))
            if action.status == "retrying":
                wait = timedelta(seconds=self._random.uniform(*_RETRY_AFTER_SECONDS))
                self._retrying.append((now + wait, action))
            self._settle(connection, now)

    def _settle(self, connection: psycopg.Connection[tuple[object, ...]], now: datetime) -> None:
        due = [action for at, action in self._retrying if at <= now]
        self._retrying = [waiting for waiting in self._retrying if waiting[0] > now]
        for action in due:
            connection.execute(statement("settle_action"), asdict(self._generator.settle(action)))
