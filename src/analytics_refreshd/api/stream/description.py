"""What the OpenAPI document says of the stream."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.api.stream.wire import MEDIA_TYPE
from analytics_refreshd.core.stream import Topic

Schema = dict[str, Any]
_EVENTS = """Server-sent events, until the client leaves. `open` comes first: `topics`, and `resumed`, whether what
follows continues what the client has. `summary`, `refresh` and `alerts` carry the whole state of their topic, whenever
it changed; `meta.frozen_until` of the first two says before when figures are frozen. `database` says whether figures
can be read (`available`), and `end` why the stream ends (`reason`). A comment comes every 15 seconds. Send the last
`id` in the header `Last-Event-ID` to hear only what was missed."""
_EXAMPLE = """id: 5f2d9a10-7
event: summary
data: {"data":{"total_executions":812,"success_rate":97.41},"meta":{"as_of":"2026-03-01T10:07:12Z","live":true}}

"""


def stream_operation(organization: Schema, errors: Mapping[str, Schema], number: int) -> Schema:
    """Return the operation of a path of the stream."""
    topics = {
        "name": "topics",
        "in": "query",
        "required": False,
        "description": "What to hear of, with commas between; alerts are for operators and platform administrators",
        "schema": {"type": "string", "default": f"{Topic.SUMMARY},{Topic.REFRESH}", "pattern": "^[a-z,]+$"},
    }
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "required": False,
        "description": "The id of the last event that came",
        "schema": {"type": "string"},
    }
    return {
        "operationId": "stream" + (f"_{number + 1}" if number else ""),
        "summary": "What happens now? Live figures, refreshes and alerts, as events.",
        "description": " ".join(_EVENTS.splitlines()),
        "parameters": [topics, last, organization],
        "responses": {
            "200": {
                "description": "Events, as they happen.",
                # a schema would be that of one text to some readers, and that of each event to others
                "content": {MEDIA_TYPE: {"example": _EXAMPLE}},
            },
            **errors,
        },
    }
