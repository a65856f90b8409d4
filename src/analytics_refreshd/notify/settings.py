"""What delivery is told by the configuration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """One receiver; exactly one of `url` and `url_file` is set. An address may itself be a secret: it is never shown.

    Files are read anew for every try, so that a rotated secret needs no restart. `secret_file` signs a webhook's
    messages, `bearer_token_file` goes into an Authorization header. `deadline_seconds` bounds one try, from name
    resolution to the answer's last header.
    """

    name: str
    type: Literal["alertmanager", "webhook", "heartbeat"]
    url: str | None = field(default=None, repr=False)
    url_file: Path | None = None
    secret_file: Path | None = None
    bearer_token_file: Path | None = None
    deadline_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What holds for every receiver.

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
    """After how long a message that failed all its tries is tried anew; doubled each time, to five minutes at most."""
    resend_seconds: float = 60.0
    """How often an Alertmanager is told again what fires; at least as long as `evaluate_every_seconds`."""
