"""What the adapters rely on in psycopg beyond its documentation; pyproject.toml pins it below the next minor."""

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg.abc import PQGen

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.errors import Abandoned
from tests.support.postgres import free_port

_Value = TypeVar("_Value")


class Woken(psycopg.Connection[tuple[Any, ...]]):
    """Counts how often a wait is resumed before the server has said anything."""

    unready = 0

    def wait(self, gen: PQGen[_Value], *args: Any, **kwargs: Any) -> _Value:
        return super().wait(self._counting(gen), *args, **kwargs)

    def _counting(self, gen: PQGen[_Value]) -> PQGen[_Value]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                self.unready += not ready
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _copy(connection: BoundedConnection) -> None:
    with connection.cursor().copy("copy (select 1) to stdout") as copy:
        copy.read()


@pytest.mark.parametrize(
    "work",
    [
        lambda connection: connection.execute("select 1"),
        lambda connection: connection.cursor().executemany("select %s", [(1,), (2,)]),
        lambda connection: list(connection.cursor().stream("select 1")),
        lambda connection: connection.transaction().__enter__(),
        lambda connection: connection.commit(),
        lambda connection: connection.rollback(),
        _copy,
    ],
    ids=["execute", "executemany", "stream", "transaction", "commit", "rollback", "copy"],
)
def test_every_wait_for_the_server_is_a_call_of_wait(dsn: str, work: Callable[[BoundedConnection], Any]) -> None:
    """BoundedConnection overrides `Connection.wait`: whatever went around it would have no time limit."""
    with BoundedConnection.connect(dsn) as connection:
        connection.execute("select 1")
        connection.abandon()
        with pytest.raises(Abandoned):
            work(connection)
        assert connection.closed


def test_a_waiting_thread_is_woken_without_an_answer(dsn: str) -> None:
    """`wait` resumes its generator every tenth of a second with nothing ready: the limit is checked then."""
    with Woken.connect(dsn, autocommit=True) as connection:
        connection.execute("select pg_sleep(1)")
        assert connection.unready >= 2


def test_a_failed_attempt_names_its_user_and_database() -> None:
    """`Error.pgconn` is there after a failed connect: remedies name the role and the database."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(f"postgresql://someone@127.0.0.1:{free_port()}/somewhere")
    assert caught.value.pgconn is not None
    assert (caught.value.pgconn.user, caught.value.pgconn.db) == (b"someone", b"somewhere")


def test_several_failed_hosts_are_told_after_a_known_line() -> None:
    """The text before that line is the last host's; the rest repeats every attempt and is cut off."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(f"host=127.0.0.1,localhost port={free_port()},{free_port()} user=u dbname=d")
    assert str(caught.value).partition("Multiple connection attempts failed")[1]
