"""Text of others, made safe for what shows it: a terminal, a JSON document, a spreadsheet."""

import json
import math
import re
import unicodedata
from datetime import datetime
from decimal import Decimal

from analytics_refreshd.core.wording import rfc3339

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SIGNS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""With what a formula begins."""
_CELL = re.compile(rf"[;\t\r\n]\s*[{re.escape(''.join(sorted(_SIGNS)))}]?")
"""How a cell begins. That is also after a semicolon, a tab or a line break: where a locale has another separator than
the comma, a spreadsheet splits there, quotes or not. All white space is taken at once: looked through again from each
of its line breaks, a long run of them would hold up the process for hours."""
_SEPARATOR = re.compile(r"[;\t\r\n]")
_BEFORE_TAB = re.compile(r"[;\t\r\n](?=[\t\r])")


def without_controls(text: str) -> str:
    """Keep lines and spaces, and drop what a terminal would act upon.

    Cc, Cf, Cs and Co go, with C1 escapes and changes of direction; line feeds stay, and any other white space and
    separator becomes a space.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character == "\n" or character.isprintable() else _in_place_of(character) for character in text
    )


def _in_place_of(character: str) -> str:
    return " " if character.isspace() or unicodedata.category(character).startswith("Z") else ""


def escaped_json(document: str) -> str:
    """Escape what a terminal would act upon in a JSON document.

    The document must have been serialized: such characters then stand inside of strings only.
    """
    if document.isascii() and "\x7f" not in document:
        return document
    return "".join(
        character if character in "\n " or character.isprintable() else _as_escape(character) for character in document
    )


def _as_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def spreadsheet_cell(text: str) -> str:
    """Put an apostrophe where a spreadsheet would begin a formula. A number stays a number."""
    # with a separator before it the first cell begins as any other
    return text if _NUMBER.fullmatch(text) else _CELL.sub(_defused, f";{text}")[1:]


def _defused(beginning: re.Match[str]) -> str:
    text = beginning[0]
    return (_SEPARATOR if text[-1] in _SIGNS else _BEFORE_TAB).sub(r"\g<0>'", text)


def csv_cell(value: object, *, raw: bool = False, controls: bool = False) -> object:
    """Return what a cell of a CSV file holds.

    A number stays exact, an unknown value is empty. Text begins no formula unless `raw`, and has no control characters
    unless `controls`.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal) and "E" in str(value):
        return exact_text(value)
    if isinstance(value, int | float | Decimal):
        return value
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = rfc3339(value, "auto") if isinstance(value, datetime) else str(value)
    shown = text if controls else without_controls(text)
    return shown if raw else spreadsheet_cell(shown)


def exact_text(value: object) -> str | None:
    """Return an exact decimal as text, without an exponent: a reader of JSON makes a float of a number."""
    return None if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def json_number(value: object) -> object:
    """Return a Decimal as an int or a float.

    It has the same digits. JSON has no infinity and no NaN: those are text.
    """
    if isinstance(value, Decimal):
        if value.is_finite():
            number = float(value)
            return int(value) if number.is_integer() and value == value.to_integral_value() else number
    elif not isinstance(value, float) or math.isfinite(value):
        return value
    return str(float(value)).replace("inf", "Infinity").replace("nan", "NaN")
