"""Events as bytes, as the HTML standard has server-sent events."""

from collections.abc import Mapping

from analytics_refreshd.api.exchange import as_json

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b": heartbeat\n\n"
"""A comment, which clients leave out: it keeps proxies from closing a silent connection."""


def event(name: str, document: Mapping[str, object], event_id: str | None = None) -> bytes:
    """Write an event. One without an id leaves the id that the client has."""
    head = f"id: {event_id}\n" if event_id else ""
    # JSON has no line ends
    return f"{head}event: {name}\ndata: ".encode() + as_json(document) + b"\n\n"


def opening(document: Mapping[str, object], retry_seconds: float) -> bytes:
    """Write the first event. It says when to connect again after a loss."""
    return f"retry: {int(1000 * retry_seconds)}\n".encode() + event("open", document)
