"""Chooses what a query's relations stand for: views, or rows where the views do not know what was asked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType

from analytics_refreshd.postgres.catalogue.definition import OF_ROWS, VIEWS_BY_RELATION, Query
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
_WITH_TYPE = ("actions", "hourly", "failures", "distribution", "monthly")
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
    asked = _Asked(
        "organizations" in values,
        ACTION_TYPE in values,
        TRIGGER_ID in values,
        frozen,
        frozenset(name for name in ("failures", "distribution") if _held(name, values)),
    )
    return _sources(query.relations, asked, reads_more="{app}." in query.body)


@dataclass(frozen=True, slots=True)
class _Asked:
    """All of the bound values that the choice depends on."""

    limited: bool
    of_type: bool
    of_trigger: bool
    frozen: bool
    held: frozenset[str]


@lru_cache(maxsize=1000)
def _sources(names: frozenset[str], asked: _Asked, *, reads_more: bool) -> Sources:
    of_view = {name for name in names if name in VIEWS_BY_RELATION and _reads_view(name, asked)}
    views = tuple(view for name, view in VIEWS_BY_RELATION.items() if name in of_view)
    others = (names & {*OF_ROWS, *VIEWS_BY_RELATION}) - of_view
    of_days = {name for name in others if f"{name} frozen" in relations() and not _held_limited(name, asked)}
    texts = {name: _text(name, asked, frozen=asked.frozen and name in of_days) for name in names}
    return Sources(MappingProxyType(texts), views, bool(others) or reads_more, bool(of_days))


def _reads_view(name: str, asked: _Asked) -> bool:
    if name in ("hourly", "distribution"):
        return not asked.limited and not asked.of_trigger and (name == "hourly" or name in asked.held)
    return name != "failures" or name in asked.held


def _held(name: str, values: Mapping[str, object]) -> bool:
    """Whether the view holds all the time that was asked for."""
    since, until, now = values.get("since"), values.get("until"), values.get("now")
    if not isinstance(since, datetime) or not isinstance(until, datetime) or not isinstance(now, datetime):
        return True
    if name == "failures":
        return since >= now - _FAILURES_HOLD
    return until == now and since == now - _DISTRIBUTION_HOLDS


def _held_limited(name: str, asked: _Asked) -> bool:
    """Whether the relation is the last 30 days of rows, which no horizon reaches."""
    return name == "distribution" and not asked.of_trigger and name in asked.held


def _text(name: str, asked: _Asked, *, frozen: bool) -> str:
    suffix = " limited" if asked.limited else ""
    conditions = [_OF_TYPE] if asked.of_type and name in _WITH_TYPE else []
    if name == "hourly" and asked.of_trigger:
        text = _hourly_of_trigger(limited=asked.limited)
    elif name == "distribution" and (asked.of_trigger or name not in asked.held):
        source = _where(relations()["actions" + suffix], [_OF_TRIGGER] if asked.of_trigger else [])
        text = relations()["distribution frozen" if frozen else "distribution rows"].replace("{source}", source)
    else:
        rows = " rows" if name == "failures" and name not in asked.held else ""
        text = relations()[name + rows + suffix]
        if name == "usage":
            text = _SINCE.sub(_condition(asked), text)
        if asked.of_trigger and name in ("actions", "failures", "monthly", "trigger_summary"):
            conditions.append(_OF_TRIGGER)
    if frozen:
        # %(since)s of the days stays: they stand in {days}
        text = text.replace("%(since)s", "%(frozen_until)s")
        if name != "distribution":
            text = f"({text}\n union all\n {relations()[f'{name} frozen']})"
        text = text.replace("{days}", _where("{days}", _of_days(name, asked)))
    return _where(text, conditions)


def _of_days(name: str, asked: _Asked) -> list[str]:
    """Return the filters of the days that are not put before the whole relation."""
    of_type = [_OF_TYPE] if asked.of_type and name == "usage" else []
    return of_type + ([_OF_TRIGGER] if asked.of_trigger else [])


def _condition(asked: _Asked) -> str:
    """Return the replacement that puts the filters before the window's beginning."""
    filters = [rf"\1.{_OF_TYPE} and "] if asked.of_type else []
    filters += [rf"\1.{_OF_TRIGGER} and "] if asked.of_trigger else []
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
