"""The parameters and columns of catalogue queries."""

import math
import re
from dataclasses import dataclass

from analytics_refreshd.postgres.catalogue.spans import ParameterError

COLUMN_UNITS = (
    "text",
    "message",
    "json",
    "count",
    "number",
    "money",
    "percent",
    "ms",
    "seconds",
    "days",
    "bytes",
    "timestamp",
    "boolean",
    "list",
)
"""`message` and `json` come out redacted. `money` is an exact decimal, which JSON has as text. `ms`, `seconds`, `days`
and `bytes` are shown in human units. A `list` is of texts."""

PARAMETER_TYPES = ("integer", "number", "boolean", "text")
TEXT_LIMIT = 1000
"""How many characters a text has at most."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value the user may give; integer and number have inclusive bounds.

    A text may be one of `choices`; without any it is free.
    """

    name: str
    type: str
    default: int | float | bool | str
    minimum: float | None
    maximum: float | None
    meaning: str
    choices: tuple[str, ...] = ()

    @property
    def placeholder(self) -> str:
        """Return its name in the SQL text."""
        return self.name.replace("-", "_")

    @property
    def in_words(self) -> str:
        """Return `10 (1 to 1000)`, or the default alone without bounds."""
        default = str(self.default).lower() if self.type == "boolean" else str(self.default)
        if self.choices:
            return f"{default} ({', '.join(self.choices)})"
        if self.minimum is None or self.maximum is None:
            return default
        return f"{default} ({self.minimum:.15g} to {self.maximum:.15g})"

    def check(self, given: object) -> int | float | bool | str:
        """Convert what a user typed or an API passed. Raises ParameterError."""
        value = self._convert(given)
        if self.minimum is not None and isinstance(value, int | float) and value < self.minimum:
            raise ParameterError(f"{self.name} must be at least {_plain(self.minimum)}, not {shown(given)}")
        if self.maximum is not None and isinstance(value, int | float) and value > self.maximum:
            raise ParameterError(f"{self.name} must be at most {_plain(self.maximum)}, not {shown(given)}")
        return value

    def _convert(self, given: object) -> int | float | bool | str:
        text = given if isinstance(given, str) else None
        if self.type == "boolean":
            if isinstance(given, bool):
                return given
            if text is not None and text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise ParameterError(f"{self.name} must be true or false, not {shown(given)}")
        if self.type == "text":
            if text is None or "\x00" in text or len(text) > TEXT_LIMIT:
                raise ParameterError(f"{self.name} must be text of at most {TEXT_LIMIT} characters, without NUL")
            if self.choices and text not in self.choices:
                raise ParameterError(f"{self.name} must be one of {', '.join(self.choices)}, not {shown(given)}")
            return text
        if isinstance(given, int) and not isinstance(given, bool):
            return given
        if self.type == "integer":
            if text is not None and re.fullmatch(r"[+-]?[0-9]{1,18}", text):
                return int(text)
            raise ParameterError(f"{self.name} must be a whole number, not {shown(given)}")
        if isinstance(given, float) and math.isfinite(given):
            return given
        if text is not None and re.fullmatch(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,9})?", text):
            return float(text)
        raise ParameterError(f"{self.name} must be a number, not {shown(given)}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result.

    `approximated` says how its figures differ from the exact ones; it is empty where they are exact.
    """

    name: str
    unit: str
    meaning: str
    approximated: str = ""


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def shown(given: object) -> str:
    """Show what was given, on one line and short."""
    text = repr(given)
    return text if len(text) <= 40 else f"{text[:39]}…"
