"""What an erasure's receipt says of whom, and what a token confirms."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core import confirmation
from analytics_refreshd.core.erasure import Key, Mode, Receipt, Scope, Subject, latest, matching

KEY = Key(b"0123456789abcdef")
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SUBJECT = Subject(Scope.USER, "u1")
RECEIPT = Receipt(
    erasure_id=UUID(int=1),
    scope=Scope.USER,
    mode=Mode.REDACT,
    subject_hash=KEY.subject_hash(SUBJECT),
    key_id=KEY.key_id,
    begun_at=AT,
    ended_at=AT + timedelta(minutes=1),
    actor="dpo",
    triggers=1,
    rows_erased=2,
    rows_left=0,
    rows_unlinked=3,
    frozen_executions=0,
    texts_erased=0,
    outcome="ok",
    reason=None,
)


def test_a_short_key_is_refused() -> None:
    """A key that can be guessed hides nothing."""
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Key(b"0123456789abcde")


@given(st.binary(), st.binary())
def test_a_hash_tells_equal_ids_and_nothing_else(one: bytes, other: bytes) -> None:
    """Equal ids have one hash, different ids two; of its form so that it is known as one; another key makes another."""
    assert (KEY.redacted(one) == KEY.redacted(other)) == (one == other)
    assert KEY.redacted(None) is None
    hashed = KEY.redacted(one)
    assert hashed is not None
    assert hashed.startswith("erased:")
    assert len(hashed) == len("erased:") + 32
    assert Key(b"another key, also long").redacted(one) != hashed


def test_the_same_id_of_a_user_and_of_a_trigger_differ() -> None:
    """A receipt of a user is none of a trigger that happens to have the same id, and no hash of a row."""
    hashes = {KEY.subject_hash(Subject(scope, "u1")) for scope in Scope}
    assert len(hashes | {(KEY.redacted(b"u1") or "").removeprefix("erased:")}) == 4


def test_a_receipt_finds_whom_it_speaks_of() -> None:
    """By the key that it names, among the ids of its scope; the last of each subject and mode."""
    later = replace(RECEIPT, erasure_id=UUID(int=2), begun_at=AT + timedelta(days=1), ended_at=None)
    deleted = replace(RECEIPT, erasure_id=UUID(int=3), mode=Mode.DELETE)
    assert latest([later, RECEIPT, deleted]) == [deleted, later]
    assert (RECEIPT.until, later.until) == (RECEIPT.ended_at, later.begun_at)
    candidates = {Scope.USER: ["u0", "u1"], Scope.TRIGGER: ["u1"]}
    foreign = replace(RECEIPT, key_id="another")
    unknown = replace(RECEIPT, subject_hash="of nobody")
    assert matching(KEY, [RECEIPT, foreign, unknown], candidates) == [(RECEIPT, SUBJECT)]


def test_a_token_is_good_for_a_day_and_for_what_was_said() -> None:
    """The hour of any time of the last day is found; another act, or an older token, is not."""

    def token_of(hour: datetime) -> str:
        return confirmation.token(hour, [hour.isoformat(), "said"])

    newest = confirmation.whole_hour(AT + timedelta(minutes=59))
    assert newest == AT
    for hours, good in ((0, True), (24, True), (25, False), (-1, False)):
        hour = AT - timedelta(hours=hours)
        assert confirmation.confirmed_hour(f" {token_of(hour)}\n", newest, token_of) == (hour if good else None)
    assert confirmation.confirmed_hour(confirmation.token(AT, ["another"]), newest, token_of) is None
