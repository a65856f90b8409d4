"""Keeps the public keys of the issuer of tokens."""

import threading
from collections.abc import Callable
from typing import Any

import jwt

from analytics_refreshd.api.access.principal import AccessDenied
from analytics_refreshd.core.ports import Clock

AGAIN_SECONDS = 30.0
"""How long a set is not read again, whatever keys tokens name."""
_KEEP_SECONDS = 300.0


class JwksKeys:
    """A JSON Web Key Set, read again every five minutes.

    It is also read for a key that it lacks, but never more often than every 30 s. While it cannot be read, the keys
    that were stay good.
    """

    def __init__(self, read: Callable[[], bytes], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str | None, jwt.PyJWK] | None = None
        self._tried_at = float("-inf")

    def key(self, algorithm: str, key_id: str | None) -> Any:
        """Return the public key of this id, None if there is none.

        Without an id it is the only key for the algorithm. Raises AccessDenied (503) if no set was ever read.
        """
        with self._lock:
            age = self._clock.monotonic() - self._tried_at
            found = self._found(algorithm, key_id)
            if age >= _KEEP_SECONDS or (found is None and age >= AGAIN_SECONDS):
                self._load()
                found = self._found(algorithm, key_id)
            if self._keys is None:
                detail = "tokens cannot be checked now: the keys of their issuer cannot be read"
                raise AccessDenied(503, "service_unavailable", detail, {"Retry-After": "30"})
        return found

    def _found(self, algorithm: str, key_id: str | None) -> Any:
        fitting = {name: key for name, key in (self._keys or {}).items() if key.algorithm_name == algorithm}
        if key_id is None:
            return next(iter(fitting.values())).key if len(fitting) == 1 else None
        return fitting[key_id].key if key_id in fitting else None

    def _load(self) -> None:
        self._tried_at = self._clock.monotonic()
        try:
            keys = jwt.PyJWKSet.from_json(self._read().decode()).keys
        except (OSError, ValueError, AttributeError, jwt.PyJWTError):
            return
        # a symmetric key in a public set would be known to everybody
        self._keys = {
            key.key_id: key for key in keys if key.key_type in ("RSA", "EC") and key.public_key_use in (None, "sig")
        }
