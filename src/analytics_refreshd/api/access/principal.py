"""Who asks, and what the gate answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `organizations` None is all of them.

    `key_id` names the key in logs and limits; it is never the key. `role` is owner, admin, member or viewer, `plan`
    free, starter, pro or enterprise. An operator may ask for a refresh or a pause.
    """

    key_id: str | None
    organizations: tuple[str, ...] | None
    role: str
    plan: str
    operator: bool = False


class AccessDenied(Exception):
    """A request that is not admitted, as the answer to it.

    `detail` is a sentence for the caller, without secrets. `headers` go with the answer.
    """

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers: Mapping[str, str] = headers or {}


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that is admitted. `headers` go with its answer, whatever that is."""

    principal: Principal
    headers: Mapping[str, str] = field(default_factory=dict)


class PersonGate(Protocol):
    """Admits to what concerns no organization. Callable from any thread; it may wait for the database."""

    def admit_person(self, headers: Mapping[str, str], address: str) -> Admission:
        """Return who asks, whatever organizations it sees. Raises AccessDenied: 400, 401, 429 or 503."""


class Gate(PersonGate, Protocol):
    """Admits requests. Callable from any thread; it may wait for the database."""

    def admit(self, headers: Mapping[str, str], organization_id: str | None, address: str, cost: int) -> Admission:
        """Return who asks. Raises AccessDenied: 400, 401, 403, 429 or 503.

        `organization_id` is the parameter of that name, `address` the client's, `cost` what the query counts for.
        """
