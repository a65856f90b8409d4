"""Finds the types of receivers. Each module here is one type, under its own name, with a `TYPE`.

A new type is a new module. The configuration takes its keys from the settings class, so no list has to be extended.
The modules open no sockets: whoever reads a configuration imports them.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

from analytics_refreshd.core.ports import Clock
from analytics_refreshd.notify.receiver import Receiver, ReceiverType
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings


@cache
def receiver_types() -> Mapping[str, ReceiverType]:
    """Return every type by its name in the configuration, in alphabetical order."""
    names = sorted(module.name for module in iter_modules(__path__))
    return MappingProxyType({name: import_module(f"{__name__}.{name}").TYPE for name in names})


def build(settings: ReceiverSettings, delivery: DeliverySettings, clock: Clock) -> Receiver[Any]:
    """Build the receiver that belongs to these settings. Raises LookupError for a class of no registered type."""
    for kind in receiver_types().values():
        if kind.settings is type(settings):
            return kind.receiver(settings, delivery, clock)
    raise LookupError(f"{type(settings).__name__} belongs to no type of receiver")
