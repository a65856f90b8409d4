"""Admits requests by key or token, within their limits."""

from collections.abc import Mapping
from typing import Protocol

from analytics_refreshd.api.access.keys import KeyGate
from analytics_refreshd.api.access.principal import AccessDenied, Admission, Gate, Principal
from analytics_refreshd.api.access.requests import unauthorized, values


class RequestLimits(Protocol):
    """How many requests are admitted. `waits` is whether counting may wait for another process."""

    waits: bool

    def count(self, principal: Principal, address: str, cost: int) -> Mapping[str, str]:
        """Count a request; return the headers that tell what is left. Raises AccessDenied (429)."""


class AccessGate:
    """Admits by `X-API-Key` or `Authorization: Bearer`, and counts what it admits."""

    def __init__(self, keys: KeyGate, tokens: Gate | None = None, limits: RequestLimits | None = None) -> None:
        self._keys = keys
        self._tokens = tokens
        self._limits = limits

    def admit(self, headers: Mapping[str, str], organization_id: str | None, address: str, cost: int) -> Admission:
        """Return who asks. Raises AccessDenied."""
        admission = self._gate(headers).admit(headers, organization_id, address, cost)
        if self._limits is None:
            return admission
        return Admission(admission.principal, self._limits.count(admission.principal, address, cost))

    def admit_remembered(
        self, headers: Mapping[str, str], organization_id: str | None, address: str, cost: int
    ) -> Admission | None:
        """Return who asks and count the request, as `admit` does.

        None, and nothing is counted, if that could wait. For the server's loop. Raises AccessDenied.
        """
        if self._limits is None or self._limits.waits or self._gate(headers) is not self._keys:
            return None
        admission = self._keys.admit_remembered(headers, organization_id)
        if admission is None:
            return None
        return Admission(admission.principal, self._limits.count(admission.principal, address, cost))

    def identify(self, headers: Mapping[str, str], organization_id: str | None, address: str) -> Principal:
        """Return who asks, without counting a request: who was admitted before listens still. Raises AccessDenied."""
        return self._gate(headers).admit(headers, organization_id, address, 0).principal

    def admit_person(self, headers: Mapping[str, str], address: str) -> Admission:
        """Return who asks, whatever organizations it sees. Raises AccessDenied."""
        admission = self._gate(headers).admit_person(headers, address)
        if self._limits is None:
            return admission
        return Admission(admission.principal, self._limits.count(admission.principal, address, 1))

    def _gate(self, headers: Mapping[str, str]) -> Gate:
        bears = bool(values(headers, "authorization"))
        if bears and values(headers, "x-api-key"):
            raise AccessDenied(400, "bad_request", "send an API key or a token, not both")
        if not bears:
            return self._keys
        if self._tokens is None:
            raise unauthorized("tokens are not taken here: send an API key in the header X-API-Key")
        return self._tokens
