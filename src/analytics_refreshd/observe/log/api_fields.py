"""The fields of the events that the API logs."""

from collections.abc import Mapping

from analytics_refreshd.core.events import Event
from analytics_refreshd.observe.log.field import ERROR, SQLSTATE, STOPPED, Field

API_FIELDS: Mapping[Event, tuple[Field, ...]] = {
    Event.API_STARTED: (
        Field("version", "text", "of the program"),
        Field("pid", "count", "the process"),
        Field("http", "text", "where requests are answered"),
        Field("management", "text", "where metrics and probes are"),
        Field("endpoints", "count", "paths that are served"),
    ),
    Event.API_STOPPED: STOPPED,
    Event.API_STOPPING: (Field("signal", "text", "the signal's name; null where the server ended by itself"),),
    Event.REQUEST_FINISHED: (
        Field("request_id", "text", "the request, as in the answer's header X-Request-ID"),
        Field("method", "text", "`GET`, `HEAD` or `POST`"),
        Field("endpoint", "text", "its path below the base; `other` where there is none"),
        Field("status", "count", "of the answer"),
        Field("seconds", "number", "from the request's head to the answer's"),
        Field("key_id", "text", "which key asked; never the key"),
        Field("rows", "count", "in the answer"),
        Field("code", "text", "of a problem, as in its member `error`"),
        SQLSTATE,
        ERROR,
    ),
    Event.STREAM_FINISHED: (
        Field("request_id", "text", "the request that opened it"),
        Field("key_id", "text", "which key listened; never the key"),
        Field("seconds", "number", "how long it was open"),
        Field("events", "count", "sent on it"),
        Field("ending", "text", "`gone`: the client left; `slow`, `access`, `stopping`: why the server ended it"),
    ),
}
