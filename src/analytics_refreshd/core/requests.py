"""What operators ask the leader for, and how their requests end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from analytics_refreshd.core.model import Outcome, Run


class RequestKind(StrEnum):
    """What is asked for."""

    REFRESH = "refresh"
    PAUSE = "pause"
    RESUME = "resume"


class RequestOutcome(StrEnum):
    """How a request ended: as its run did, or else `ok`, `failed` or `expired`."""

    OK = Outcome.OK
    PARTIAL = Outcome.PARTIAL
    FAILED = Outcome.FAILED
    TIMEOUT = Outcome.TIMEOUT
    CANCELLED = Outcome.CANCELLED
    UNKNOWN = Outcome.UNKNOWN
    SKIPPED = Outcome.SKIPPED
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """A request that has not ended.

    `length` is that of a pause. `run_id` is the run that refreshes for it, None before it was taken; `run_outcome` and
    `run_reason` are in history once that run is over. `expired` says that nobody took it in time, `lost` that it was
    taken long ago for a run that history does not have.
    """

    request_id: UUID
    kind: RequestKind
    actor: str
    reason: str | None
    length: timedelta | None
    requested_at: datetime
    expired: bool = False
    run_id: UUID | None = None
    run_outcome: str | None = None
    run_reason: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class RequestState:
    """What became of a request, as who asked may read it.

    `state` is waiting, running, ended or expired; `led` says whether a daemon leads now. `outcome` and `detail` are
    those of its end, `joined` whether its run had begun before.
    """

    request_id: UUID
    kind: str
    state: str
    actor: str
    reason: str | None
    pause_for: timedelta | None
    requested_at: datetime
    expires_at: datetime
    led: bool
    run_id: UUID | None = None
    joined: bool | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    detail: str | None = None
    paused_until: datetime | None = None
    pauses_ended: int | None = None


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """How a request ended. `detail` says why where that is not ok."""

    outcome: RequestOutcome
    detail: str | None = None
    paused_until: datetime | None = None
    pauses_ended: int | None = None


class RequestStore(Protocol):
    """Stores what operators ask for, and what was done.

    Without our schema, or the rights on it, there is nothing. Every method raises DatabaseFault.
    """

    def open(self) -> list[OperatorRequest]:
        """Return the requests that have not ended, the oldest first."""

    def take(self, request_ids: Sequence[UUID], run_id: UUID, *, joined: bool) -> list[UUID]:
        """Note that a run refreshes for these requests. Returns those that no other replica took before.

        `joined` says that the run had begun.
        """

    def end(self, request_id: UUID, end: RequestEnd) -> bool:
        """Note how a request ended. False where another replica noted it before."""

    def pause(self, request: OperatorRequest) -> RequestEnd | None:
        """Pause refreshes and note it, in one transaction. None where another replica did."""

    def resume(self, request: OperatorRequest) -> RequestEnd | None:
        """End every pause and note it, in one transaction. None where another replica did."""

    def prune(self) -> None:
        """Delete requests that are older than they are kept."""


def end_of(request: OperatorRequest, known: RequestEnd | None = None) -> RequestEnd | None:
    """Return how a request has ended.

    None while it waits or its run goes on. `known` is the end of its run, where this process saw it.
    """
    if request.expired:
        return RequestEnd(RequestOutcome.EXPIRED, "no leader took it in time")
    if request.run_id is None:
        return None
    if known is not None:
        return known
    if request.run_outcome is not None:
        return RequestEnd(RequestOutcome(request.run_outcome), request.run_reason)
    if request.lost:
        return RequestEnd(RequestOutcome.UNKNOWN, "the daemon that took it ended before it refreshed")
    return None


def end_of_run(run: Run | None) -> RequestEnd:
    """Return how requests end with their run.

    None: it was not begun.
    """
    if run is None or run.outcome is None:
        return RequestEnd(RequestOutcome.CANCELLED, "the daemon stopped, or lost the lead, before it began")
    return RequestEnd(RequestOutcome(run.outcome), str(run.reason) if run.reason else None)
