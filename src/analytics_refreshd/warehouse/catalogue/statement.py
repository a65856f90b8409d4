"""Writes a query's SQL and parameters for ClickHouse."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from zoneinfo import ZoneInfo

from analytics_refreshd.warehouse.catalogue.definition import Answer, blocks
from analytics_refreshd.warehouse.tables import identifier

ACTION_TYPE, TRIGGER_ID = "ACTION_TYPE", "TRIGGER_ID"
"""The filters, as the catalogue names them."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)
_STEPS = {"daily-trend": 1, "trigger-days": 1, "weekly-growth": 7}
"""The queries over days and weeks, and how many days a step has."""
_PARAMETER = re.compile(r"\{(\w+):([A-Za-z0-9() ,]+)\}")
_RELATION = re.compile(r"\{(\w+)\}")
_DATABASES = "{databases:Array(String)}"
_FRAGMENTS = {
    "cells": f"t.database in {_DATABASES} and t.epoch = transform(toString(t.database), {_DATABASES},"
    " {epochs:Array(UInt32)}, toUInt32(0))",
    "snapshot": f"r.database in {_DATABASES}",
    # one that is gone, and has figures, has neither
    "present": "(r.enabled is not null or r.created_at is not null or r.name is not null)",
}
_LIMITED = {
    "owners": "and r.organization_id in {organizations:Array(String)}",
    "tenants": "and if(t.frozen = 1, t.organization_id, s.organization) in {organizations:Array(String)}",
}
SETTINGS: Mapping[str, str] = MappingProxyType({"join_use_nulls": "1", "distributed_product_mode": "local"})
"""What every statement needs. On a cluster all of a database is on one shard, so that what is joined or looked up is
on the same one."""


class NotAnswered(ValueError):
    """The warehouse cannot answer this question; the text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: an answer, the bound values of its query, and the databases with their epochs.

    `values` are those of the catalogue: times are aware, `organizations` a list where there is a limit.
    """

    answer: Answer
    values: Mapping[str, object]
    epochs: Mapping[str, int]
    fleet: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether it is limited to organizations or a trigger."""
        return "organizations" in self.values or TRIGGER_ID in self.values

    @property
    def reads_trigger_hours(self) -> bool:
        """Whether it adds up hours of triggers.

        Frozen days stand for older ones there.
        """
        names = self.answer.relations
        return bool(names & {"usage", "monthly", "trigger_hours"}) or ("hourly" in names and self.narrowed)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its parameters, written as ClickHouse reads them. `SETTINGS` go beside it."""

    text: str
    parameters: Mapping[str, str]


def refuse(asked: Asked) -> None:
    """Refuse what the warehouse cannot answer exactly. Raises NotAnswered."""
    answer, values = asked.answer, asked.values
    if asked.fleet and "organizations" in values:
        raise NotAnswered("databases of a fleet may name different organizations alike: ask one database about them")
    if asked.fleet and answer.not_fleet:
        raise NotAnswered(answer.not_fleet)
    if asked.narrowed and answer.not_narrowed:
        raise NotAnswered(answer.not_narrowed)
    since, until, now = (values.get(name) for name in ("since", "until", "now"))
    if not isinstance(since, datetime) or not isinstance(until, datetime) or not isinstance(now, datetime):
        return
    if answer.ends_now and (until < now or ACTION_TYPE in values):
        raise NotAnswered(answer.ends_now)
    names = answer.relations
    if "failures" in names and since < now - timedelta(hours=24):
        raise NotAnswered("the warehouse keeps the failures of the last 24 hours")
    if "distribution" in names and (until != now or since != now - timedelta(days=30)):
        raise NotAnswered("the warehouse keeps the distribution of the last 30 days, and no other")
    hours = {"hourly", "durations", "hours", "usage", "monthly", "trigger_hours"}
    if names & hours and not (_is_hour(since) and _is_hour(until)):
        raise NotAnswered("the warehouse counts whole hours of UTC, and the window begins or ends within one")
    if since.year < 1900 or until.year > 2261:
        raise NotAnswered("the warehouse's calendar has the years 1900 to 2261")


def _is_hour(at: datetime) -> bool:
    return (at - _EPOCH) % _HOUR == timedelta(0)


