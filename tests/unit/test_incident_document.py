"""The review's JSON document: its keys are chosen, not whatever the fold keeps."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from analytics_refreshd.incident.document import FIELDS, as_document
from analytics_refreshd.incident.review import review
from tests.support.log_lines import line, text

_INTERNAL = {"open_since"}


def test_every_part_publishes_all_but_what_is_internal() -> None:
    """A field added to a part is published or named internal: nobody forgets to decide."""
    for part, published in FIELDS.items():
        assert {field.name for field in fields(part)} - set(published) <= _INTERNAL, part
        assert set(published) <= {field.name for field in fields(part)}, part


def test_internals_of_the_fold_are_not_published(tmp_path: Path) -> None:
    """A database that was away is told without the fold's `open_since`."""
    path = tmp_path / "log"
    path.write_text(text([line(0, "database.lost", level="warning")]))
    document: dict[str, Any] = as_document(review([str(path)]))
    (incident,) = document["incidents"]
    assert set(incident["away"][0]) == {"replica", "from_at", "until_at", "seconds", "missed_slots", "times"}
