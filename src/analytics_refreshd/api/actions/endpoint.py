"""Takes what operators ask for, and tells what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from analytics_refreshd.api.access.principal import Admission, PersonGate
from analytics_refreshd.api.actions.body import wish_of
from analytics_refreshd.api.answers import moment
from analytics_refreshd.api.body import refuse_other_site, refuse_other_types
from analytics_refreshd.api.exchange import Reply, Request, admitted, as_json
from analytics_refreshd.api.problems import Problem, not_written, unknown_parameter
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.requests import RequestKind, RequestState

ACTION_PATHS = {f"/api/v1/{kind}": kind for kind in RequestKind}
REQUESTS_PATH = "/api/v1/requests"
STATE_PATH = f"{REQUESTS_PATH}/{{request_id}}"
STATE = "requests"
"""The endpoint that tells of a request, for metrics and log."""
_SECONDS = "2"
_RATE_STATE = "54000"


class RequestBook(Protocol):
    """Where requests are written, for the leader. Every method raises DatabaseFault."""

    def ask(self, kind: RequestKind, actor: str, reason: str | None, length: timedelta | None) -> RequestState:
        """Write a request; return it. It is written at most once."""

    def state(self, request_id: UUID) -> RequestState | None:
        """Return what became of a request. None: there is none of this id."""


@dataclass(frozen=True, slots=True)
class Actions:
    """Answers operators alone. Every answer is made in the caller's thread, which may wait for the database."""

    gate: PersonGate
    book: RequestBook
    clock: Clock

    def ask(self, kind: RequestKind, request: Request) -> Reply:
        """Take a request, for the leader to do. Never raises."""

        def answer(admission: Admission) -> Reply:
            wish = wish_of(kind, request.body)
            try:
                asked = self.book.ask(kind, admission.principal.key_id or "", wish.reason, wish.length)
            except DatabaseFault as fault:
                raise _refused(fault) from fault
            place = f"{REQUESTS_PATH}/{asked.request_id}"
            return self._reply(202, asked, {"Location": place, "Retry-After": _SECONDS})

        def check() -> None:
            refuse_other_site(request.headers)
            refuse_other_types(request.headers)

        return self._admitted(request, answer, check)

    def state(self, request: Request) -> Reply:
        """Tell what became of a request. Never raises."""

        def answer(admission: Admission) -> Reply:
            found = self.book.state(request_id) if (request_id := _id(request.places["request_id"])) else None
            if found is None:
                raise Problem(404, "not_found", "there is no request of this id")
            return self._reply(200, found, {})

        return self._admitted(request, answer)

    def _admitted(
        self, request: Request, answer: Callable[[Admission], Reply], checked: Callable[[], None] = lambda: None
    ) -> Reply:
        def admit() -> Admission:
            checked()
            return self.gate.admit_person(request.headers, request.address)

        def operate(admission: Admission) -> Reply:
            if not admission.principal.operator:
                text = "only operators may ask for this: `keys create --operator` makes a key that may"
                raise Problem(403, "forbidden", text)
            for name, _ in request.items:
                raise unknown_parameter(name, ())
            return answer(admission)

        return admitted(request, admit, operate)

    def _reply(self, status: int, state: RequestState, headers: dict[str, str]) -> Reply:
        body = {"data": _document(state), "meta": {"generated_at": moment(self.clock.now())}}
        return Reply(status, as_json(body), headers={"Cache-Control": "no-store", **headers})


def _document(state: RequestState) -> dict[str, object]:
    length = state.pause_for.total_seconds() if state.pause_for is not None else None
    return {
        "request_id": str(state.request_id),
        "kind": state.kind,
        "state": state.state,
        "actor": state.actor,
        "reason": state.reason,
        "for_seconds": length,
        "requested_at": moment(state.requested_at),
        "expires_at": moment(state.expires_at),
        "leader": state.led,
        "run_id": str(state.run_id) if state.run_id else None,
        "joined": state.joined,
        "ended_at": moment(state.ended_at),
        "outcome": state.outcome,
        "detail": state.detail,
        "paused_until": moment(state.paused_until),
        "pauses_ended": state.pauses_ended,
    }


def _refused(fault: DatabaseFault) -> Problem:
    if fault.sqlstate == _RATE_STATE:
        text = "too many requests of operators in the hour: 20 by one, 200 by all"
        return Problem(429, "rate_limited", text, headers={"Retry-After": "600"})
    return not_written(fault)


def _id(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
