"""Defines the keys of `[receivers.NAME]`. Each type's come from its settings class, found in the registry."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache, reduce
from operator import or_
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import Field, GetCoreSchemaHandler, ValidationError, create_model, model_validator

from analytics_refreshd.config.values import PositiveDuration, Section
from analytics_refreshd.notify.receivers import receiver_types
from analytics_refreshd.notify.settings import InvalidSettings, ReceiverSettings

_SECONDS = "_seconds"


class Receiver(Section):
    """One receiver's keys as written. The settings class checks them; this one reports by key."""

    type: str

    def settings(self, name: str) -> ReceiverSettings:
        """Translate the keys into the settings of the receiver `name`. Raises InvalidSettings."""
        values: dict[str, Any] = {}
        for field in _fields(self.type):
            value = getattr(self, _key(field.name))
            values[field.name] = value.total_seconds() if isinstance(value, timedelta) else value
        return receiver_types()[self.type].settings(name, **values)

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield each key that names a file, and the file."""
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, Path):
                yield key, value

    def secret_keys(self) -> Iterator[str]:
        """Yield the keys whose value may be a secret."""
        return (_key(field.name) for field in _fields(self.type) if not field.repr)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        try:
            self.settings("")
        except InvalidSettings as error:
            raise ValidationError.from_exception_data(
                "receiver",
                [
                    {
                        "type": "value_error",
                        "loc": (_key(name),) if name else (),
                        "input": None,
                        "ctx": {"error": ValueError(text)},
                    }
                    for name, text in error.problems_by_field
                ],
                hide_input=True,
            ) from None
        return self


@cache
def receiver_sections() -> Mapping[str, type[Receiver]]:
    """Return the model of each type's keys, by type. A field in seconds is a duration here."""
    return MappingProxyType({name: _section(name, kind.settings) for name, kind in receiver_types().items()})


def _section(name: str, settings: type[ReceiverSettings]) -> type[Receiver]:
    hints = get_type_hints(settings)
    keys: dict[str, Any] = {"type": (Literal[name], ...)}
    for field in _fields(name):
        annotation: Any = hints[field.name]
        default: Any = ... if field.default is dataclasses.MISSING else field.default
        if field.name.endswith(_SECONDS):
            annotation, default = PositiveDuration, timedelta(seconds=default)
        keys[_key(field.name)] = (annotation, Field(default, repr=field.repr))
    model: type[Receiver] = create_model(f"{name.title()}Receiver", __base__=Receiver, **keys)
    return model


def _fields(type_name: str) -> Iterator[dataclasses.Field[Any]]:
    return (field for field in dataclasses.fields(receiver_types()[type_name].settings) if field.name != "name")


def _key(field: str) -> str:
    return field.removesuffix(_SECONDS)


class _ByType:
    """Let pydantic choose the model by `type`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Replace the base class by the union of all types."""
        union = reduce(or_, receiver_sections().values())
        return handler.generate_schema(Annotated[union, Field(discriminator="type")])


AnyReceiver = Annotated[Receiver, _ByType()]
"""One of the registered types. Errors have the type after the receiver's name in their place."""


def unknown_type(given: str) -> str:
    """Say that a type is unknown, with the nearest one. What was given is not repeated."""
    known = list(receiver_types())
    nearest = difflib.get_close_matches(given, known, 1, 0.5)
    hint = f'did you mean "{nearest[0]}"? ' if nearest else ""
    return f"is not a known type; {hint}known: {', '.join(known)}"


def foreign_key(type_name: str, key: str) -> str | None:
    """Say which types take a key that this one lacks. None where no type takes it."""
    others = [name for name, section in receiver_sections().items() if key in section.model_fields]
    return f"is not for type {type_name}, but for {' and '.join(others)}" if others else None
