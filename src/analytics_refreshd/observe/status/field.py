"""How a field of the status document is described: its name, kind and meaning, and where its value comes from."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from analytics_refreshd.core.redaction import cut, printable

_READ_CHARACTERS = 4096
"""Of an error text of megabytes only the beginning is looked at; a kilobyte of it is shown."""

Of = TypeVar("Of", contravariant=True)


def bounded(text: str) -> str:
    """Cut a text to a kilobyte, without control characters. A longer one's length is noted."""
    return cut(printable(text[:_READ_CHARACTERS]), original_characters=len(text))


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: its name in the guide, its JSON Schema, and what makes a value fit for JSON, if necessary."""

    name: str
    schema: Mapping[str, Any]
    clean: Callable[[Any], Any] | None = None


TEXT = Kind("text", {"type": "string"}, bounded)
TEXTS = Kind("texts", {"type": "array", "items": {"type": "string"}}, lambda texts: [bounded(text) for text in texts])
WORD = Kind("word", {"type": "string"})
"""A word of a list that grows: of alerts, of reasons."""
ID = Kind("UUID", {"type": "string", "format": "uuid"})
TIME = Kind("time", {"type": "string", "format": "date-time"})
SECONDS = Kind("seconds", {"type": "number"}, _finite)
NUMBER = Kind("number", {"type": "number"}, _finite)
PERCENT = Kind("percent", {"type": "number"}, _finite)
COUNT = Kind("count", {"type": "integer"})
BYTES = Kind("bytes", {"type": "integer"})
FLAG = Kind("boolean", {"type": "boolean"})
OBJECT = Kind("object", {"type": "object"})
LIST = Kind("list", {"type": "array"})


def one_of(*values: str) -> Kind:
    """Make the kind of a closed list of words."""
    return Kind(", ".join(f"`{value}`" for value in values), {"enum": list(values)})


def choice(words: type[StrEnum]) -> Kind:
    """Make the kind of an enumeration."""
    return one_of(*(word.value for word in words))


@dataclass(frozen=True, slots=True)
class Field(Generic[Of]):
    """One field of an object. `value` reads it from a value of type `Of`.

    `fields` describe an OBJECT, or a LIST's items, read from what `value` gives; `most` bounds a list. `nullable`: None
    is written as null, which means unknown or nothing. `memory_only`: only a daemon knows it, so that it is null where
    the document comes from the database. `optional`: left out where it is None. `heading` makes it a column of
    `status` on a terminal.
    """

    name: str
    kind: Kind
    meaning: str
    value: Callable[[Of], Any]
    nullable: bool = False
    memory_only: bool = False
    optional: bool = False
    fields: "tuple[Field[Any], ...]" = ()
    most: int | None = None
    heading: str = ""

    def read(self, source: Of) -> Any:
        """Return the field's value in `source`, as it goes into the document."""
        value = self.value(source)
        if value is None:
            return None
        if not self.fields:
            clean = self.kind.clean
            return value if clean is None else clean(value)
        if self.kind is LIST:
            return [as_document(item, self.fields) for item in value]
        return as_document(value, self.fields)


def as_document(source: Any, fields: tuple[Field[Any], ...]) -> dict[str, Any]:
    """Read every field of `source` into a dictionary. Optional ones need a value."""
    document = {}
    for field in fields:
        value = field.read(source)
        if value is not None or not field.optional:
            document[field.name] = value
    return document
