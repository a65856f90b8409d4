"""Defines a type of receiver. Its settings, its plan, its request: `receivers` holds one module a type."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from analytics_refreshd.core.model import Run
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.notify.messages import Message
from analytics_refreshd.notify.planning import PlanInput
from analytics_refreshd.notify.request import Request, read_secret
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings

Settings = TypeVar("Settings", bound=ReceiverSettings)


class Receiver(ABC, Generic[Settings]):
    """Format messages for one configured receiver. `delivery` is replaced when the configuration is reloaded."""

    queue_length: ClassVar[int | None] = None
    """How many messages may wait, where it differs from the delivery settings."""

    def __init__(self, settings: Settings, delivery: DeliverySettings, clock: Clock) -> None:
        self.settings = settings
        self.delivery = delivery
        self.clock = clock

    def url(self) -> str:
        """Return the configured address, read from its file if it has one. Raises BadRequest."""
        address = self.settings.address
        return address if isinstance(address, str) else read_secret(address, "address")

    @abstractmethod
    def request(self, message: Message, url: str) -> Request:
        """Build the POST that carries `message`; called again for every try. Raises BadRequest."""


class AlertReceiver(Receiver[Settings]):
    """Receive alerts."""

    @abstractmethod
    def plan(self, given: PlanInput) -> list[Message]:
        """Plan the messages that are due now. It decides from `given` and the settings alone."""


class CycleReceiver(Receiver[Settings]):
    """Receive a ping when a refresh cycle starts and ends."""

    @abstractmethod
    def ping(self, phase: str, run: Run | None) -> Message | None:
        """Return the message for `start`, `success` or `fail`. None where nothing is sent."""


@dataclass(frozen=True, slots=True)
class ReceiverType:
    """Pair a type's settings class with its receiver class."""

    settings: type[ReceiverSettings]
    receiver: type[Receiver[Any]]
