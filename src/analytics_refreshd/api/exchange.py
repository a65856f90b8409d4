"""A request and its reply."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analytics_refreshd.api.problems import MEDIA_TYPE, Problem
from analytics_refreshd.api.spool import Spool

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its path, the values that stand in it, its query string's items in order, and its body."""

    path: str
    places: Mapping[str, str]
    items: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    address: str
    request_id: str
    body: bytes = b""

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


def as_json(document: object) -> bytes:
    """Serialize a document that holds what JSON has."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def of_problem(problem: Problem, request_id: str) -> Reply:
    """Make the reply that a problem is."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Reply(problem.status, as_json(problem.document(request_id)), MEDIA_TYPE, headers, error=problem.code)
