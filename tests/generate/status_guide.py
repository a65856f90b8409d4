"""The guide to the status document, written from its fields."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analytics_refreshd.observe.status.field import LIST, Field
from analytics_refreshd.observe.status.fields import STATUS_FIELDS
from analytics_refreshd.observe.status.schema import meaning


def status_guide() -> str:
    """The guide: its introduction, the document's own fields, and a table for each object and list in it."""
    head = (Path(__file__).parent / "status-json.head.md").read_text(encoding="utf-8")
    return "\n\n".join([head.strip(), *_tables("", STATUS_FIELDS)]) + "\n"


def _tables(path: str, fields: tuple[Field[Any], ...]) -> Iterator[str]:
    yield f"## {f'`{path}`' if path else 'The document'}"
    yield "\n".join(["| key | type | meaning |", "|---|---|---|", *map(_row, fields)])
    for field in fields:
        if field.fields:
            name = f"{path}.{field.name}" if path else field.name
            yield from _tables(f"{name}[]" if field.kind is LIST else name, field.fields)


def _row(field: Field[Any]) -> str:
    kind = field.kind.name
    if field.nullable or field.memory_only:
        kind += " or null"
    if field.optional:
        kind += ", may be absent"
    if field.most is not None:
        kind += f", at most {field.most}"
    return f"| `{field.name}` | {kind} | {meaning(field)} |"
