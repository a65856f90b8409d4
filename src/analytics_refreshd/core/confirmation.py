"""Makes the token that confirms what a preview showed, and recognizes it."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

_HOUR = timedelta(hours=1)
_WITHIN = timedelta(days=1)


def token(hour: datetime, said: Iterable[str]) -> str:
    """Return what confirms an act: its hour, and a hash of all that was `said` of it."""
    digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
    return f"{hour:%Y%m%dT%H}-{digest[:8]}"


def whole_hour(at: datetime) -> datetime:
    """Return the hour in which a time lies."""
    return at.replace(minute=0, second=0, microsecond=0)


def confirmed_hour(given: str, newest: datetime, token_of: Callable[[datetime], str]) -> datetime | None:
    """Return the hour, of those up to `newest`, whose token is `given`.

    None if it is no such token, or older than a day.
    """
    hours = (newest - _HOUR * number for number in range(int(_WITHIN / _HOUR) + 1))
    return next((hour for hour in hours if token_of(hour) == given.strip()), None)
