"""What is sent to a warehouse next follows from what both sides say they have."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from analytics_refreshd.core.warehouse import Batch, Doing, OutboxState, Position, Step, next_step

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPOCH, BEFORE, FIRST, SECOND = (UUID(int=number) for number in range(1, 5))
WAITING = (Batch(8, FIRST, 10, NOW - timedelta(seconds=90)), Batch(9, SECOND, 5, NOW - timedelta(seconds=30)))
OUTBOX = OutboxState(
    epoch=3,
    epoch_id=EPOCH,
    epoch_reason="installation",
    epoch_at=NOW - timedelta(hours=1),
    recording=True,
    base_batch=5,
    base_folded_at=NOW - timedelta(hours=1),
    acknowledged_batch=7,
    acknowledged_id=BEFORE,
    waiting=WAITING,
    ranges=4,
    ranges_left=0,
    read_at=NOW,
)


@pytest.mark.parametrize(
    ("position", "step"),
    [
        (None, Step(Doing.EXPORT)),
        (Position(2, EPOCH, 5, None), Step(Doing.EXPORT)),
        (Position(3, EPOCH, 7, BEFORE), Step(Doing.SEND, batch=WAITING[0])),
        (Position(3, EPOCH, 8, FIRST), Step(Doing.SEND_AGAIN, batch=WAITING[0])),
        (Position(3, EPOCH, 9, SECOND), Step(Doing.SEND_AGAIN, batch=WAITING[1])),
    ],
)
def test_what_both_know_leads_on(position: Position | None, step: Step) -> None:
    """An export, the next batch, or a batch whose answer was lost."""
    assert next_step(OUTBOX, position) == step


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (Position(4, EPOCH, 7, BEFORE), "the warehouse has an epoch of another copy of this database"),
        (Position(3, BEFORE, 7, BEFORE), "the warehouse has an epoch of another copy of this database"),
        (Position(3, EPOCH, 8, SECOND), "the warehouse has a batch that this database has not"),
        (Position(3, EPOCH, 12, UUID(int=99)), "the warehouse has a batch that this database has not"),
        (Position(3, EPOCH, 7, FIRST), "the warehouse lost batches"),
        (Position(3, EPOCH, 6, BEFORE), "the warehouse lost batches"),
        (Position(3, EPOCH, 5, None), "the warehouse lost batches"),
    ],
)
def test_what_has_parted_begins_a_new_epoch(position: Position, reason: str) -> None:
    """Numbers or identities that do not agree are never sent after."""
    assert next_step(OUTBOX, position) == Step(Doing.RESTART, reason=reason, above=position.epoch)


def test_the_base_of_an_export_is_where_its_batches_begin() -> None:
    """Before the first of them neither side has an identity."""
    fresh = replace(OUTBOX, acknowledged_batch=5, acknowledged_id=None)
    assert next_step(fresh, Position(3, EPOCH, 5, None)) == Step(Doing.SEND, batch=WAITING[0])
    assert next_step(replace(fresh, waiting=()), Position(3, EPOCH, 5, None)) == Step(Doing.SEND)


def test_the_lag_is_the_age_of_the_oldest_that_waits() -> None:
    """Of the oldest batch; of the epoch while that is exported; none where nothing waits."""
    assert OUTBOX.lag_seconds(NOW) == 90.0
    assert OUTBOX.rows == 15
    assert replace(OUTBOX, waiting=()).lag_seconds(NOW) == 0.0
    assert replace(OUTBOX, ranges_left=1).lag_seconds(NOW) == 3600.0
    assert replace(OUTBOX, recording=False, waiting=()).lag_seconds(NOW) == 3600.0
    assert OUTBOX.lag_seconds(NOW - timedelta(hours=2)) == 0.0
