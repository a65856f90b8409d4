"""Makes the status document of a snapshot."""

import json
from typing import Any

from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.observe.jsonable import plain
from analytics_refreshd.observe.status.field import as_document
from analytics_refreshd.observe.status.fields import STATUS_FIELDS


def status_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return everything that is shown, by the names of the schema.

    Values are as in `core`: aware datetimes, seconds, counts; None is unknown. Texts are bounded, numbers finite.
    """
    return as_document(snapshot, STATUS_FIELDS)


def status_json(snapshot: Snapshot) -> str:
    """Return the document as JSON, on one line; see deploy/guides/status-json.md."""
    return json.dumps(status_document(snapshot), default=plain, allow_nan=False, separators=(",", ":"))
