"""Which questions the warehouse answers, for the command line and the API."""

from collections.abc import Mapping
from datetime import datetime

from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.run import BoundQuery
from analytics_refreshd.postgres.catalogue.spans import zone_of
from analytics_refreshd.postgres.catalogue.zones import UNITS, odd_offset
from analytics_refreshd.warehouse.catalogue.definition import ANOTHERS, UNANSWERED, answers
from analytics_refreshd.warehouse.catalogue.statement import Asked, NotAnswered, filled, refuse

__all__ = ["Asked", "NotAnswered", "asked_of", "why_not"]


def why_not(query: Query) -> str | None:
    """Return why the warehouse does not answer a query; None: it does."""
    if query.own:
        return ANOTHERS
    return None if query.name in answers() else UNANSWERED[query.name]


def asked_of(
    bound: BoundQuery, parameters: Mapping[str, object], epochs: Mapping[str, int], *, fleet: bool = False
) -> Asked:
    """Return the question as the warehouse is asked it.

    `parameters` are what was given, `epochs` the databases there. Raises NotAnswered for what it cannot answer exactly.
    """
    reason = why_not(bound.query)
    if reason is not None:
        raise NotAnswered(reason)
    asked = Asked(answers()[bound.query.name], bound.values, epochs, fleet)
    refuse(asked)
    _refuse_odd_offset(asked, parameters)
    return asked


def _refuse_odd_offset(asked: Asked, parameters: Mapping[str, object]) -> None:
    """Refuse days and months of a zone that is not whole hours off UTC: the warehouse has hours of UTC."""
    since, until = asked.values.get("since"), asked.values.get("until")
    if not isinstance(since, datetime) or not isinstance(until, datetime):
        return
    odd = (
        odd_offset(since, until, zone_of(parameters)) if "{timezone:" in filled(asked.answer.body, asked, "") else None
    )
    if odd is not None:
        off = odd / UNITS["hours"]
        raise NotAnswered(f"it adds up whole hours of UTC, from which this zone is {off:g} off")
