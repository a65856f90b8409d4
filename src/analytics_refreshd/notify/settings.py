"""The settings of delivery and of receivers. What a receiver's settings must be is checked here, and only here."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from analytics_refreshd.core.addresses import url_problem
from analytics_refreshd.core.errors import ConfigError


class InvalidSettings(ConfigError):
    """A receiver's settings cannot be used. `problems_by_field` pairs a field, or "", with a sentence."""

    def __init__(self, receiver: str, problems_by_field: list[tuple[str, str]]) -> None:
        self.problems_by_field = problems_by_field
        super().__init__([f"receivers.{receiver}{name and '.'}{name} {text}" for name, text in problems_by_field])


@dataclass(frozen=True)
class ReceiverSettings:
    """What every type of receiver is told; each type extends it. Raises InvalidSettings.

    The fields are the keys of `[receivers.NAME]`; one that ends with `_seconds` is a duration without that end there.
    A field with `repr=False` may hold a secret: it is in no log. Any other secret comes from a file, read again for
    every try, so that a rotated one needs no restart. `deadline_seconds` bounds one try, from name resolution to the
    answer's last header.
    """

    name: str
    _: KW_ONLY
    url: str | None = field(default=None, repr=False)
    deadline_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used. Raises InvalidSettings."""
        problems = list(self.problems())
        if problems:
            raise InvalidSettings(self.name, problems)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield each problem. It is a field, or "" for several, and a sentence without its subject."""
        problem = url_problem(self.url) if self.url is not None else None
        if problem:
            yield "url", problem

    @property
    def address(self) -> str | Path:
        """The URL, or the file that holds it."""
        return self.url or ""


@dataclass(frozen=True, kw_only=True)
class UrlFileSettings(ReceiverSettings):
    """Add `url_file`, for an address that is itself a secret. Exactly one of `url` and `url_file` is set."""

    url_file: Path | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield each problem, as the base class does."""
        if (self.url is None) == (self.url_file is None):
            yield "", "needs exactly one of url and url_file"
        yield from ReceiverSettings.problems(self)

    @property
    def address(self) -> str | Path:
        """The URL, or the file that holds it."""
        return self.url or self.url_file or ""


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What is the same for every receiver.

    `database` is the service's name. `evaluate_every_seconds` is how often alerts are handed over. `page_url` is the
    daemon's own page as people reach it, `runbooks_url` where the runbooks are published, both left out where empty.
    """

    database: str
    replica: str = ""
    repeat_every_seconds: float = 4 * 3600.0
    evaluate_every_seconds: float = 30.0
    page_url: str = ""
    runbooks_url: str = "deploy/runbooks"
    queue_length: int = 100
    tries: int = 4
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 30.0
    retry_after_cap_seconds: float = 60.0
    failed_again_seconds: float = 30.0
    """How long a message waits after all its tries failed; doubled each time, to five minutes at most."""
    resend_seconds: float = 60.0
    """How often an Alertmanager gets what fires again; at least as long as `evaluate_every_seconds`."""
