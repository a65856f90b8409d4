"""Chooses what a query's relations stand for: views, or rows where the views do not know what was asked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_refreshd.postgres.catalogue.definition import VIEWS_BY_RELATION, Query
from analytics_refreshd.postgres.catalogue.files import relations

ACTION_TYPE = "ACTION_TYPE"
TRIGGER_ID = "TRIGGER_ID"
"""The placeholders of the filters. Those of parameters are lower case, so they are never the same."""

LIMIT = """from {app}.action_results as a
   join {app}.triggers as t on t.id = a.trigger_id
  where t.organization_id = any (%(organizations)s::text[])"""
"""How the relation `hourly limited` finds its rows."""
_OF_TYPE = "action_type = %(ACTION_TYPE)s"
_OF_TRIGGER = "trigger_id = %(TRIGGER_ID)s"
_SINCE = re.compile(r"\b(\w+)\.executed_at >= %\(since\)s")
"""Where a relation that adds up rows begins to read."""
_FAILURES_HOLD = timedelta(hours=24)
_DISTRIBUTION_HOLDS = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Sources:
    """The text of each relation.

    `views` are the materialized views among them, `rows` says whether rows are read too, and `days` whether frozen days
    hold what rows hold.
    """

    texts: Mapping[str, str]
    views: tuple[str, ...]
    rows: bool
    days: bool


def sources(query: Query, values: Mapping[str, object], *, frozen: bool = False) -> Sources:
    """Choose the text of each relation of `query` for the bound `values`.

    With `frozen` they read frozen days before `%(frozen_until)s`.
    """
    limited = "organizations" in values
    of_view = {name for name in query.relations if name in VIEWS_BY_RELATION and _reads_view(name, values, limited)}
    views = tuple(view for name, view in VIEWS_BY_RELATION.items() if name in of_view)
    others = (query.relations & {"actions", "usage", *VIEWS_BY_RELATION}) - of_view
    of_days = {name for name in others if f"{name} frozen" in relations() and not _held_limited(name, values)}
    texts = {name: _text(name, values, limited=limited, frozen=frozen and name in of_days) for name in query.relations}
    return Sources(texts, views, bool(others) or "{app}." in query.body, bool(of_days))


def _reads_view(name: str, values: Mapping[str, object], limited: bool) -> bool:
    if name in ("hourly", "distribution"):
        return not limited and TRIGGER_ID not in values and (name == "hourly" or _held(name, values))
    return name != "failures" or _held(name, values)


def _held(name: str, values: Mapping[str, object]) -> bool:
    """Whether the view holds all the time that was asked for."""
    since, until, now = values.get("since"), values.get("until"), values["now"]
    if not isinstance(since, datetime) or not isinstance(until, datetime) or not isinstance(now, datetime):
        return True
    if name == "failures":
        return since >= now - _FAILURES_HOLD
    return until == now and since == now - _DISTRIBUTION_HOLDS


def _held_limited(name: str, values: Mapping[str, object]) -> bool:
    """Whether the relation is the last 30 days of rows, which no horizon reaches."""
    return name == "distribution" and TRIGGER_ID not in values and _held(name, values)


def _text(name: str, values: Mapping[str, object], *, limited: bool, frozen: bool) -> str:
    suffix = " limited" if limited else ""
    of_trigger = TRIGGER_ID in values
    conditions = (
        [_OF_TYPE] if ACTION_TYPE in values and name in ("actions", "hourly", "failures", "distribution") else []
    )
    if name == "hourly" and of_trigger:
        text = _hourly_of_trigger(limited=limited)
    elif name == "distribution" and (of_trigger or not _held(name, values)):
        source = _where(relations()["actions" + suffix], [_OF_TRIGGER] if of_trigger else [])
        text = relations()["distribution frozen" if frozen else "distribution rows"].replace("{source}", source)
    else:
        rows = " rows" if name == "failures" and not _held(name, values) else ""
        text = relations()[name + rows + suffix]
        if name == "usage":
            text = _SINCE.sub(_condition(values), text)
        if of_trigger and name in ("actions", "failures", "trigger_summary"):
            conditions.append(_OF_TRIGGER)
    if frozen:
        # %(since)s of the days stays: they stand in {days}
        text = text.replace("%(since)s", "%(frozen_until)s")
        if name != "distribution":
            text = f"({text}\n union all\n {relations()[f'{name} frozen']})"
        text = text.replace("{days}", _where("{days}", _of_days(name, values)))
    return _where(text, conditions)


def _of_days(name: str, values: Mapping[str, object]) -> list[str]:
    """Return the filters of the days that are not put before the whole relation."""
    of_type = [_OF_TYPE] if ACTION_TYPE in values and name == "usage" else []
    return of_type + ([_OF_TRIGGER] if TRIGGER_ID in values else [])


def _condition(values: Mapping[str, object]) -> str:
    """Return the replacement that puts the filters before the window's beginning."""
    filters = [rf"\1.{_OF_TYPE} and "] if ACTION_TYPE in values else []
    filters += [rf"\1.{_OF_TRIGGER} and "] if TRIGGER_ID in values else []
    return "".join(filters) + r"\g<0>"


def _hourly_of_trigger(*, limited: bool) -> str:
    before, found, after = relations()["hourly limited"].partition(LIMIT)
    if not found:
        raise ValueError("the relation hourly limited reads its rows in another way")
    return f"{before}{LIMIT if limited else _ROWS} and a.{_OF_TRIGGER}{after}"


_ROWS = "from {app}.action_results as a where true"


def _where(text: str, conditions: list[str]) -> str:
    limited = ("(select * from ", text, " as every where ", " and ".join(conditions), ")")
    return "".join(limited) if conditions else text
