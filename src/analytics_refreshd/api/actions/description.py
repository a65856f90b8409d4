"""What the OpenAPI document says of the actions of operators."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.api.actions.body import MOST_REASON
from analytics_refreshd.api.actions.endpoint import ACTION_PATHS, STATE_PATH
from analytics_refreshd.api.problems import MEDIA_TYPE
from analytics_refreshd.core.requests import RequestKind, RequestOutcome

Schema = dict[str, Any]
SECTION = "operators"
_TEXTS = {
    RequestKind.REFRESH: "Refresh now. A refresh under way is joined.",
    RequestKind.PAUSE: "Pause refreshes for a time. One under way ends as usual.",
    RequestKind.RESUME: "End every pause.",
}
_DESCRIPTION = "For operators. The leader does it within seconds, once; `Location` tells what became of it."
_TIME = {"type": ["string", "null"], "format": "date-time"}
_NUMBER, _TEXT = {"type": ["number", "null"]}, {"type": ["string", "null"]}


def body_errors() -> Schema:
    """Return the responses to a body that cannot be read."""
    return {
        code: {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        for code, text in (
            ("408", "The body did not come in time."),
            ("413", "The body is too long."),
            ("415", "The body is not announced as JSON."),
        )
    }


def action_paths(errors: Mapping[str, Schema]) -> Schema:
    """Return the paths of the actions and of their state."""
    others = body_errors()
    taken = {code: response for code, response in errors.items() if code != "404"}
    paths: Schema = {}
    for path, kind in ACTION_PATHS.items():
        paths[path] = {
            "post": {
                "operationId": f"ask_{kind}",
                "tags": [SECTION],
                "summary": _TEXTS[kind],
                "description": _DESCRIPTION,
                "parameters": [],
                "requestBody": {
                    "required": kind is RequestKind.PAUSE,
                    "content": {"application/json": {"schema": _body(kind)}},
                },
                "responses": {
                    "202": {
                        "description": "Taken, for the leader to do.",
                        "headers": _headers(),
                        "content": _content(),
                    },
                    **taken,
                    **others,
                },
            }
        }
    paths[STATE_PATH] = {
        "get": {
            "operationId": "request_state",
            "tags": [SECTION],
            "summary": "What became of what an operator asked for?",
            "parameters": [
                {
                    "name": "request_id",
                    "in": "path",
                    "required": True,
                    "description": "As in the answer to the request",
                    "schema": {"type": "string", "format": "uuid"},
                }
            ],
            "responses": {"200": {"description": "The request.", "content": _content()}, **errors},
        }
    }
    return paths


def _body(kind: RequestKind) -> Schema:
    properties: Schema = {
        "reason": {
            "type": ["string", "null"],
            "maxLength": MOST_REASON,
            "description": "Why, for those who read it later",
        }
    }
    if kind is RequestKind.PAUSE:
        # a pause needs one
        properties["reason"]["type"] = "string"
        properties["for"] = {"type": "string", "examples": ["2h"], "description": "How long, at most 7d"}
    required = list(properties) if kind is RequestKind.PAUSE else []
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _headers() -> Schema:
    return {
        "Location": {"schema": {"type": "string"}, "description": "Where to ask what became of it."},
        "Retry-After": {"schema": {"type": "integer"}, "description": "When to ask, in seconds."},
    }


def action_schemas() -> Schema:
    """Return the schemas of what the actions answer."""
    data = {
        "request_id": {"type": "string", "format": "uuid", "description": "The request"},
        "kind": {"type": "string", "enum": list(RequestKind), "description": "What was asked for"},
        "state": {
            "type": "string",
            "enum": ["waiting", "running", "ended", "expired"],
            "description": "waiting: no leader took it yet; expired: none took it in time",
        },
        "actor": {"type": "string", "description": "Who asked: the id of a key, or user: and a user"},
        "reason": {**_TEXT, "description": "Why, as that person said"},
        "for_seconds": {**_NUMBER, "description": "How long a pause is to last"},
        "requested_at": {"type": "string", "format": "date-time", "description": "When"},
        "expires_at": {"type": "string", "format": "date-time", "description": "Until when a leader may take it"},
        "leader": {"type": "boolean", "description": "Whether a daemon leads now"},
        "run_id": {**_TEXT, "description": "The run that refreshes for it, as in history"},
        "joined": {"type": ["boolean", "null"], "description": "Whether that run had begun before"},
        "ended_at": {**_TIME, "description": "When it was over"},
        "outcome": {
            "type": ["string", "null"],
            "enum": [*RequestOutcome, None],
            "description": "How it ended: as its run did; ok or failed for a pause and its end",
        },
        "detail": {**_TEXT, "description": "Why, where it is not ok"},
        "paused_until": {**_TIME, "description": "Until when refreshes are paused since then"},
        "pauses_ended": {"type": ["integer", "null"], "description": "How many pauses were ended"},
    }
    meta = {"generated_at": {"type": "string", "format": "date-time"}}
    properties = {
        "data": {"$ref": "#/components/schemas/OperatorRequest"},
        "meta": {"type": "object", "required": list(meta), "properties": meta},
    }
    return {
        "OperatorRequest": {"type": "object", "required": list(data), "properties": data},
        "OperatorRequestAnswer": {"type": "object", "required": list(properties), "properties": properties},
    }


def _content() -> Schema:
    return {"application/json": {"schema": {"$ref": "#/components/schemas/OperatorRequestAnswer"}}}
