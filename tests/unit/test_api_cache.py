"""The cache of answers: bounded, one reading at a time, and never another's answer."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.api import cache as module
from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.cache import Answer, AnswerCache, Key
from analytics_refreshd.api.freshness import Known
from tests.support.waiting import eventually

SIZE = 1000
KEYS = st.builds(
    Key,
    st.sampled_from([None, (), ("acme",), ("bolt",), ("acme", "bolt")]),
    st.sampled_from(["owner", "viewer"]),
    st.sampled_from(['W/"1"', 'W/"2"']),
)


def answer(text: str, *, stale: bool = False) -> Answer:
    """An answer with this body."""
    return Answer(text.encode(), 1, Known({}, None), "tag", stale)


@given(st.lists(st.tuples(KEYS, st.booleans(), st.integers(0, 3 * SIZE)), max_size=60))
def test_an_answer_is_given_to_whom_it_is_for(steps: list[tuple[Key, bool, int]]) -> None:
    """To the same organizations, role and tag alone, the last one that was kept; and memory stays in its bounds."""
    kept = AnswerCache(5 * SIZE)
    last: dict[Key, Answer] = {}
    for key, puts, length in steps:
        if puts:
            last[key] = answer(repr(key).ljust(length))
            kept.put(key, last[key])
        found = kept.get(key, stale=False)
        assert found is None or found is last[key]
        assert kept.bytes == sum(len(one.body) + SIZE for one in kept._kept.values()) <= 5 * SIZE


def test_an_entry_belongs_to_principal_and_tag() -> None:
    """Two keys of an organization share it where their role is the same."""
    acme = Principal("key_1", ("acme",), "viewer", "free")
    kept = AnswerCache(10 * SIZE)
    kept.put(Key.of(acme, "a"), answer("x"))
    assert kept.get(Key.of(Principal("key_2", ("acme",), "viewer", "pro"), "a"), stale=False) is not None
    for other in (
        Principal("key_1", ("acme",), "admin", "free"),
        Principal("key_1", None, "viewer", "free"),
        Principal("key_1", ("bolt",), "viewer", "free"),
        Principal("key_1", ("acme", "bolt"), "viewer", "free"),
    ):
        assert kept.get(Key.of(other, "a"), stale=False) is None
    assert kept.get(Key.of(acme, "b"), stale=False) is None


def test_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within bytes and entries; what is too large is not kept, and none where there is no memory for it."""
    counts: Counter[str] = Counter()
    kept = AnswerCache(4 * SIZE, lambda result: counts.update([result]))
    first, second, third = (Key(None, "admin", str(number)) for number in range(3))
    kept.put(first, answer("x" * 800))
    kept.put(second, answer("y" * 800))
    assert kept.get(first, stale=False) is not None
    kept.put(third, answer("z" * 800))
    assert kept.get(second, stale=False) is None
    assert kept.get(first, stale=False) is not None
    kept.put(second, answer("y" * 3001))
    assert kept.get(second, stale=False) is None
    assert counts == {"hit": 2}
    monkeypatch.setattr(module, "MOST_ENTRIES", 1)
    kept.put(first, answer("x"))
    assert (len(kept._kept), kept.bytes) == (1, SIZE + 1)
    none = AnswerCache(0)
    none.put(first, answer(""))
    assert none.get(first, stale=False) is None


def test_an_answer_that_became_stale_is_read_again() -> None:
    """Its document says that it is fresh."""
    kept, key = AnswerCache(10 * SIZE), Key(None, "admin", "a")
    kept.put(key, answer("x"))
    assert kept.get(key, stale=True) is None
    kept.put(key, answer("y", stale=True))
    assert kept.get(key, stale=True) is not None
    assert kept.bytes == SIZE + 1


def flight(error: Exception | None = None) -> tuple[list[object], Counter[str], list[int]]:
    """What four threads get that ask the same while the first one reads."""
    counts: Counter[str] = Counter()
    kept = AnswerCache(10 * SIZE, lambda result: counts.update([result]))
    began, go, reads = threading.Event(), threading.Event(), list[int]()
    got: list[object] = []

    def read() -> Answer:
        reads.append(1)
        if len(reads) == 1:
            began.set()
            assert go.wait(60)
            if error is not None:
                raise error
        return answer("x")

    def ask() -> None:
        try:
            got.append(kept.once(Key(None, "admin", "a"), read))
        except Exception as raised:
            got.append(raised)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    assert began.wait(60)
    for thread in threads[1:]:
        thread.start()
    eventually(lambda: counts["joined"] == 3)
    go.set()
    for thread in threads:
        thread.join(60)
    assert not kept._flights
    return got, counts, reads


def test_equal_questions_are_read_once() -> None:
    """Who comes while it is read waits for it, also where it fails."""
    got, counts, reads = flight()
    assert len({id(one) for one in got}) == len(reads) == 1
    assert counts == {"miss": 1, "joined": 3}
    failure = RuntimeError("away")
    got, _, reads = flight(failure)
    assert got == [failure] * 4
    assert len(reads) == 1


def test_another_ones_refusal_is_not_mine() -> None:
    """Who waited reads for itself where the first one was refused."""
    got, _, reads = flight(AccessDenied(429, "rate_limited", "wait"))
    assert len(reads) == 4
    assert sum(isinstance(one, AccessDenied) for one in got) == 1
