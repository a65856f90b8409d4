"""A request and its reply."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from analytics_refreshd.api.access.principal import AccessDenied, Admission
from analytics_refreshd.api.problems import (
    MEDIA_TYPE,
    Problem,
    internal_error,
    of_denial,
    of_fault,
    of_warehouse_fault,
)
from analytics_refreshd.api.spool import Spool
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.warehouse import WarehouseFault

JSON = "application/json"
LEAST_PACKED_BYTES = 1000
"""A shorter body is not compressed."""
PACKED = {"Content-Encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its path, the values that stand in it, its query string's items in order, its body and method."""

    path: str
    places: Mapping[str, str]
    items: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    address: str
    request_id: str
    body: bytes = b""
    method: str = "GET"

    @property
    def unpacks(self) -> bool:
        """Whether the client takes a body that is compressed."""
        return "gzip" in self.headers.get("accept-encoding", "")

    def item(self, name: str) -> str | None:
        """Return the first item of that name."""
        return next((value for key, value in self.items if key == name), None)


@dataclass(slots=True)
class Reply:
    """A reply; `key_id`, `rows` and `error` are for the log. A `spool` stands for the body."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    key_id: str | None = None
    rows: int | None = None
    error: str | None = None
    exception: BaseException | None = None
    spool: Spool | None = None


def packed(body: bytes) -> bytes | None:
    """Compress a body that is to be sent more than once. None: it is too short for that."""
    return gzip.compress(body, 5, mtime=0) if len(body) >= LEAST_PACKED_BYTES else None


Step = Reply | Callable[[], Reply]
"""A reply, or what makes it and may wait for the database. It never raises."""


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)


def as_json(document: object) -> bytes:
    """Serialize a document that holds what JSON has."""
    return _ENCODER.encode(document).encode("utf-8", "replace")


def admitted(request: Request, admit: Callable[[], Admission], work: Callable[[Admission], Reply]) -> Reply:
    """Return what `work` makes for who is admitted. Never raises: a problem document stands for a failure."""
    admission: Admission | None = None
    try:
        admission = admit()
        reply = work(admission)
    except Exception as error:
        reply = of_error(error, request.request_id)
    return told(reply, admission)


def told(reply: Reply, admission: Admission | None) -> Reply:
    """Add to the reply what its admission tells: whose it is, and what is left of the limits."""
    if admission is not None:
        reply.key_id = admission.principal.key_id
        reply.headers = {**reply.headers, **admission.headers}
    return reply


def of_error(error: Exception, request_id: str) -> Reply:
    """Make the reply that a failure is."""
    reply = of_problem(_problem_of(error), request_id)
    cause = error.__cause__ if isinstance(error, Problem | AccessDenied) else error
    # a refusal is no failure for the log, unless the database did not tell who asks
    refused = any(isinstance(one, AccessDenied) for one in (error, cause))
    reply.exception = None if refused and not isinstance(cause, DatabaseFault) else cause
    return reply


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, AccessDenied):
        return of_denial(error)
    if isinstance(error, Problem):
        return error
    if isinstance(error, WarehouseFault):
        return of_warehouse_fault(error)
    return of_fault(error) if isinstance(error, DatabaseFault) else internal_error()


def of_problem(problem: Problem, request_id: str) -> Reply:
    """Make the reply that a problem is."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Reply(problem.status, as_json(problem.document(request_id)), MEDIA_TYPE, headers, error=problem.code)
