"""The second wall between tenants: row policies by what each request is admitted to.

A request names, in settings of its own, the database and the organizations that its statement may see. They are sent
beside the statement, together with `readonly`, so that nothing in its text can change them. Without them nothing is
seen.
"""

from collections.abc import Mapping, Sequence

from analytics_refreshd.core.warehouse import CELLS, SNAPSHOTS
from analytics_refreshd.warehouse.tables import identifier

DATABASE, ORGANIZATIONS = "SQL_analytics_database", "SQL_analytics_organizations"
EVERY = "all"
"""Stands for every database, or every organization. No name is written like it: names are written in hexadecimal."""
POLICY = "analytics_api"
"""The name of each policy, and of the user that it is for."""

# a server may keep the quotes of a value that came with a request
_SETTING = "replaceAll(toString(getSetting('{name}')), '''', '')"
_DATABASE, _ORGANIZATIONS = (_SETTING.format(name=name) for name in (DATABASE, ORGANIZATIONS))
_ADMITTED = f"arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', {_ORGANIZATIONS})))"
_OWN = f"has({_ADMITTED}, ifNull(organization_id, ''))"
_OF_TRIGGER = (
    "(database, {trigger}) in (select r.database, r.trigger_id from {target}.triggers as r"  # noqa: S608 - ours
    f" where has({_ADMITTED}, ifNull(r.organization_id, '')))"
)
_TRIGGER = _OF_TRIGGER.replace("{trigger}", "trigger_id")
# a row without a trigger is of no organization
_PERHAPS = "trigger_id is not null and " + _OF_TRIGGER.replace("{trigger}", "assumeNotNull(trigger_id)")
_NONE = "0"
TENANT: Mapping[str, str] = {
    "hour_totals": _NONE,
    "hour_durations": _NONE,
    "trigger_totals": _TRIGGER,
    "trigger_durations": _TRIGGER,
    "trigger_retries": _TRIGGER,
    "trigger_hours": f"if(frozen = 1, {_OWN}, {_PERHAPS})",
    "triggers": _OWN,
    "organizations": _OWN,
    "recent_failures": _PERHAPS,
    "action_type_distribution": _NONE,
}
"""By table, which rows are of the organizations that a request is admitted to.

Tables that know no organization show a tenant nothing.
"""
WALLED = (*TENANT, "batches", "epochs")
GRANTED: Mapping[str, str] = {
    **dict.fromkeys((*CELLS, *SNAPSHOTS), ""),
    "recent_failures": ", ".join(
        ("database", *(name for name in SNAPSHOTS["recent_failures"] if name != "response_data"))
    ),
    "batches": "database, epoch, batch, folded_at",
    "epochs": "database, epoch, base_batch, folded_at",
    "current_epochs": "",
}
"""What the user of the API may read: tables, and the columns of them where it is not all.

How much was sent it may not, nor what the other side of an action answered.
"""


def admission(database: str | None, organizations: Sequence[str] | None) -> Mapping[str, str]:
    """Return the settings of a request that may see so much.

    None stands for all.
    """
    seen = EVERY if organizations is None else ",".join(map(_hexadecimal, organizations))
    return {
        DATABASE: f"'{EVERY if database is None else _hexadecimal(database)}'",
        ORGANIZATIONS: f"'{seen}'",
        "readonly": "1",
    }


NOTHING: Mapping[str, str] = {DATABASE: f"'{EVERY}'", ORGANIZATIONS: "''", "readonly": "1"}
"""The settings of a request that may see no organization."""


def shown_to_nobody(target: str) -> str:
    """Write the statement that names tables that show rows to nobody."""
    parts = [f"(select '{table}' as name from {identifier(target)}.{table} limit 1)" for table in TENANT]  # noqa: S608
    return f"select s.name from ({' union all '.join(parts)}) as s order by s.name"  # noqa: S608 - names of ours


def conditions(target: str) -> Mapping[str, str]:
    """Return by table which rows a request sees."""
    found = {}
    for table in WALLED:
        condition = f"({_DATABASE} = '{EVERY}' or database = unhex({_DATABASE}))"
        if table in TENANT:
            tenant = TENANT[table].replace("{target}", identifier(target))
            condition += f"\n    and ({_ORGANIZATIONS} = '{EVERY}'\n        or {tenant})"
        found[table] = condition
    return found


def policies(target: str, *, cluster: str = "") -> list[str]:
    """Write the row policies of a database in ClickHouse, for its administrator.

    Everybody but the API's user sees what it saw.
    """
    where = f" on cluster {cluster}" if cluster else ""
    made = []
    for table, condition in conditions(target).items():
        on = f"{where} on {identifier(target)}.{table}"
        made.append(f"create row policy or replace {POLICY}{on}\n    using {condition}\n    to {POLICY}")
        made.append(f"create row policy or replace everybody_else{on} using 1 to all except {POLICY}")
    return made


def grants(target: str) -> list[str]:
    """Write the rights of the API's user."""
    return [
        f"GRANT SELECT{f'({columns})' if columns else ''} ON {target}.{table}" for table, columns in GRANTED.items()
    ]


def _hexadecimal(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").hex()
