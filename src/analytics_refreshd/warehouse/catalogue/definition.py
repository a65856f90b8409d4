"""Reads the files of the queries that the warehouse answers.

A file has the name of its query, whose parameters and columns are those of the catalogue: they are defined once. Its
header says what else it takes:

    -- narrowed: yes                 (or `no; why`: whether organizations, or a trigger, can limit it)
    -- fleet: no; why                (it cannot be asked over several databases; without this line it can)
    -- rows: database                (each row is of one database: its first column names it)
    -- ends: now; why                (its window must end now, and hold all types)

Then follows one SELECT in ClickHouse's SQL, whose FROM names relations in braces, as those of PostgreSQL do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_PACKAGE = "analytics_refreshd.warehouse.catalogue"
_HEADER = re.compile(r"^-- (narrowed|fleet|rows|ends): (\S+?)(?:; (.+))?$", re.M)
_BLOCK = re.compile(r"^-- name: (.+)$", re.M)
_COMMENTS = re.compile(r"\A(?:\s*--[^\n]*(?:\n|\Z))*")

_ESTIMATE = "its estimate is written for PostgreSQL alone"
UNANSWERED: Mapping[str, str] = {
    "anomalies": _ESTIMATE,
    "forecast": _ESTIMATE,
    "refresh-status": "it asks PostgreSQL how large and how old its views are",
}
"""The queries of the catalogue that the warehouse cannot answer, and why."""
ANOTHERS = "it is a query of your own, in PostgreSQL's SQL"


@dataclass(frozen=True, slots=True)
class Answer:
    """How the warehouse answers one query.

    `not_narrowed`, `not_fleet` and `ends_now` say why it takes no limit to organizations or a trigger, cannot be asked
    over several databases, or only about all types in a window that ends now; they are empty where it can.
    `of_database` says that its rows begin with their database.
    """

    name: str
    body: str
    not_narrowed: str
    not_fleet: str
    ends_now: str
    of_database: bool

    @property
    def relations(self) -> frozenset[str]:
        """Return the names in braces of the body."""
        return frozenset(re.findall(r"\{(\w+)\}", self.body))


@cache
def answers() -> Mapping[str, Answer]:
    """Return the queries that the warehouse answers, by name."""
    found = {}
    for entry in sorted(resources.files(_PACKAGE).iterdir(), key=lambda entry: entry.name):
        name = entry.name.removesuffix(".sql")
        if entry.name.endswith(".sql") and name not in ("relations", "state"):
            found[name] = parse(name, entry.read_text("utf-8"))
    return found


def parse(name: str, text: str) -> Answer:
    """Read one query's file. Raises ValueError, a mistake in the package."""
    header = {key: (value, why) for key, value, why in _HEADER.findall(text)}
    if header.get("narrowed", ("", ""))[0] not in ("yes", "no"):
        raise ValueError(f"{name}.sql does not say whether it can be limited to organizations")
    reasons = {
        key: header[key][1]
        for key, value in (("narrowed", "no"), ("fleet", "no"), ("ends", "now"))
        if header.get(key, ("", ""))[0] == value
    }
    if not all(reasons.values()):
        raise ValueError(f"{name}.sql gives no reason")
    return Answer(
        name,
        _COMMENTS.sub("", text).strip(),
        not_narrowed=reasons.get("narrowed", ""),
        not_fleet=reasons.get("fleet", ""),
        ends_now=reasons.get("ends", ""),
        of_database="rows" in header,
    )


@cache
def blocks(file: str) -> Mapping[str, str]:
    """Return the named blocks of a file without the comments above them."""
    parts = _BLOCK.split(resources.files(_PACKAGE).joinpath(file).read_text("utf-8"))
    return {name.strip(): _COMMENTS.sub("", body).strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
