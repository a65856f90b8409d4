"""Who has to go when clients hold too much."""

from typing import Any

from analytics_refreshd.observe.http_loop import Connection, HttpLimits, to_drop

LIMITS = HttpLimits(connections=3, answer_bytes=100, seconds=10.0)
NO_SOCKET: Any = None


def client(since: float, answer: bytes | None = None) -> Connection:
    """A connection as the decision sees it."""
    return Connection(NO_SOCKET, since, answer=answer)


def test_nobody_goes_without_need() -> None:
    """At each limit, not beyond it."""
    clients = [client(0.0), client(5.0, b"a" * 60), client(6.0, b"b" * 40)]
    assert to_drop(clients, LIMITS, 10.0) == []


def test_the_overdue_go() -> None:
    """Whether it is the request or the taking of the answer that does not end."""
    slow, unread, sent, young = client(0.0), client(1.0, b"a"), client(2.0, b""), client(5.0)
    assert set(to_drop([young, slow, sent], LIMITS, 12.5)) == {slow, sent}
    assert to_drop([unread, young], LIMITS, 12.5) == [unread]


def test_the_oldest_go_where_there_are_too_many() -> None:
    """Busy or not."""
    busy, idle, young, younger, youngest = (client(1.0, b"a"), client(2.0), client(3.0), client(4.0), client(5.0))
    assert set(to_drop([young, idle, youngest, busy, younger], LIMITS, 6.0)) == {busy, idle}


def test_the_oldest_answers_go_where_they_are_too_large() -> None:
    """Those that hold no answer stay."""
    large, asking, newer = client(1.0, b"a" * 70), client(0.5), client(2.0, b"b" * 70)
    assert to_drop([newer, large, asking], LIMITS, 3.0) == [large]


def test_a_shared_answer_counts_once() -> None:
    """Many who got the same bytes hold as much memory as one."""
    answer = b"a" * 70
    assert to_drop([client(1.0, answer), client(1.0, answer), client(1.0, answer)], LIMITS, 3.0) == []


def test_the_newest_answer_stays_however_large() -> None:
    """A limit that no answer fits in would be the end of all answers."""
    assert to_drop([client(1.0, b"a" * 1000)], LIMITS, 3.0) == []
