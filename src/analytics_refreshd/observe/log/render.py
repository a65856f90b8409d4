"""Write a log event as one line: JSON for machines, text for a person."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from analytics_refreshd.core.redaction import LIMIT_BYTES
from analytics_refreshd.observe.jsonable import plain

LINE_BYTES = 16_000
"""A longer line is cut further: container runtimes split a line at 16 KiB, and half a JSON object cannot be read."""

_COLOUR = {"debug": "2", "info": "32", "warning": "33", "error": "31"}


def json_line(line: Mapping[str, object], **how: Any) -> str:
    """Serialize an event in at most LINE_BYTES of ASCII.

    `how` goes to `json.dumps`. Other characters, with terminal escapes and line separators, are written as \\uXXXX.
    Texts are cut to fit, then collections are left out and named in `omitted`.
    """
    text = ""
    for limit in (LIMIT_BYTES, 200, 60):
        text = json.dumps(plain(line, limit), **how)
        if len(text) <= LINE_BYTES:
            return text
    small = {key: value for key, value in line.items() if not isinstance(value, Mapping | list | tuple)}
    small = dict(list(small.items())[:50])
    small["omitted"] = [str(key)[:40] for key in line if key not in small][:20]
    return json.dumps(plain(small, 60), **how)


def console(*, colour: bool) -> Callable[[object, str, Mapping[str, object]], str]:
    """Return a structlog renderer for a person's terminal.

    It writes time, level, event and fields on one line, without database and replica, without what is unknown or none,
    and without control characters.
    """

    def render(_logger: object, _method: str, line: Mapping[str, object]) -> str:
        values = {str(key): plain(value, LIMIT_BYTES) for key, value in line.items()}
        time, level, event = (str(values.pop(key)) for key in ("timestamp", "level", "event"))
        values.pop("database", None)
        values.pop("replica", None)
        pairs = " ".join(f"{_bare(key)}={_bare(value)}" for key, value in values.items() if value not in (None, [], {}))
        shown = f"\x1b[{_COLOUR[level]}m{level:<7}\x1b[0m \x1b[1m{event}\x1b[0m" if colour else f"{level:<7} {event}"
        return f"{time[11:23]} {shown} {pairs}".rstrip()

    return render


def _bare(value: object) -> str:
    """Return a value as it is if that is safe and easy to read, as JSON otherwise.

    Of a list of mappings, as of the views of a run, each is its values in words: `[recent_failures rows=12 ...; ...]`.
    """
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return f"[{'; '.join(_in_brief(item) for item in value)}]"
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" \"'=\\"):
        return value
    return json.dumps(value, allow_nan=False, ensure_ascii=not _printable(value))


def _in_brief(item: Mapping[str, object]) -> str:
    known = [(key, value) for key, value in item.items() if value not in (None, [], {})]
    named = known[:1] if known and isinstance(known[0][1], str) else []
    return " ".join(
        [*(_bare(value) for _, value in named), *(f"{_bare(k)}={_bare(v)}" for k, v in known[len(named) :])]
    )


def _printable(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()
