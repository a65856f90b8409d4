"""A field of log events, and those that many events have."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `kind` is a key of the schema's types, or one with a schema of its own; `meaning` adds to the name."""

    name: str
    kind: str
    meaning: str


SQLSTATE = Field("sqlstate", "text", "the database's code of the error")
ERROR = Field("error", "text", "the error, redacted, at most 1 kB")
STOPPED = (Field("exit_code", "count", "of the process"), Field("seconds", "number", "that stopping took"))
