"""Several prepared statements in one round trip: what comes back, what a failure leaves, and what is kept prepared."""

from collections.abc import Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg.abc import PQGen

from analytics_refreshd.postgres.connection.batch import MOST_PREPARED, BatchConnection, Statement, positional
from analytics_refreshd.postgres.connection.errors import Abandoned, DeadlineExceeded
from tests.support.faults import Connection

_Value = TypeVar("_Value")
PREPARED = Statement("select count(*) from pg_prepared_statements where name like 'batch%%'")


class Counting(BatchConnection):
    """Counts the round trips."""

    trips = 0

    def wait(self, gen: PQGen[_Value], *args: Any, **kwargs: Any) -> _Value:
        self.trips += 1
        return super().wait(gen, *args, **kwargs)


@pytest.fixture
def batched(dsn: str) -> Iterator[Counting]:
    """A connection that counts its round trips."""
    with Counting.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        yield connection


def test_placeholders_become_numbers() -> None:
    """One name is one number, wherever it stands; a percent sign stays one."""
    assert positional("select %(b)s, %(a)s::int, %(b)s like 'x%%'") == (
        "select $1, $2::int, $1 like 'x%'",
        ("b", "a"),
    )


def test_statements_share_a_round_trip(batched: Counting) -> None:
    """The rows of each come in order; what is left of a transaction is rolled back, and what is prepared stays."""
    statements = [
        Statement("begin read only"),
        Statement("select %(n)s::int + 1, %(text)s", {"n": 1, "text": "é"}),
        Statement("select n from generate_series(1, %(n)s) n", {"n": 3}),
        Statement("select null::int where false"),
        Statement("rollback"),
    ]
    before = batched.trips
    for _ in range(3):
        assert batched.batch(statements) == [[], [(2, "é")], [(1,), (2,), (3,)], [], []]
    assert batched.trips - before == 3
    assert batched.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    # with the one that counts them
    assert batched.batch([PREPARED]) == [[(6,)]]


def test_a_statement_that_comes_often_is_prepared_once(batched: Counting) -> None:
    """Within one batch too, and it takes the place of one among those that a session keeps."""
    asks = [Statement("select %(n)s::int", {"n": n}) for n in range(MOST_PREPARED + 1)]
    for _ in range(2):
        assert batched.batch(asks) == [[(n,)] for n in range(MOST_PREPARED + 1)]
    assert batched.batch([PREPARED]) == [[(2,)]]


def test_large_answers_and_large_values(batched: Counting) -> None:
    """Neither side waits for the other to read."""
    text = "x" * 3_000_000
    large = Statement("select %(text)s || repeat('y', 3000000)", {"text": text})
    for ((row,),) in batched.batch([large] * 3):
        assert len(row) == 6_000_000


def test_a_failure_ends_the_batch_and_not_the_connection(batched: Counting, connection: Connection) -> None:
    """What stands after it is not run, and has to be prepared again."""
    connection.execute("create table noted (n int)")
    failing = [Statement("select 1 / %(n)s", {"n": 0}), Statement("insert into noted values (1) returning n")]
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            batched.batch(failing)
        assert connection.execute("select count(*) from noted").fetchone() == (0,)
    with pytest.raises(psycopg.errors.SyntaxError):
        batched.batch([Statement("selec 1")])
    assert batched.batch([failing[1]]) == [[(1,)]]
    assert not batched.closed


def test_what_cannot_be_sent_leaves_the_connection_as_it_was(batched: Counting) -> None:
    """Values are made ready before anything is sent."""
    with pytest.raises(psycopg.DataError):
        batched.batch([Statement("select 1"), Statement("select %(text)s", {"text": "a\0b"})])
    assert batched.batch([Statement("select 1")]) == [[(1,)]]


def test_a_statement_that_means_something_else_by_now_ends_the_session(
    batched: Counting, connection: Connection
) -> None:
    """The pool makes another one, which prepares again; a statement that fails at first leaves the session alone."""
    connection.execute("create view shown as select 1 as n")
    asks = Statement("select * from shown")
    assert batched.batch([asks]) == [[(1,)]]
    connection.execute("drop view shown; create view shown as select 'one'::text as n")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        batched.batch([asks])
    assert batched.closed
    with BatchConnection.connect(connection.info.dsn, autocommit=True) as other:
        assert other.batch([asks]) == [[("one",)]]
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            other.batch([Statement("select count(*) from shown for update")])
        assert not other.closed


def test_a_session_keeps_so_many_and_no_more(batched: Counting) -> None:
    """Beyond that it forgets them, in the same round trip."""
    for number in range(2 * MOST_PREPARED):
        before = batched.trips
        assert batched.batch([Statement(f"select {number}")]) == [[(number,)]]
        assert batched.trips - before == 1
    (((count,),),) = batched.batch([PREPARED])
    assert 0 < count <= MOST_PREPARED


@pytest.mark.parametrize("cause", ["abandoned", "too late", "terminated"])
def test_a_connection_that_is_lost(batched: Counting, connection: Connection, cause: str) -> None:
    """Whoever asks gets an exception at once, and the connection is closed."""
    asks = Statement("select pg_sleep(%(n)s)", {"n": 0})
    batched.batch([asks])
    if cause == "abandoned":
        batched.abandon()
        with pytest.raises(Abandoned):
            batched.batch([asks])
    elif cause == "too late":
        with batched.within(0.2), pytest.raises(DeadlineExceeded):
            batched.batch([Statement(asks.text, {"n": 60}), asks])
    else:
        connection.execute("select pg_terminate_backend(%s, 60000)", (batched.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            batched.batch([asks])
    assert batched.closed
    with pytest.raises(psycopg.OperationalError):
        batched.batch([asks])


def test_a_statement_that_is_cancelled_leaves_the_connection(batched: Counting) -> None:
    """The server's own limit ends one statement, and those after it."""
    statements = [
        Statement("select set_config('statement_timeout', '50', false)"),
        Statement("select pg_sleep(60)"),
        Statement("select 1"),
    ]
    with pytest.raises(psycopg.errors.QueryCanceled):
        batched.batch(statements)
    assert batched.batch([Statement("select 2")]) == [[(2,)]]
