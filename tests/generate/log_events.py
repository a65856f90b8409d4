"""The guide to the log's events, written from their fields."""

from pathlib import Path

from analytics_refreshd.core.events import MEANING, Event
from analytics_refreshd.observe.log.field import Field
from analytics_refreshd.observe.log.fields import COMMON, FIELDS, SUMMARY_FIELDS, VIEW_FIELDS


def _table(fields: tuple[Field, ...]) -> str:
    rows = [f"| `{field.name}` | {field.kind} | {field.meaning} |" for field in fields]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])


def _index() -> str:
    rows = [f"| [`{event}`](#{event.value.replace('.', '')}) | {MEANING[event]} |" for event in Event]
    return "\n".join(["| event | meaning |", "|---|---|", *rows])


def log_events() -> str:
    """The guide: its introduction, the common fields, a table of all events, and one of each event's fields."""
    head = (Path(__file__).parent / "log-events.head.md").read_text(encoding="utf-8")
    parts = [head.strip(), "## On every line", _table(COMMON), "## Events", _index()]
    for event in Event:
        parts.append(f"### {event.value}\n\n{MEANING[event][0].upper()}{MEANING[event][1:]}.")
        if FIELDS[event]:
            parts.append(_table(FIELDS[event]))
        if event is Event.REFRESH_FINISHED:
            parts += ["An entry of `views`:", _table(VIEW_FIELDS)]
        if event is Event.REFRESH_SUMMARY:
            parts += ["An entry of `views`:", _table(SUMMARY_FIELDS)]
    return "\n\n".join(parts) + "\n"
