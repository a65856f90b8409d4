"""Errors as the API's clients read them: RFC 9457 documents with `error`, `message` and `details`."""

import difflib
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from analytics_refreshd.api.access.principal import AccessDenied
from analytics_refreshd.core.api_metrics import REFUSALS
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.warehouse import FaultKind, WarehouseFault

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
CODES = (*REFUSALS, "internal_error", "service_unavailable", "timeout")
"""Every value of `error`. A closed list: clients compare with it."""


class Problem(Exception):
    """A request that is answered by a problem document.

    `message` is a sentence for the caller, without secrets. `headers` go with the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def document(self, request_id: str) -> dict[str, object]:
        """Return the members of the document."""
        return {
            "type": f"urn:analytics-refreshd:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.message,
            "instance": f"urn:analytics-refreshd:request:{request_id}",
            "error": self.code,
            "message": self.message,
            "details": self.details,
        }


def invalid(message: str, **details: object) -> Problem:
    """Make the problem of a parameter that cannot be used."""
    return Problem(400, "validation_error", message, details=details)


def unknown_parameter(name: str, known: Iterable[str]) -> Problem:
    """Make the problem of an unknown parameter.

    It names the nearest.
    """
    names = sorted(known)
    shown = name if len(name) <= 40 else f"{name[:39]}…"
    near = difflib.get_close_matches(name[:100], names, n=1, cutoff=0.4)
    advice = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}"
    return invalid(f"there is no parameter {shown!r}; {advice}", parameter=shown, nearest=next(iter(near), None))


def of_denial(denial: AccessDenied) -> Problem:
    """Translate what the gate refused."""
    return Problem(denial.status, denial.code, denial.detail, headers=denial.headers)


def of_fault(fault: DatabaseFault) -> Problem:
    """Translate a database's fault. Its own text stays in the log: it names servers, roles and relations."""
    retry = {"Retry-After": str(RETRY_SECONDS)}
    if fault.reason is Reason.TIMEOUT:
        text = "the database took too long for this answer: ask for less, or later"
        return Problem(503, "timeout", text, headers=retry)
    if fault.sqlstate == "22023":
        return invalid("the database cannot use a value of this request, such as its time zone")
    if fault.error_class is ErrorClass.CONTENTION:
        return Problem(503, "service_unavailable", "a lock keeps this answer from being read now", headers=retry)
    if fault.error_class is ErrorClass.PERMANENT and fault.reason in (Reason.OTHER, Reason.DATA):
        return internal_error()
    if fault.error_class is ErrorClass.PERMANENT:
        text = "the database lacks what this answer needs: its operator runs `analytics-refreshd check`"
        return Problem(503, "service_unavailable", text, headers=retry)
    return Problem(503, "service_unavailable", "the database cannot be reached now", headers=retry)


def of_warehouse_fault(fault: WarehouseFault) -> Problem:
    """Translate a warehouse's fault. Its own text stays in the log."""
    retry = {"Retry-After": str(RETRY_SECONDS)}
    if fault.kind is FaultKind.TIMEOUT:
        text = "the warehouse took too long for this answer: ask for less, or later"
        return Problem(503, "timeout", text, headers=retry)
    if fault.kind is FaultKind.TOO_LARGE:
        return invalid("the rows are more than an answer may hold: ask for less, or page by page")
    if fault.kind is FaultKind.AWAY:
        return Problem(503, "service_unavailable", "the warehouse cannot be reached now", headers=retry)
    text = "the warehouse cannot answer this now: its operator finds why in the log"
    return Problem(503, "service_unavailable", text, headers=retry)


def not_written(fault: DatabaseFault) -> Problem:
    """Translate the fault of a write, which goes to the primary alone."""
    if not fault.error_class.away:
        return of_fault(fault)
    text = (
        "this cannot be asked for now: it is written to the primary, which cannot be reached. Where [database]"
        " leads to a standby, [api] write_url names the primary"
    )
    return Problem(503, "service_unavailable", text, headers={"Retry-After": str(RETRY_SECONDS)})


def internal_error() -> Problem:
    """Make the problem of a defect. What happened is in the log, under the request's id."""
    return Problem(500, "internal_error", "an internal error: its operator finds the request's id in the log")
