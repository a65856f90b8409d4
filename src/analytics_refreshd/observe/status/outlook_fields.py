"""The status document's fields on when limits are reached. The API's answer has the same."""

from analytics_refreshd.core.outlook import Outlook, OutlookState, Quantity
from analytics_refreshd.observe.status.field import FLAG, NUMBER, TEXT, TIME, Field, choice, one_of

OUTLOOK_FIELDS: tuple[Field[Outlook], ...] = (
    Field("quantity", choice(Quantity), "what has the limit", lambda outlook: outlook.quantity),
    Field("unit", one_of("seconds", "percent", "bytes"), "of its figures", lambda outlook: outlook.quantity.unit),
    Field(
        "state",
        choice(OutlookState),
        "whether the limit is reached; `expected`: within a year; `unknown`: too few days are known",
        lambda outlook: outlook.state,
    ),
    Field(
        "reached_at", TIME, "when it is reached, if it is expected", lambda outlook: outlook.reached_at, nullable=True
    ),
    Field("soon", FLAG, "within 30 days, or already", lambda outlook: outlook.soon),
    Field("value", NUMBER, "what it is now", lambda outlook: outlook.value, nullable=True),
    Field("limit", NUMBER, "its limit", lambda outlook: outlook.limit),
    Field(
        "change_per_day",
        NUMBER,
        "how it moves; null without a clear trend",
        lambda outlook: outlook.change_per_day,
        nullable=True,
    ),
    Field("as_of", TIME, "when its figures were read", lambda outlook: outlook.as_of, nullable=True),
    Field("text", TEXT, "all of it in one sentence", lambda outlook: outlook.text),
)
