"""How a request of an operator ends: by its run, by its time, or with the daemon that took it."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from analytics_refreshd.core.model import Origin, Outcome, Reason, Run
from analytics_refreshd.core.requests import (
    OperatorRequest,
    RequestEnd,
    RequestKind,
    RequestOutcome,
    end_of,
    end_of_run,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WAITING = OperatorRequest(UUID(int=1), RequestKind.REFRESH, "key_1", None, None, NOW)
TAKEN = replace(WAITING, run_id=UUID(int=2))


@pytest.mark.parametrize(
    ("request_", "known", "ends"),
    [
        (WAITING, None, None),
        (replace(WAITING, expired=True), None, RequestOutcome.EXPIRED),
        (TAKEN, None, None),
        (replace(TAKEN, run_outcome="partial", run_reason="timeout"), None, RequestOutcome.PARTIAL),
        (replace(TAKEN, lost=True), None, RequestOutcome.UNKNOWN),
        (TAKEN, RequestEnd(RequestOutcome.OK), RequestOutcome.OK),
        # what this process saw goes before what history has
        (replace(TAKEN, run_outcome="unknown"), RequestEnd(RequestOutcome.OK), RequestOutcome.OK),
    ],
)
def test_a_request_ends_with_its_run_or_its_time(
    request_: OperatorRequest, known: RequestEnd | None, ends: RequestOutcome | None
) -> None:
    """It waits, or its run goes on, until one of them says how it ended."""
    found = end_of(request_, known)
    assert (found.outcome if found else None) == ends


def test_a_run_that_was_not_begun_cancels_its_requests() -> None:
    """As where the daemon stops, or loses the lead, before it comes to it."""
    assert end_of_run(None).outcome is RequestOutcome.CANCELLED
    run = Run(UUID(int=2), Origin.COMMAND, NOW, outcome=Outcome.SKIPPED, reason=Reason.PAUSED)
    assert end_of_run(run) == RequestEnd(RequestOutcome.SKIPPED, "paused")
    assert {outcome.value for outcome in Outcome} < {outcome.value for outcome in RequestOutcome}