def statement(asked: Asked, target: str) -> Statement:
    """Write the statement that answers. `target` is the database in ClickHouse."""
    text = filled(asked.answer.body, asked, target)
    return Statement(text, parameters(text, known_values(asked)))


def part(name: str, asked: Asked, target: str) -> Statement:
    """Write a statement of `state.sql` about the same databases."""
    text = filled(blocks("state.sql")[name], asked, target)
    return Statement(text, parameters(text, known_values(asked)))


def filled(text: str, asked: Asked, target: str, *, responses: bool = True) -> str:
    """Replace the names of relations by their texts, down to the tables.

    Without `responses` what the other side answered is not read: its user may not.
    """
    relations = blocks("relations.sql")
    limited = "organizations" in asked.values
    fragments = {
        "target": identifier(target),
        **_FRAGMENTS,
        **(_LIMITED if limited else dict.fromkeys(_LIMITED, "")),
        "response": ", f.response_data" if responses else "",
        "response_of_row": ", t.response_data as response_data" if responses else "",
        "owned": relations["owned"] if limited else "",
        "type": f"and t.action_type = {{{ACTION_TYPE}:String}}" if ACTION_TYPE in asked.values else "",
        "trigger": f"and t.trigger_id = {{{TRIGGER_ID}:String}}" if TRIGGER_ID in asked.values else "",
    }
    if asked.narrowed:
        relations = {**relations, "hourly": relations["hourly narrowed"]}

    def replacement(found: re.Match[str]) -> str:
        name = found[1]
        return _RELATION.sub(replacement, fragments[name] if name in fragments else relations[name])

    return _RELATION.sub(replacement, text)


def parameters(text: str, known: Mapping[str, object]) -> Mapping[str, str]:
    """Return the value of each parameter that a text names.

    One value for an array is a value that may be NULL, which a parameter of its own cannot be.
    """
    found = {}
    for name, kind in _PARAMETER.findall(text):
        value = known[name]
        found[name] = written([value] if kind.startswith("Array(") and not isinstance(value, list) else value)
    return found


def written(value: object) -> str:
    """Write a value as ClickHouse reads a parameter: escaped, and lists with quoted texts."""
    if isinstance(value, list):
        return f"[{','.join(_within(item) for item in value)}]"
    if isinstance(value, str):
        return _escaped(value)
    return _plain(value)


def _within(value: object) -> str:
    if value is None:
        return "NULL"
    return f"'{_escaped(value)}'" if isinstance(value, str) else _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = Decimal(str(value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _escaped(text: str) -> str:
    for character, escape in (("\\", "\\\\"), ("'", "\\'"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0")):
        text = text.replace(character, escape)
    return text


def known_values(asked: Asked) -> dict[str, object]:
    """Return the values of parameters by name."""
    known = {name: value for name, value in asked.values.items() if not isinstance(value, datetime)}
    for name, value in asked.values.items():
        if isinstance(value, datetime):
            known[name] = microseconds(value) if name == "now" else microseconds(value) // 1_000_000
            known[f"{name}_us"] = microseconds(value)
    known |= {"databases": list(asked.epochs), "epochs": list(asked.epochs.values())}
    days = _STEPS.get(asked.answer.name)
    return known if days is None else known | _steps(asked.values, days)


def microseconds(at: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def _steps(values: Mapping[str, object], days: int) -> dict[str, object]:
    """Return where each day or week of the window begins and ends, and its first local day since 1970."""
    since, until, zone = values["since"], values["until"], ZoneInfo(str(values["timezone"]))
    assert isinstance(since, datetime) and isinstance(until, datetime)  # noqa: S101, PT018 - the catalogue binds times
    step = timedelta(days=days)
    local = since.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    last = until.astimezone(zone).replace(tzinfo=None) - step
    begins, ends, numbers = [], [], []
    while local <= last:
        begins.append(microseconds(_instant(local, zone)))
        ends.append(microseconds(_instant(local + step, zone)))
        numbers.append(local.toordinal() - _EPOCH.toordinal())
        local += step
    return {"steps": begins, "step_ends": ends, "step_days": numbers}


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return a local time as PostgreSQL reads it: the later one of two, and the offset before where there is none."""
    # a time that the zone's clocks show twice, or leave out: fold 1 is the later one, or the offset after
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return max(first, second)
